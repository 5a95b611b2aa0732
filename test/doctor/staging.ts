/** Web servers with many broken sites, and the applications that these pass requests to. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, rm } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import { HTTPHandler } from '../../handlers/http.ts'
import { SCGIHandler } from '../../handlers/scgi.ts'
import { main } from '../../src/command/main.ts'
import { doctor as report } from '../../src/doctor/application.ts'
import { mount } from '../../src/middleware/mount.ts'
import { makeDirectory } from '../servers/process.ts'

/** A broken site: what the doctor has to say of it. */
export interface Staging {
  readonly fault: string
  /** The site in the language of the web server, for the port and the applications. */
  readonly site: (port: number, apps: Applications) => string
  /** Below which the application of the doctor is; `/doctor` without it. */
  readonly path?: string
  readonly host?: string
  readonly level: 'failure' | 'warning'
  readonly check: string
  readonly message: RegExp
  readonly fix?: RegExp
  /** Other checks that this fault fails, too. */
  readonly also?: readonly string[]
}

/** Addresses without `unix:`. */
export interface Applications {
  readonly directory: string
  readonly fastcgi: string
  readonly scgi: string
  readonly http: string
  /** Mode 0600, of the user of the tests. */
  readonly closed: string
  /** In a directory that no other user can enter. */
  readonly hidden: string
  /** Left over from a process that was killed. */
  readonly stale: string
  /** Accepts, and never responds. */
  readonly silent: string
  /** Closes each connection at once. */
  readonly crashing: string
  /** A TCP port on which nothing listens. */
  readonly unused: number
}

export const closers: (() => unknown)[] = []

export async function closeAll(): Promise<void> {
  for (const close of closers.splice(0).toReversed()) await close()
}

export async function startApplications(): Promise<Applications> {
  const directory = await makeDirectory('portico-staged')
  closers.push(() => rm(directory, { recursive: true, force: true }))
  const application = mount({ '/doctor': report })
  const at = (name: string): string => join(directory, name)
  const start = async (
    Handler: typeof FastCGIHandler | typeof SCGIHandler | typeof HTTPHandler,
    path: string,
    mode = 0o666,
  ): Promise<string> => {
    const server = await new Handler({ listen: `unix:${path}`, mode }).run(application)
    closers.push(() => server.close({ timeout: 0 }))
    return path
  }
  await mkdir(at('hidden'), { mode: 0o700 })
  return {
    directory,
    fastcgi: await start(FastCGIHandler, at('fastcgi.sock')),
    scgi: await start(SCGIHandler, at('scgi.sock')),
    http: await start(HTTPHandler, at('http.sock')),
    closed: await start(FastCGIHandler, at('closed.sock'), 0o600),
    hidden: await start(FastCGIHandler, at('hidden/app.sock')),
    stale: await staleSocket(at('stale.sock')),
    silent: await listen(
      createServer(() => {}),
      at('silent.sock'),
    ),
    crashing: await listen(
      createServer((socket) => socket.once('data', () => socket.destroy())),
      at('crashing.sock'),
    ),
    unused: (await freePorts(1))[0]!,
  }
}

async function listen(server: Server, path: string): Promise<string> {
  server.listen({ path, writableAll: true })
  await once(server, 'listening')
  closers.push(() => server.close())
  return path
}

async function staleSocket(path: string): Promise<string> {
  const code = `require('net').createServer().listen({ path: ${JSON.stringify(path)}, writableAll: true }, () => console.log(1))`
  const child = spawn(process.execPath, ['-e', code])
  await once(child.stdout, 'data')
  child.kill('SIGKILL')
  await once(child, 'exit')
  return path
}

/** Different ports, all of which are free now. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  const ports = []
  for (const server of servers) {
    if (!server.listening) await once(server, 'listening')
    ports.push((server.address() as { port: number }).port)
  }
  for (const server of servers) {
    server.close()
    await once(server, 'close')
  }
  return ports
}

export interface Finding {
  level: string
  check: string
  message: string
  fix?: string
}

export async function diagnose(...args: string[]): Promise<{ code: number; findings: Finding[] }> {
  let out = ''
  const code = await main(['doctor', '--json', ...args], {
    out: (text) => (out += text),
    err: (text) => (out += text),
  })
  return { code, findings: (JSON.parse(out) as { findings: Finding[] }).findings }
}

/** A test for each broken site. `port` is asked when the web server runs. */
export function itNamesEach(stagings: readonly Staging[], port: (index: number) => number): void {
  it.each(stagings.map((staging, index) => [staging.fault, staging, index] as const))(
    'names %s',
    (_, staging, index) => expectNamed(staging, port(index)),
  )
}

/** A test of a site that is right. */
export function itFindsNothingWrong(port: () => number): void {
  it('finds nothing wrong with a site that is right', async () => {
    const { code, findings } = await diagnose(`http://127.0.0.1:${port()}/doctor`)
    expect(findings.filter(({ level }) => level !== 'ok')).toEqual([])
    expect(code).toBe(0)
  })
}

/** Asserts that the doctor names the fault of a site, and nothing that is not one. */
export async function expectNamed(staging: Staging, port: number): Promise<void> {
  const { path = '/doctor', host = '127.0.0.1', level, check, message, fix } = staging
  const { code, findings } = await diagnose(`http://${host}:${port}${path}`)
  const wrong = findings.filter((each) => each.level !== 'ok')
  expect(wrong).toContainEqual({
    level,
    check,
    message: expect.stringMatching(message) as string,
    fix: expect.stringMatching(fix ?? /./) as string,
  })
  const checks = [...new Set(wrong.map((each) => each.check))]
  expect(checks.toSorted()).toEqual([check, ...(staging.also ?? [])].toSorted())
  expect(code).toBe(wrong.some((each) => each.level === 'failure') ? 1 : 0)
}
