/** Checks of what an application does with `wsgi.errors`. */
import type { ErrorStream } from '../types.ts'
import { count, describe, fail } from './report.ts'

/// ## The errors
/// `wsgi.errors` takes text for the operator of the server. It goes to standard error under CGI, and
/// to the stream FCGI_STDERR under FastCGI.

export class CheckedErrors implements ErrorStream {
  readonly #errors: ErrorStream
  #writes = 0
  #writelines = 0

  constructor(errors: ErrorStream) {
    this.#errors = errors
  }

  /// - `write(text)` takes one string. Lines end in `\n` on every platform. A text may be part of a
  ///   line. *(not checked)*
  write(...args: unknown[]): void {
    const where = `wsgi.errors: write() call ${++this.#writes}`
    const text = onlyOne(where, args)
    if (typeof text !== 'string') fail(`${where} takes a string, not ${describe(text)}`)
    this.#errors.write(text)
  }

  /// - `writelines(lines)` takes an iterable of strings. A string is not accepted as one.
  writelines(...args: unknown[]): void {
    const where = `wsgi.errors: writelines() call ${++this.#writelines}`
    const lines = onlyOne(where, args)
    if (!isLines(lines)) fail(`${where} takes an iterable of strings, not ${describe(lines)}`)
    let number = 0
    for (const line of lines) {
      number++
      if (typeof line !== 'string') {
        fail(`${where} takes strings, not ${describe(line)} as line ${number}`)
      }
      this.#errors.write(line)
    }
  }

  /// - `flush()` takes no argument.
  flush(...args: unknown[]): void {
    if (args.length > 0) {
      fail(`wsgi.errors: flush() takes no argument, not ${count(args.length, 'argument')}`)
    }
    this.#errors.flush()
  }

  /// - The application does not call `close()`. It uses no other method either: another gateway
  ///   would not have it.
  close(): never {
    fail('wsgi.errors: the application must not call close(); the gateway does')
  }
}

function onlyOne(where: string, args: readonly unknown[]): unknown {
  if (args.length === 1) return args[0]
  fail(`${where} takes one argument, not ${count(args.length, 'argument')}`)
}

function isLines(value: unknown): value is Iterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.iterator in value
}
