/**
 * The start of a resident bundle: with PORTICO_RESIDENT a FastCGI process on that socket, which ends
 * by itself; without it a CGI script for one request.
 */
import {
  closeSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { CGIHandler } from '../../handlers/cgi.ts'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import { ABANDONED } from '../leftovers.ts'
import { logEntry } from '../log.ts'
import { closeOnSignals, exitOnUncaughtError } from '../process/shutdown.ts'
import { residentMemory } from '../resident-memory.ts'
import { printToLog } from '../request/printed-output.ts'
import type { Runnable } from '../application/to-application.ts'
import type { GatewayServer } from '../server/gateway-server.ts'
import { show } from '../text.ts'
import { applicationOf, later } from './find.ts'
import type { Program } from './run-cgi.ts'

export interface ResidentProgram extends Program {
  /** Seconds without a request after which the process ends. */
  readonly idle: number
  /** Seconds after which it ends although there are requests; the next one starts another. */
  readonly lifetime: number
  /** Bytes of resident memory above which it ends. */
  readonly maxMemory: number
}

/** Bytes of the log; the process truncates it when it is longer. */
const MAX_LOG = 1024 * 1024

/** The longest time between two checks, in milliseconds. A short idle time is checked more often. */
const CHECK_EVERY = 60_000

/** Node's own function, even after `printToLog` has replaced it. */
const write = writeSync

// Descriptor 1 is for the response, or for the signal that the process is ready.
printToLog()
// As under CGI, relative paths start at the program's own directory.
if (process.env['PORTICO_RESIDENT'] !== undefined) process.chdir(dirname(process.argv[1]!))

/** The names of sockets and of the marks of failed starts. */
const REMAINS = /^[\da-f]+(?:-[\da-f]+){4}-\d+(?:\.failed)?$/

export function serve(loaded: object, program: ResidentProgram): void {
  const socket = process.env['PORTICO_RESIDENT']
  const { application, options } = applicationOf(loaded, program.listening)
  if (socket === undefined) {
    void new CGIHandler(options).run(later(application))
    return
  }
  delete process.env['PORTICO_RESIDENT'] // Not for the programs that the application starts.
  start(application, options, socket, program).catch((error: unknown) => {
    logEntry(show(error))
    process.exit(1)
  })
}

async function start(
  application: Promise<Runnable>,
  options: object,
  socket: string,
  program: ResidentProgram,
): Promise<void> {
  const file = process.argv[1]!
  const own = identityOf(file)
  const server = await new FastCGIHandler({
    ...options,
    listen: `unix:${socket}`,
    mode: 0o600,
    multiprocess: true, // A request whose resident process does not respond runs beside it.
  }).run(await application)
  closeOnSignals(server)
  exitOnUncaughtError(server)
  const socketItself = identityOf(socket)
  watch(server, program, () => {
    if (identityOf(file) !== own) return `${file} has changed`
    if (identityOf(socket) !== socketItself) return `${socket} belongs to another process`
    return undefined
  })
  announce()
  removeRemains(socket)
}

/** Closes the server when there is a reason to, and ends the process. */
function watch(
  server: GatewayServer,
  program: ResidentProgram,
  changed: () => string | undefined,
): void {
  // Not Date.now(), because someone may set the clock.
  const started = performance.now()
  let last = started
  let requests = -1
  const timer = setInterval(
    () => {
      trimLog()
      const now = performance.now()
      if (server.connections > 0 || server.requests !== requests) last = now
      requests = server.requests
      const reason = changed() ?? reasonToEnd(program, now - started, now - last)
      if (reason === undefined) return
      clearInterval(timer)
      logEntry(`The resident process ends: ${reason}`)
      void server.close().then(() => process.exit())
    },
    Math.min(CHECK_EVERY, (program.idle * 1000) / 4),
  )
}

function reasonToEnd(program: ResidentProgram, age: number, idle: number): string | undefined {
  if (idle >= program.idle * 1000) return `no request for ${program.idle} s`
  if (age >= program.lifetime * 1000) return `it is ${program.lifetime} s old`
  const memory = residentMemory()
  if (memory > program.maxMemory) return `it uses ${Math.round(memory / 2 ** 20)} MiB of memory`
  return undefined
}

/** Removes what killed processes have left in the directory of the sockets. */
function removeRemains(socket: string): void {
  const directory = dirname(socket)
  for (const name of readdirSync(directory)) {
    if (!REMAINS.test(name) || name === basename(socket)) continue
    const path = join(directory, name)
    const status = statSync(path, { throwIfNoEntry: false })
    // A live process is replaced within its lifetime.
    if (status && Date.now() - status.mtimeMs > ABANDONED) rmSync(path, { force: true })
  }
}

/** Lets the script that started this process go on: it waits for one byte of descriptor 1. */
function announce(): void {
  write(1, '1')
  closeSync(1)
  openSync('/dev/null', 'w')
}

function trimLog(): void {
  const log = fstatSync(2)
  if (log.isFile() && log.size > MAX_LOG) ftruncateSync(2)
}

function identityOf(path: string): string {
  const status = statSync(path, { throwIfNoEntry: false })
  return status ? `${status.dev} ${status.ino} ${status.mtimeMs} ${status.size}` : 'removed'
}
