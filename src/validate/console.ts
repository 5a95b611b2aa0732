/**
 * Under CGI standard output is the answer. The console writes to it, and so does whoever takes
 * `process.stdout` for his own.
 */
import { Console } from 'node:console'
import type { Warn } from './report.ts'

/// ## The application
/// - Standard output and standard input are the gateway's. *Warning:* what writes to standard
///   output under CGI, be it a method of the console or of `process.stdout`; the validator sends
///   it to standard error. *(not checked: descriptors 0 and 1 themselves, and `process.stdin`)*

/** The methods of the console that write to standard output. */
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

/** What goes with these: counters, labels and indentation are a console's own. */
const SILENT = ['countReset', 'groupEnd', 'time'] as const

/** Who listens: one validator, or several around each other. The console is put back by the last. */
const guards = new Set<{ warn: Warn }>()
let restore = () => {}
let warning = false

/**
 * Returns what ends the guard. A CGI process has one request, so nobody else's output is touched.
 * Of several validators the outermost is the one that warns.
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

function tell(what: string): void {
  const [guard] = guards
  // Whoever is warned may say so by the console.
  if (warning || !guard) return
  warning = true
  guard.warn(`${what} writes into the answer under CGI; it must be wsgi.errors or console.error`)
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
  for (const method of METHODS) replace(method, () => tell(`console.${method}()`))
  for (const method of SILENT) replace(method, () => {})
  return () => void Object.assign(console, Object.fromEntries(originals))
}

/**
 * The property only: a gateway may hold the stream itself, and writes the answer to it. What
 * somebody keeps of the substitute writes to the stream again once nobody listens.
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

/** Standard error, save that it complains of what is written to it, and cannot be ended. */
function makeSubstitute(): NodeJS.WriteStream {
  const { stderr } = process
  const output = (method: string) => ({
    value: (...args: unknown[]): unknown => {
      tell(`process.stdout.${method}()`)
      const stream: { write(...args: unknown[]): boolean } =
        guards.size > 0 ? stderr : process.stdout
      return args.length === 0 || stream.write(...args)
    },
  })
  return Object.create(stderr, { write: output('write'), end: output('end') })
}
