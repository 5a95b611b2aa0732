/** Serves the module of an application for one GET request, and looks at the response. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { extname, join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { request } from '../node-http.ts'
import { porticoOf } from '../servers/services.ts'
import { failure, type Finding, ok, warning } from './finding.ts'
import { errorIn, fixOf } from './stack.ts'

/** How long the start and the response may take together, in ms. */
const TIMEOUT = 10_000

/** How often the doctor looks for the socket, in ms. */
const POLL = 20

/** How long the process may take to end after SIGTERM, in ms. */
const STOP_TIMEOUT = 2_000

/** Characters of stderr that are looked at. */
const MOST = 64 * 1024

/** Starts `portico serve` with the file on a socket of its own, and sends it a GET of `/`. */
export async function loadModule(file: string): Promise<Finding[]> {
  const path = resolve(file)
  if (/^\.[cm]?ts$/.test(extname(path)) && !('typescript' in process.features)) {
    return [
      warning(
        'application',
        `this Node (${process.version}) does not load ${extname(path)} files by itself`,
        'npm install tsx # in the project; portico serve uses it',
      ),
    ]
  }
  const directory = mkdtempSync(join(tmpdir(), 'portico-doctor-'))
  const socketPath = join(directory, 'app.sock')
  const settings = join(directory, 'portico.config.mjs')
  writeFileSync(settings, 'export default {}\n')
  // Flags after these may come from a variable: a control socket of a server that runs, for example.
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith('PORTICO_'))
  const flags = ['--config', settings, '--listen', `http://unix:${socketPath}`, '--workers', '1']
  const child = spawn(process.execPath, [porticoOf(path), 'serve', path, ...flags], {
    env: Object.fromEntries(own),
    stdio: ['ignore', 'ignore', 'pipe'],
    detached: true,
  })
  let err = ''
  child.stderr.on('data', (chunk: Buffer) => {
    if (err.length < MOST) err += chunk.toString('utf8')
  })
  const over = new AbortController()
  const timer = setTimeout(() => over.abort(), TIMEOUT)
  const ended = once(child, 'close')
  try {
    const status = await Promise.race([
      statusOf(socketPath, over.signal),
      ended.then(() => 'ended' as const),
      once(over.signal, 'abort').then(() => 'late' as const),
    ])
    // What the application has logged follows its response.
    if (status !== 'ended') await stop(child, ended)
    return [findingOf(path, status, err)]
  } finally {
    clearTimeout(timer)
    over.abort() // Ends the search for a socket that does not come.
    rmSync(directory, { recursive: true, force: true })
  }
}

function findingOf(path: string, status: number | 'ended' | 'late', err: string): Finding {
  // The command that installs a package is the fix, and depends on package.json.
  const reason = errorIn(err.replace(/^Serving .*\n/m, '')).replace(/: npm install \S+$/, '')
  if (status === 'ended') {
    const message = reason.startsWith(path) ? reason : `${path} cannot be loaded: ${reason}`
    return failure('application', message, fixOf(err, path))
  }
  if (status === 'late') {
    const message = `${path} has no response to a GET of / within ${TIMEOUT / 1000} s`
    return failure('application', message, 'correct the application: it has to respond')
  }
  if (status >= 500) {
    const message = `${path} responds to a GET of / with a ${status}: ${reason}`
    return failure('application', message, fixOf(err, path))
  }
  return ok('application', `${path} loads, and responds to a GET of / with a ${status}`)
}

/** The status of the response to a GET, as soon as the socket is there. */
async function statusOf(socketPath: string, signal: AbortSignal): Promise<number> {
  while (!existsSync(socketPath) && !signal.aborted) await sleep(POLL)
  return new Promise((done) => {
    const headers = { Host: 'localhost', Connection: 'close' }
    const sent = request({ socketPath, path: '/', headers, signal }, (response) => {
      response.on('error', () => {}).resume()
      response.once('close', () => done(response.statusCode ?? 0))
    })
    // A process that ends, and the time, have findings of their own.
    sent.once('error', () => {})
    sent.end()
  })
}

/** Ends the process and its workers. */
async function stop(child: ChildProcess, ended: Promise<unknown>): Promise<void> {
  child.kill('SIGTERM')
  await Promise.race([ended, sleep(STOP_TIMEOUT, undefined, { ref: false })])
  try {
    process.kill(-child.pid!, 'SIGKILL')
  } catch {
    // All of them have ended.
  }
}
