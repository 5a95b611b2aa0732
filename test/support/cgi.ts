/** Runs CGI scripts as a web server does: with variables and a body, in a process for each request. */
import { Buffer } from 'node:buffer'
import { type ChildProcess, spawn, type StdioOptions } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { rolldown } from 'rolldown'
// @ts-expect-error A script without types.
import { onDemand } from '../../scripts/on-demand.mjs'

export interface Response {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface Call {
  /** The whole environment. */
  env?: Record<string, string>
  /** Sent to stdin, which is then closed; without it, the script has no stdin. */
  body?: string
  args?: string[]
}

/** The variables of a simple request. */
export const REQUEST = { GATEWAY_INTERFACE: 'CGI/1.1', REQUEST_METHOD: 'GET' }

/** Puts the CommonJS build of handlers/cgi.ts, as it is published, into `directory`. */
export async function bundleCGI(directory: string): Promise<void> {
  const input = resolve(import.meta.dirname, '../../handlers/cgi.ts')
  const build = await rolldown({
    input,
    platform: 'node',
    logLevel: 'silent',
    plugins: [onDemand],
  })
  const { output } = await build.generate({ format: 'cjs', codeSplitting: false })
  await build.close()
  writeFileSync(join(directory, 'portico.cjs'), output[0].code)
  // A build that ends sooner if the script leaves something running.
  const hasty = output[0].code.replace(/EXIT_AFTER = \w+/, 'EXIT_AFTER = 200')
  if (hasty === output[0].code) throw new Error('EXIT_AFTER has another name now')
  writeFileSync(join(directory, 'hasty.cjs'), hasty)
}

/**
 * Writes a script that runs `application`, unless that creates a handler itself, and returns its path.
 * With `build` '' `application` is the whole script.
 */
export function writeScript(
  directory: string,
  name: string,
  application: string,
  build = 'portico',
) {
  const path = join(directory, `${name}.cgi`)
  const whole = build === '' || /new \w+Handler\(/.test(application)
  const head = `const { CGIHandler, IISCGIHandler } = require('./${build}.cjs')\n`
  const code = whole ? application : `new CGIHandler().run(${application})`
  writeFileSync(path, `${build && head}const fs = require('node:fs')\n${code}\n`)
  return path
}

export function start(path: string, call: Call, stdio: StdioOptions): ChildProcess {
  const child = spawn(process.execPath, [path, ...(call.args ?? [])], {
    stdio,
    env: call.env ?? REQUEST,
  })
  // A script need not read its body.
  child.stdin?.on('error', () => {})
  return child
}

/** Runs a script to its end. */
export async function request(path: string, call: Call = {}): Promise<Response> {
  const child = start(path, call, [call.body === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'])
  child.stdin?.end(Buffer.from(call.body ?? '', 'latin1'))
  return responseOf(child)
}

/** Runs a shell command; $NODE is Node. */
export async function shell(command: string, env: Record<string, string> = REQUEST) {
  const paths = { PATH: '/usr/bin:/bin', NODE: process.execPath }
  return responseOf(
    spawn('sh', ['-c', command], { stdio: ['ignore', 'pipe', 'pipe'], env: { ...env, ...paths } }),
  )
}

/** The output of a process, when it has ended and everything has been read. */
export async function responseOf(child: ChildProcess): Promise<Response> {
  const response = { code: null as number | null, stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.setEncoding('latin1').on('data', (text: string) => (response[name] += text))
  }
  await once(child, 'close')
  response.code = child.exitCode
  return response
}
