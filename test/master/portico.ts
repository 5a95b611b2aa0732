/** Runs the command `portico` as a user would. */
import { writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join, resolve } from 'node:path'
import { afterEach, beforeEach } from 'vitest'
import { status } from '../../src/master/client.ts'
import type { Status } from '../../src/master/status.ts'
import { fastcgiClient } from '../../src/testing/client-fastcgi.ts'
import { start, temporaryDirectory, type Running } from '../server/child.ts'

export const PROGRAM = resolve(import.meta.dirname, '../../bin/portico.cjs')

/** Responds with its pid and the length of the body; some paths misbehave. */
export const APPLICATION = `
  export default async (environ, startResponse) => {
    const path = environ.PATH_INFO
    if (path === '/block') while (true);
    if (path === '/wait') await new Promise((resolve) => setTimeout(resolve, 1500))
    if (path === '/forever') await new Promise(() => setInterval(() => {}, 1000))
    if (path === '/throw') setTimeout(() => { throw new Error('thrown outside a request') })
    let length = 0
    for await (const chunk of environ['wsgi.input'].chunks()) length += chunk.length
    startResponse('200 OK', [['Content-Type', 'text/plain']])
    return [process.pid + ' ' + length + ' ' + environ['wsgi.multiprocess']]
  }`

/** A running `portico serve`. */
export interface Served extends Running {
  readonly file: string
  readonly socket: string
  readonly control: string
}

/** Starts `portico serve` in a directory; does not wait for it. */
export function serve(
  directory: string,
  flags: readonly string[] = [],
  { source = APPLICATION, gateway = 'fastcgi', workers = 2 } = {},
): Served {
  const file = join(directory, 'app.mjs')
  const socket = join(directory, 'app.sock')
  const control = join(directory, 'control', 'portico.sock')
  writeFileSync(file, source)
  const running = start(process.execPath, [
    PROGRAM,
    'serve',
    file,
    `--gateway=${gateway}`,
    `--listen=unix:${socket}`,
    `--workers=${workers}`,
    `--control=${control}`,
    ...flags,
  ])
  return { ...running, file, socket, control }
}

/** Gives each test of a file a directory; after the test, `signal` has ended the last server there. */
export function inDirectory(signal: NodeJS.Signals = 'SIGTERM') {
  let directory: { path: string; remove: () => void }
  let served: Served | undefined
  beforeEach(() => (directory = temporaryDirectory()))
  afterEach(async () => {
    served?.process.kill(signal)
    await served?.ended
    served = undefined
    directory.remove()
  })
  const here = {
    get path(): string {
      return directory.path
    },
    get server(): Served {
      return served!
    },
    /** `serve` in the directory. */
    serve(...settings: Settings): Served {
      return (served = serve(directory.path, ...settings))
    },
    /** Waits until the server serves. */
    async ready(...settings: Settings): Promise<Served> {
      const server = here.serve(...settings)
      await server.printed('Serving')
      return server
    },
  }
  return here
}

type Settings = Parameters<typeof serve> extends [string, ...infer Rest] ? Rest : never

/** Runs another command of portico; resolves to its exit code and output. */
export async function portico(...args: readonly string[]) {
  const { code, output } = await start(process.execPath, [PROGRAM, ...args]).ended
  return { code, output }
}

/** What `portico status --json` prints; without a process, because tests poll it. */
export async function statusOf({ control }: { readonly control: string }): Promise<Status> {
  let output = ''
  const write = (line: string): void => void (output += line)
  await status(control, { json: true, out: write, err: write })
  return JSON.parse(output) as Status
}

/** A client with a connection of its own, kept alive. */
export function client({ socket }: { readonly socket: string }) {
  const kept = fastcgiClient({ path: socket }, { keepConn: true })
  return {
    /** Resolves to the pid, the length of the body and wsgi.multiprocess, as text. */
    async post(path: string, body = 'hello'): Promise<string> {
      const response = await kept.request({ method: 'POST', target: path, body })
      return Buffer.from(response.body).toString()
    },
    close: () => kept.close(),
  }
}

/** A way to the server that counts connections: none is lost if there was only one. */
export async function counted({ socket }: Served, directory: string) {
  const path = join(directory, 'counted.sock')
  let connections = 0
  const proxy = createServer((from) => {
    connections += 1
    const to = connect(socket)
    from.on('error', () => to.destroy())
    to.on('error', () => from.destroy())
    from.pipe(to).pipe(from)
  })
  await new Promise<void>((done) => proxy.listen(path, done))
  return { socket: path, count: () => connections, close: () => proxy.close() }
}
