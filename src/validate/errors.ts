/** `wsgi.errors` under the validator: what the application may do with it. */
import type { ErrorStream } from '../types.ts'
import { count, fail, show } from './report.ts'

/// ## The errors
/// `wsgi.errors` is text for whoever runs the server: CGI's standard error, the FastCGI stream.

export class CheckedErrors implements ErrorStream {
  readonly #errors: ErrorStream
  #writes = 0
  #writelines = 0

  constructor(errors: ErrorStream) {
    this.#errors = errors
  }

  /// - `write(text)` takes one string. Lines end in `\n`, here as everywhere; a text may be a part
  ///   of a line. *(not checked)*
  write(...args: unknown[]): void {
    const where = `wsgi.errors: write() call ${++this.#writes}`
    const text = onlyOne(where, args)
    if (typeof text !== 'string') fail(`${where} takes a string, not ${show(text)}`)
    this.#errors.write(text)
  }

  /// - `writelines(lines)` takes an iterable of strings, which a string itself is not meant to be.
  writelines(...args: unknown[]): void {
    const where = `wsgi.errors: writelines() call ${++this.#writelines}`
    const lines = onlyOne(where, args)
    if (!isLines(lines)) fail(`${where} takes an iterable of strings, not ${show(lines)}`)
    let number = 0
    for (const line of lines) {
      number++
      if (typeof line !== 'string') {
        fail(`${where} takes strings, not ${show(line)} as line ${number}`)
      }
      this.#errors.write(line)
    }
  }

  /// - `flush()` takes nothing.
  flush(...args: unknown[]): void {
    if (args.length > 0) {
      fail(`wsgi.errors: flush() takes no argument, not ${count(args.length, 'argument')}`)
    }
    this.#errors.flush()
  }

  /// - `close()` is not the application's to call, and nothing else is there: what a gateway's own
  ///   object can do besides does not work behind another one.
  close(): never {
    fail('wsgi.errors: close() must not be called; the gateway closes it')
  }
}

function onlyOne(where: string, args: readonly unknown[]): unknown {
  if (args.length === 1) return args[0]
  fail(`${where} takes one argument, not ${count(args.length, 'argument')}`)
}

function isLines(value: unknown): value is Iterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.iterator in value
}
