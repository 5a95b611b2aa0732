/**
 * Starts the three servers in a child process, so that a test can attack them, notice a crash, and
 * measure memory and descriptors.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { bundle, start, temporaryDirectory, type Running } from '../server/child.ts'

export type Protocol = 'fastcgi' | 'scgi' | 'http'

export interface Target {
  readonly pid: number
  readonly child: Running
  /** The Unix socket of a server. */
  path(protocol: Protocol): string
  /** Resident memory in kilobytes. */
  rss(): number
  /** Open descriptors. */
  descriptors(): number
  /** Sends SIGTERM; rejects unless the process exits with 0. */
  stop(): Promise<void>
}

/** The application. /counts reports how many requests began and were aborted. */
const SOURCE = `
import { FastCGIHandler } from '#src/../handlers/fastcgi.ts'
import { SCGIHandler } from '#src/../handlers/scgi.ts'
import { HTTPHandler } from '#src/../handlers/http.ts'
import { closeOnSignals } from '#src/process/shutdown.ts'

const counts = { begun: 0, aborted: 0 }
const waiting = []
const block = Buffer.alloc(65536, 'x')

async function* application(environ, startResponse) {
  counts.begun += 1
  const headers = [['Content-Type', 'text/plain']]
  switch (environ.PATH_INFO) {
    case '/echo':
      startResponse('200 OK', headers)
      yield* environ['wsgi.input'].chunks()
      return
    case '/release':
      for (const go of waiting.splice(0)) go()
      break
    case '/wait': // until /release, or until the request is aborted
      await new Promise((resolve) => {
        waiting.push(resolve)
        environ['portico.signal'].addEventListener('abort', () => {
          counts.aborted += 1
          resolve()
        })
      })
      break
    case '/big':
      startResponse('200 OK', headers)
      for (let i = 0; i < 2048; i += 1) yield block
      return
    case '/counts':
      startResponse('200 OK', headers)
      yield JSON.stringify(counts)
      return
    case '/log': // in the middle of a response, which then fails
      startResponse('200 OK', headers)
      yield 'one '
      environ['wsgi.errors'].write('logged\\n')
      await new Promise((resolve) => waiting.push(resolve))
      yield 'two'
      throw new Error('the response fails')
    case '/throw':
      throw new Error('the application fails')
    case '/environ': {
      startResponse('200 OK', headers)
      const names = Object.keys(environ).filter((name) => !/[a-z]/.test(name))
      yield JSON.stringify(Object.fromEntries(names.map((name) => [name, environ[name]])))
      return
    }
    case '/authorize': {
      const allowed = environ.REMOTE_USER === 'ann'
      startResponse(allowed ? '200 OK' : '403 Forbidden', [...headers, ['Variable-Group', 'staff']])
      return
    }
  }
  startResponse('200 OK', headers)
  yield 'Hello\\n'
}

// multiplex is an option of FastCGI only.
const { multiplex, ...options } = JSON.parse(process.env.PORTICO_TEST_OPTIONS)
for (const [name, Handler] of Object.entries({
  fastcgi: FastCGIHandler, scgi: SCGIHandler, http: HTTPHandler,
})) {
  const listen = 'unix:' + process.env.PORTICO_TEST_DIRECTORY + '/' + name
  const own = name === 'fastcgi' && multiplex !== undefined ? { multiplex } : {}
  closeOnSignals(await new Handler({ listen, ...options, ...own }).run(application))
}
console.log('listening')
`

/**
 * Starts the servers; all get the `options`, except that `multiplex` is for FastCGI.
 *
 * @param shell commands that change the limits of the process
 * @param command the runtime
 */
export async function startTarget(
  options: Readonly<Record<string, unknown>> = {},
  shell = '',
  command: readonly string[] = [process.execPath],
): Promise<Target> {
  const directory = temporaryDirectory()
  const script = await bundle(directory.path, 'target', SOURCE)
  const env = {
    PORTICO_TEST_DIRECTORY: directory.path,
    PORTICO_TEST_OPTIONS: JSON.stringify(options),
    NODE_OPTIONS: '',
    NODE_EXTRA_CA_CERTS: '',
  }
  const args = ['-c', `${shell} exec "$@"`, 'sh', ...command, script]
  const child = start('/bin/sh', args, { env })
  await child.printed('listening')
  const pid = child.process.pid!
  return {
    pid,
    child,
    path: (protocol) => join(directory.path, protocol),
    rss: () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]),
    descriptors: () => readdirSync(`/proc/${pid}/fd`).length,
    async stop() {
      child.process.kill('SIGTERM')
      const { code, signal, output } = await child.ended
      directory.remove()
      if (code !== 0) throw new Error(`ended with ${code ?? signal}: ${output.slice(-2000)}`)
    },
  }
}
