/**
 * `printToLog`: what a CGI script prints goes to stderr, because descriptor 1 is for the response.
 *
 * Nothing here creates `process.stdout` or `process.stderr`, which takes a millisecond or more.
 */
import { Buffer } from 'node:buffer'
import { nodeFs, RUNTIME } from '../runtime.ts'
import { keepWriteSync, moveResponse, replaceByNull, samePipe, writeFd } from './fd-io.ts'

let isDone = false
let isSeparate = false

/**
 * Makes sure that the web server gets only the response.
 *
 * A bundle calls this before it loads its program, and the handler calls it again, to no effect.
 */
export function separateResponse(): void {
  if (isSeparate) return
  isSeparate = true
  if (samePipe(1, 2)) replaceByNull(2, 'w')
  if (RUNTIME !== 'bun' || !moveResponse()) printToLog()
}

/**
 * Redirects `process.stdout`, `console`, and writes to descriptor 1 through node:fs. Functions that
 * were taken from these before are not redirected, and neither are named imports of ES modules.
 */
export function printToLog(): void {
  if (isDone) return
  isDone = true
  const standardError = { configurable: true, get: () => process.stderr }
  // Bun creates the stream, even to redefine or delete it, but not to assign another value.
  if (RUNTIME === 'bun') Object.assign(process, { stdout: undefined })
  Object.defineProperty(process, 'stdout', standardError)
  // After its first use, a console of Node keeps the stream (Node 20 to 26: in `_stdout`).
  if (RUNTIME === 'node') Object.defineProperty(console, '_stdout', standardError)
  else replaceConsole()
  redirectWrites(1, 2)
}

/** The methods that write, or share counters, timers and an indentation with one that does. */
// oxfmt-ignore
const CONSOLE_METHODS = [
  'assert', 'clear', 'count', 'countReset', 'debug', 'dir', 'dirxml', 'error', 'group', 'groupCollapsed',
  'groupEnd', 'info', 'log', 'table', 'time', 'timeEnd', 'timeLog', 'trace', 'warn',
] as const

/**
 * Replaces the methods of `console` by those of Node's class over stderr. In Bun and Deno they write
 * to descriptor 1 without `process.stdout`.
 */
function replaceConsole(): void {
  let replacement: Record<string, (...args: unknown[]) => unknown> | undefined
  for (const name of CONSOLE_METHODS) {
    Object.assign(console, {
      [name]: (...args: unknown[]) => (replacement ??= newConsole())[name]!(...args),
    })
  }
  // Bun's own method: it prints texts and bytes as they are.
  if (RUNTIME === 'bun') Object.assign(console, { write: writeParts })
}

function newConsole(): Record<string, (...args: unknown[]) => unknown> {
  const { Console } = process.getBuiltinModule('node:console')
  // With ignoreErrors a console listens for errors of its stream, and this one is not a stream.
  const stdout = { write: (text: string) => writeFd(2, text) } as unknown as NodeJS.WriteStream
  return new Console({ stdout, ignoreErrors: false }) as unknown as ReturnType<typeof newConsole>
}

function writeParts(...parts: (string | Uint8Array)[]): number {
  const bytes = Buffer.concat(parts.map((part) => Buffer.from(part as string)))
  writeFd(2, bytes)
  return bytes.length
}

/** Loggers such as pino write to descriptor 1 without `process.stdout`. */
function redirectWrites(from: number, to: number): void {
  keepWriteSync()
  const fs = nodeFs()
  const names = [
    'write',
    'writeSync',
    'writev',
    'writevSync',
    'writeFile',
    'writeFileSync',
  ] as const
  for (const name of names) {
    const original = fs[name] as (fd: number, ...rest: unknown[]) => unknown
    const redirected = (fd: number, ...rest: unknown[]) => original(fd === from ? to : fd, ...rest)
    // Includes the property that `util.promisify` uses.
    Object.defineProperties(redirected, Object.getOwnPropertyDescriptors(original))
    Object.assign(fs, { [name]: redirected })
  }
}
