/** Reads the fields of a form as bytes, because their charset is known only after the last one. */
import { TextBudget } from './form-body.ts'
import type { Decode } from './charset.ts'
import { charsetOf, type RawField, rawText } from './field.ts'
import type { RawFile } from './raw-file.ts'
import { parseHeader, type PartHeaders } from './header.ts'
import { type FormLimits, malformed, tooLarge } from './limits.ts'
import type { Pull } from './multipart.ts'
import { type FieldName, fieldNameOf, fileNameOf, isText } from './part-name.ts'
import { type QueryOptions, splitQuery } from './query.ts'

export const URLENCODED = 'application/x-www-form-urlencoded'

/**
 * Reads a file while it arrives. `decode` is for the charset that is known so far. Resolves to
 * undefined if nothing of the file is kept.
 */
export type FileSink = (file: RawFile, decode: Decode, pull: Pull) => Promise<RawField | undefined>

interface ReaderOptions extends Required<FormLimits>, Omit<QueryOptions, 'maxNumFields'> {
  /** For fields that name no charset. */
  decode: Decode
  sink: FileSink
}

/** Reads one form, and counts the fields of its query string and its body together. */
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
    const pairs = splitQuery('FieldStorage.parse', text, { ...this.#options, maxNumFields })
    this.#numFields += pairs.length
    return pairs.map(([name, value]) => rawText({ name }, value))
  }

  async readUrlencoded(pull: Pull): Promise<RawField[]> {
    return this.readQuery(await this.#readText(pull))
  }

  /** @param boundary the parameter of the Content-Type. */
  async readMultipart(pull: Pull, boundary: string | undefined): Promise<RawField[]> {
    const fields: RawField[] = []
    await this.#readParts(pull, boundary, undefined, fields)
    return fields
  }

  async #readParts(
    pull: Pull,
    boundary: string | undefined,
    outerName: FieldName | undefined,
    fields: RawField[],
  ): Promise<void> {
    // Loaded on demand: a CGI script pays for its imports at each start.
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
    outerName: FieldName | undefined,
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
    const fieldName = outerName ?? fieldNameOf(disposition)
    const fileName = fileNameOf(disposition)
    const isFile = fileName !== undefined || !isText(type, params)
    if (fieldName === undefined) {
      // Python reads such a part as fields of its own, and counts them (bpo-34866).
      if (type !== URLENCODED) throw malformed('a part without a name')
      for (const field of await this.readUrlencoded(pull)) fields.push(field)
    } else if (isFile) {
      if (++this.#numFiles > this.#options.maxNumFiles) throw tooLarge('maxNumFiles')
      const decode = this.#known ?? this.#options.decode
      const file = { ...fieldName, filename: '', ...fileName, type, headers }
      const field = await this.#options.sink(file, decode, pull)
      if (field !== undefined) fields.push(field)
    } else if (type === 'multipart/mixed' && outerName === undefined) {
      await this.#readParts(pull, params['boundary'], fieldName, fields)
    } else {
      if (++this.#numFields > this.#options.maxNumFields) throw tooLarge('maxNumFields')
      const text = await this.#readText(pull)
      fields.push(rawText(fieldName, text, type, params['charset'], headers))
      if (fieldName.name === '_charset_') this.#known ??= charsetOf(fields)
    }
  }

  /** Returns a byte string: a copy, because a slice would keep the whole chunk in memory. */
  async #readText(pull: Pull): Promise<string> {
    let text = ''
    for (let chunk = await pull(); chunk !== undefined; chunk = await pull()) {
      this.#budget.spend(chunk.length)
      text += chunk.toString('latin1')
    }
    return text
  }
}
