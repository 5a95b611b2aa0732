/** Reads the fields of a form, as bytes: only when all are there is their charset known. */
import { TextBudget } from './body-reader.ts'
import type { Decode } from './charset.ts'
import { charsetOf, type RawField, rawText } from './field.ts'
import type { FileDescription } from './file.ts'
import { parseHeader, type PartHeaders } from './header.ts'
import { type FormLimits, malformed, tooLarge } from './limits.ts'
import type { Pull } from './multipart.ts'
import { type QueryOptions, splitQuery } from './query.ts'

export const URLENCODED = 'application/x-www-form-urlencoded'

/**
 * Takes a file's content while it comes. `file` is in bytes; `decode` is the best that is known so
 * far. Resolves to undefined if nothing of the file is kept.
 */
export type FileSink = (
  file: FileDescription,
  decode: Decode,
  pull: Pull,
) => Promise<RawField | undefined>

interface ReaderOptions extends Required<FormLimits>, Omit<QueryOptions, 'maxNumFields'> {
  /** For what names no charset itself. */
  decode: Decode
  sink: FileSink
}

/** Counts across everything that one form is read from. */
export class FormReader {
  readonly #options: ReaderOptions
  readonly #budget: TextBudget
  #numFields = 0
  #numFiles = 0
  #known: Decode | undefined

  constructor(options: ReaderOptions) {
    this.#options = options
    this.#budget = new TextBudget(options.maxTextSize)
  }

  readQuery(text: string): RawField[] {
    const maxNumFields = this.#options.maxNumFields - this.#numFields
    const pairs = splitQuery(text, { ...this.#options, maxNumFields })
    this.#numFields += pairs.length
    return pairs.map(([name, value]) => rawText(name, value))
  }

  async readUrlencoded(pull: Pull): Promise<RawField[]> {
    return this.readQuery(await this.#readText(pull))
  }

  /** `boundary` as the Content-Type has it. */
  async readMultipart(pull: Pull, boundary: string | undefined): Promise<RawField[]> {
    const fields: RawField[] = []
    await this.#readParts(pull, boundary, undefined, fields)
    return fields
  }

  async #readParts(
    pull: Pull,
    boundary: string | undefined,
    outerName: string | undefined,
    fields: RawField[],
  ): Promise<void> {
    // Loaded when such a body comes: most CGI scripts never see one, and each pays for its start.
    const { MultipartReader } = await import('./multipart.ts')
    const reader = new MultipartReader(pull, boundary, this.#options.maxPartHeaderSize)
    const content: Pull = () => reader.read()
    for (;;) {
      const headers = await reader.nextPart()
      if (headers === undefined) break
      await this.#readPart(headers, content, outerName, fields)
    }
    if (this.#options.strictParsing && !reader.isTerminated) throw malformed('no final boundary')
  }

  async #readPart(
    headers: PartHeaders,
    pull: Pull,
    outerName: string | undefined,
    fields: RawField[],
  ): Promise<void> {
    for (const [name, value] of Object.entries(headers)) {
      this.#budget.spend(name.length + value.length)
    }
    const [, disposition] = parseHeader(headers['content-disposition'] ?? '')
    const [mediaType, params] = parseHeader(headers['content-type'] ?? 'text/plain')
    const type = mediaType.toLowerCase()
    // Files that share one field are parts of a multipart/mixed (RFC 7578, section 4.3); their
    // name is the field's, so that a form is a flat list however it was sent.
    const name = outerName ?? disposition['name']
    const { filename } = disposition
    if (name === undefined) {
      // Python reads such a part as fields of its own, and counts them (bpo-34866).
      if (type !== URLENCODED) throw malformed('a part without a name')
      for (const field of await this.readUrlencoded(pull)) fields.push(field)
    } else if (filename !== undefined) {
      if (++this.#numFiles > this.#options.maxNumFiles) throw tooLarge('maxNumFiles')
      const decode = this.#known ?? this.#options.decode
      const field = await this.#options.sink({ name, filename, type, headers }, decode, pull)
      if (field !== undefined) fields.push(field)
    } else if (type === 'multipart/mixed' && outerName === undefined) {
      await this.#readParts(pull, params['boundary'], name, fields)
    } else {
      if (++this.#numFields > this.#options.maxNumFields) throw tooLarge('maxNumFields')
      const text = await this.#readText(pull)
      fields.push(rawText(name, text, type, params['charset'], headers))
      if (name === '_charset_') this.#known ??= charsetOf(fields)
    }
  }

  /** A byte string: a copy, where a slice would keep the whole chunk in memory. */
  async #readText(pull: Pull): Promise<string> {
    let text = ''
    for (let piece = await pull(); piece !== undefined; piece = await pull()) {
      this.#budget.spend(piece.length)
      text += piece.toString('latin1')
    }
    return text
  }
}
