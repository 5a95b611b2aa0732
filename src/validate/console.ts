/** Detects writes to standard output under CGI, where standard output is the response. */
import { Console } from 'node:console'
import type { Warn } from './report.ts'

/// ## The application
/// - Standard output and standard input belong to the gateway. *Warning:* the application writes to
///   standard output under CGI, by a method of `console` or of `process.stdout`. The validator sends
///   that text to standard error. *(not checked: file descriptors 0 and 1, and `process.stdin`)*

/** The console methods that write to standard output. */
const METHODS = [
  'count',
  'debug',
  'dir',
  'dirxml',
  'group',
  'groupCollapsed',
  'info',
  'log',
  'table',
  'timeEnd',
  'timeLog',
] as const

/** Methods that change state of the console that others print: counters, labels, indentation. */
const SILENT = ['countReset', 'groupEnd', 'time'] as const

/** One for each running validator. The last one restores the console. */
const guards = new Set<{ warn: Warn }>()
let restore = () => {}
let warning = false

/**
 * Starts to watch standard output, and returns a function that stops. A CGI process has one request,
 * so no other output is affected. Of several validators the outermost warns.
 */
export function guardOutput(warn: Warn): () => void {
  if (guards.size === 0) install()
  const guard = { warn }
  guards.add(guard)
  return () => {
    guards.delete(guard)
    if (guards.size === 0) restore()
  }
}

function install(): void {
  const restoreConsole = replaceMethods()
  const restoreStdout = replaceStdout()
  restore = () => {
    restoreConsole()
    restoreStdout()
  }
}

function report(what: string): void {
  const [guard] = guards
  // `warn` may itself write to the console.
  if (warning || !guard) return
  warning = true
  guard.warn(`${what} writes into the response under CGI; use wsgi.errors or console.error()`)
  warning = false
}

function replaceMethods(): () => void {
  const originals = [...METHODS, ...SILENT].map((method) => [method, console[method]])
  let errorConsole: Console | undefined
  const replace = (method: (typeof METHODS | typeof SILENT)[number], before: () => void) => {
    console[method] = (...args: unknown[]) => {
      before()
      errorConsole ??= new Console(process.stderr)
      Reflect.apply(errorConsole[method], errorConsole, args)
    }
  }
  for (const method of METHODS) replace(method, () => report(`console.${method}()`))
  for (const method of SILENT) replace(method, () => {})
  return () => void Object.assign(console, Object.fromEntries(originals))
}

/**
 * Replaces the property only: a gateway that holds the stream writes the response to it. A program
 * that keeps the substitute writes to the stream again when no validator runs.
 */
function replaceStdout(): () => void {
  const original = Object.getOwnPropertyDescriptor(process, 'stdout')!
  let substitute: NodeJS.WriteStream | undefined
  Object.defineProperty(process, 'stdout', {
    configurable: true,
    enumerable: true,
    get: () => (substitute ??= makeSubstitute()),
  })
  return () => void Object.defineProperty(process, 'stdout', original)
}

/** Standard error, except that writing to it warns, and that it cannot be ended. */
function makeSubstitute(): NodeJS.WriteStream {
  const { stderr } = process
  const output = (method: string) => ({
    value: (...args: unknown[]): unknown => {
      report(`process.stdout.${method}()`)
      const stream: { write(...args: unknown[]): boolean } =
        guards.size > 0 ? stderr : process.stdout
      return args.length === 0 || stream.write(...args)
    },
  })
  return Object.create(stderr, { write: output('write'), end: output('end') })
}
