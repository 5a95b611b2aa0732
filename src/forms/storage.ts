/**
 * FieldStorage: the form of one request, from its query string and its body.
 *
 * `wsgi.input` is read once, in the order in which it comes. Text stays in memory as bytes until
 * the end, since only then is it known in which charset it was.
 */
import type { Buffer } from 'node:buffer'
import type { Environ } from '../types.ts'
import { FormBody } from './body-reader.ts'
import type { Decode } from './charset.ts'
import { charsetOf, type FormField, type RawField } from './field.ts'
import type { IncomingFile, TempFiles, UploadedFile } from './file.ts'
import { parseHeader } from './header.ts'
import {
  checkLimits,
  type FormLimits,
  MAX_NUM_FIELDS,
  MAX_NUM_FILES,
  MAX_PART_HEADER_SIZE,
  MAX_TEXT_SIZE,
  MAX_TOTAL_SIZE,
  tooLarge,
} from './limits.ts'
import { type QueryOptions, requireDecoder } from './query.ts'
import { type FileSink, FormReader, URLENCODED } from './reader.ts'

export interface FieldStorageOptions extends QueryOptions, FormLimits {
  /**
   * Takes each file while it comes, instead of the disk, and is awaited. What it leaves unread is
   * passed over. The form does not list such files.
   */
  onFile?: (file: IncomingFile) => unknown
  /** The folder for temporary files. Default: the system's. */
  tempDir?: string
}

/** What the methods give for a field: its text, or the file itself. */
export type FormValue = string | UploadedFile

/**
 * The fields of a form, in the order in which they came; Python's `cgi.FieldStorage`.
 *
 * Differences: a file's content is read with `await file.bytes()` or `file.stream()`; files in a
 * nested multipart/mixed are fields of the form, under the name of the outer part; `name in form`
 * is `form.has(name)`; iterating gives pairs, as FormData does.
 */
export class FieldStorage implements AsyncDisposable, Iterable<[name: string, value: FormValue]> {
  /** All fields with everything known of them. */
  readonly list: readonly FormField[]
  readonly #values = new Map<string, FormValue[]>()
  readonly #files: TempFiles | undefined

  private constructor(list: readonly FormField[], files: TempFiles | undefined) {
    this.list = list
    this.#files = files
    for (const field of list) {
      const values = this.#values.get(field.name)
      if (values) values.push(valueOf(field))
      else this.#values.set(field.name, [valueOf(field)])
    }
  }

  /**
   * Reads the form of a request: for GET and HEAD the query string; otherwise that and a body of
   * type application/x-www-form-urlencoded (its fields come first) or multipart/form-data (RFC
   * 7578; the query's fields come first). A POST without CONTENT_TYPE counts as urlencoded. A body
   * of any other type is left in `wsgi.input`.
   *
   * Files lie on the disk until `close()`. Throws a PeerError: 413 past a limit, 400 for what is
   * malformed, and what `wsgi.input` throws; nothing is left on the disk then.
   *
   * A text field is in the charset that its part names, else in that of a field `_charset_`, else
   * in `charset`; labels that do not exist are passed over. `iso-8859-1` is the true one, not
   * WHATWG's windows-1252. Names and filenames are in the form's charset.
   */
  static async parse(environ: Environ, options: FieldStorageOptions = {}): Promise<FieldStorage> {
    const decode = requireDecoder(options.charset)
    const limits = {
      maxNumFields: options.maxNumFields ?? MAX_NUM_FIELDS,
      maxNumFiles: options.maxNumFiles ?? MAX_NUM_FILES,
      maxPartHeaderSize: options.maxPartHeaderSize ?? MAX_PART_HEADER_SIZE,
      maxTextSize: options.maxTextSize ?? MAX_TEXT_SIZE,
      maxTotalSize: options.maxTotalSize ?? MAX_TOTAL_SIZE,
    }
    checkLimits(limits)
    let files: TempFiles | undefined
    const sink: FileSink = async (file, known, pull) => {
      // Loaded when a file comes, as the parser of multipart is when such a body comes.
      const disk = await import('./file.ts')
      if (options.onFile === undefined) {
        files ??= new disk.TempFiles(options.tempDir)
        return files.store(file, pull)
      }
      await new disk.IncomingFile(file, known, pull).handTo(options.onFile)
      return undefined
    }
    const reader = new FormReader({ ...options, ...limits, decode, sink })

    const [type, params] = bodyType(environ)
    if (type !== URLENCODED && type !== 'multipart/form-data') {
      return new FieldStorage(toFields(reader.readQuery(environ.QUERY_STRING), decode), undefined)
    }
    const body = new FormBody(environ['wsgi.input'].chunks(), limits.maxTotalSize)
    const pull = (): Promise<Buffer | undefined> => body.pull()
    try {
      // What is known to be too large is refused before any of it is stored.
      if (Number(environ.CONTENT_LENGTH) > limits.maxTotalSize) throw tooLarge('maxTotalSize')
      if (type === URLENCODED) {
        const fields = toFields(await reader.readUrlencoded(pull), decode)
        const query = toFields(reader.readQuery(environ.QUERY_STRING), decode)
        return new FieldStorage(fields.concat(query), undefined)
      }
      const fields = toFields(reader.readQuery(environ.QUERY_STRING), decode)
      const raw = await reader.readMultipart(pull, params['boundary'])
      await body.finish()
      return new FieldStorage(fields.concat(toFields(raw, decode)), files)
    } catch (error) {
      await files?.remove()
      await body.discard()
      throw error
    }
  }

  /** The number of names. */
  get size(): number {
    return this.#values.size
  }

  has(name: string): boolean {
    return this.#values.has(name)
  }

  /** The first value of that name, else `fallback`. */
  getfirst(name: string): FormValue | undefined
  getfirst<T>(name: string, fallback: T): FormValue | T
  getfirst(name: string, fallback?: unknown): unknown {
    return this.#values.get(name)?.[0] ?? fallback
  }

  /** All values of that name; an empty list if there is none. */
  getlist(name: string): FormValue[] {
    return [...(this.#values.get(name) ?? [])]
  }

  /** The value if there is one, a list if there are several, else `fallback`. */
  getvalue(name: string): FormValue | FormValue[] | undefined
  getvalue<T>(name: string, fallback: T): FormValue | FormValue[] | T
  getvalue(name: string, fallback?: unknown): unknown {
    const values = this.getlist(name)
    return values.length > 1 ? values : (values[0] ?? fallback)
  }

  /** The names, each once, in the order in which they first came. */
  keys(): IterableIterator<string> {
    return this.#values.keys()
  }

  *[Symbol.iterator](): Generator<[name: string, value: FormValue], void, undefined> {
    for (const field of this.list) yield [field.name, valueOf(field)]
  }

  /** Removes the files from the disk, save those that were moved away. */
  async close(): Promise<void> {
    await this.#files?.remove()
  }

  /** `await using form = …` closes it. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

function bodyType(environ: Environ): [type: string, params: Record<string, string>] {
  const method = environ.REQUEST_METHOD
  if (method === 'GET' || method === 'HEAD') return ['', {}]
  const [type, params] = parseHeader(environ.CONTENT_TYPE ?? (method === 'POST' ? URLENCODED : ''))
  return [type.toLowerCase(), params]
}

/** In the charset that the fields name among themselves, else in that of the options. */
function toFields(raw: readonly RawField[], decode: Decode): FormField[] {
  const formDecode = charsetOf(raw) ?? decode
  return raw.map((field) => field.toField(formDecode))
}

const valueOf = (field: FormField): FormValue =>
  field.filename === undefined ? field.value : field
