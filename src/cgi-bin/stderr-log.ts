/** The stderr of a script → `wsgi.errors`. */
import { StringDecoder } from 'node:string_decoder'
import { requestName } from '../request/error-log.ts'
import { asLogEntry } from '../text.ts'
import type { Environ } from '../types.ts'

/** Bytes of stderr that are logged for each request: a script in a loop must not fill the disk. */
const MAX_LOGGED = 65_536

/** Characters of a line; a longer one is divided. */
const MAX_LINE = 8_192

/**
 * Logs each line as an entry that begins with the request. Control characters are escaped, so that a
 * script that prints what a client sends cannot forge an entry (CVE-2024-9026).
 */
export class StderrLog {
  readonly #errors: Environ['wsgi.errors']
  readonly #prefix: string
  readonly #decoder = new StringDecoder('utf8')
  #line = ''
  #logged = 0
  #dropped = 0

  constructor(environ: Environ) {
    this.#errors = environ['wsgi.errors']
    this.#prefix = requestName(environ)
  }

  add(chunk: Buffer): void {
    const taken = chunk.subarray(0, MAX_LOGGED - this.#logged)
    this.#logged += taken.length
    this.#dropped += chunk.length - taken.length
    if (taken.length === 0) return
    const lines = (this.#line + this.#decoder.write(taken)).split('\n')
    this.#line = lines.pop()!
    for (const line of lines) this.#write(line)
    while (this.#line.length > MAX_LINE) {
      this.#write(this.#line.slice(0, MAX_LINE))
      this.#line = this.#line.slice(MAX_LINE)
    }
  }

  /** Logs the rest. */
  end(): void {
    const rest = this.#line + this.#decoder.end()
    this.#line = ''
    if (rest !== '') this.#write(rest)
    if (this.#dropped === 0) return
    this.#write(`${this.#dropped} more bytes of its stderr are not logged (limit: ${MAX_LOGGED})`)
    this.#dropped = 0
  }

  /** Logs a line of Portico's own. */
  note(text: string): void {
    this.#write(text)
  }

  #write(line: string): void {
    if (line.trim() === '') return
    this.#errors.write(asLogEntry(this.#prefix + line.replace(/\r$/, '')))
  }
}
