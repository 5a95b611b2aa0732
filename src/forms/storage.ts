/** FieldStorage: the form of one request, from its query string and its body. */
import type { Buffer } from 'node:buffer'
import { checkNames } from '../options/names.ts'
import { refuse } from '../options/values.ts'
import { ApplicationError, excusePeer } from '../errors.ts'
import { unwrapInput, WholeBody } from '../environ/wrapped-input.ts'
import type { Environ, InputStream } from '../types.ts'
import { charsetName, type Decode } from './charset.ts'
import { charsetOf, type FormField, type RawField } from './field.ts'
import type { IncomingFile, UploadedFile } from './file.ts'
import { FormBody } from './form-body.ts'
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
import { checkQueryOptions, QUERY_OPTIONS, type QueryOptions, requireDecoder } from './query.ts'
import { type FileSink, FormReader, URLENCODED } from './reader.ts'
import type { TempFiles } from './temp-files.ts'

export interface FieldStorageOptions extends QueryOptions, FormLimits {
  /**
   * Called with each file while it arrives, and awaited; the file is not stored. What the callback
   * does not read is skipped. The form does not list these files.
   */
  onFile?: (file: IncomingFile) => unknown
  /** The directory for temporary files. Default: the system's. */
  tempDir?: string
}

/** What the methods return for a field: its text, or the file. */
export type FormValue = string | UploadedFile

/**
 * The fields of a form, in the order in which they came; Python's `cgi.FieldStorage`.
 *
 * Differences: a file's content is read with `await file.bytes()` or `file.stream()`; files in a
 * nested multipart/mixed are fields of the form, under the name of the outer part; `name in form`
 * is `form.has(name)`; iterating gives pairs, as FormData does.
 */
export class FieldStorage implements AsyncDisposable, Iterable<[name: string, value: FormValue]> {
  /** All fields with everything that is known about them. */
  readonly list: readonly FormField[]
  readonly #values = new Map<string, FormValue[]>()
  readonly #files: TempFiles | undefined
  #closed = false

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
   * A second call for the same request, by middleware and by the application for example, gives the
   * same form. Files stay on disk until `close()`; if there is an error, none is left.
   *
   * A text field is in the charset that its part names, else in that of a field `_charset_`, else
   * in `charset`; unknown labels are ignored. `iso-8859-1` is ISO 8859-1 itself, and not
   * windows-1252 as in browsers. Names and filenames are in the form's charset, unless `name*` or
   * `filename*` names another.
   *
   * @throws {PeerError} with a 413 past a limit, with a 400 for a malformed form, and whatever
   *   `wsgi.input` throws.
   * @throws {ApplicationError} if something else has read the body, if `close()` has removed the files
   *   of the form, or if an earlier call had options that read another form.
   * @throws {ConfigurationError} for an unknown option, or a value out of range.
   */
  static parse(environ: Environ, options: FieldStorageOptions = {}): Promise<FieldStorage> {
    return excusePeer(FieldStorage.#parse(environ, options))
  }

  static async #parse(environ: Environ, options: FieldStorageOptions): Promise<FieldStorage> {
    checkOptions(options)
    const [type, params] = bodyType(environ)
    if (type !== URLENCODED && type !== 'multipart/form-data') {
      const decode = requireDecoder(WHERE, options.charset)
      const reader = new FormReader({ ...options, ...limitsOf(options), decode, sink: noFiles })
      return new FieldStorage(toFields(reader.readQuery(environ.QUERY_STRING), decode), undefined)
    }
    const input = unwrapInput(environ['wsgi.input'])
    const earlier = parsed.get(input)
    if (earlier) return FieldStorage.#again(earlier, options)
    const form = FieldStorage.#read(environ, type, params['boundary'], options)
    const isGone = (each: FieldStorage) => each.#closed && each.#files !== undefined
    parsed.set(input, { options, form, isGone })
    return form
  }

  /** The form that an earlier call has read. */
  static async #again(earlier: Parsed, options: FieldStorageOptions): Promise<FieldStorage> {
    const [before, now] = [readingOf(earlier.options), readingOf(options)]
    const changed = Object.keys(now).find((name) => before[name] !== now[name])
    if (changed !== undefined || options.onFile !== undefined) {
      throw new ApplicationError(
        `FieldStorage.parse: the form of this request has been parsed already, with another value of ` +
          `${changed ?? 'onFile'}. Parse it once, or with the same options`,
      )
    }
    const form = await earlier.form
    if (earlier.isGone(form)) {
      throw new ApplicationError(
        'FieldStorage.parse: the form of this request has been closed already, and its files have ' +
          'been removed. Close it after its last use',
      )
    }
    return form
  }

  static async #read(
    environ: Environ,
    type: string,
    boundary: string | undefined,
    options: FieldStorageOptions,
  ): Promise<FieldStorage> {
    const limits = limitsOf(options)
    const decode = requireDecoder(WHERE, options.charset)
    let files: TempFiles | undefined
    const sink: FileSink = async (file, known, pull) => {
      // Loaded on demand, like the multipart parser.
      if (options.onFile === undefined) {
        const disk = await import('./temp-files.ts')
        files ??= new disk.TempFiles(options.tempDir)
        return files.store(file, pull)
      }
      const { IncomingFile } = await import('./file.ts')
      await new IncomingFile(file, known, pull).handTo(options.onFile)
      return undefined
    }
    const reader = new FormReader({ ...options, ...limits, decode, sink })
    const length = Number(environ.CONTENT_LENGTH ?? 0)
    const body = new FormBody(new WholeBody(environ['wsgi.input']), limits.maxTotalSize)
    const pull = (): Promise<Buffer | undefined> => body.pull()
    try {
      // A body that is known to be too large is refused before any of it is stored.
      if (length > limits.maxTotalSize) throw tooLarge('maxTotalSize')
      if (type === URLENCODED) {
        const fields = toFields(await reader.readUrlencoded(pull), decode)
        const query = toFields(reader.readQuery(environ.QUERY_STRING), decode)
        return new FieldStorage(fields.concat(query), undefined)
      }
      const fields = toFields(reader.readQuery(environ.QUERY_STRING), decode)
      const raw = await reader.readMultipart(pull, boundary)
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

  /** Returns the first value of `name`, else `fallback`. */
  getFirst(name: string): FormValue | undefined
  getFirst<T>(name: string, fallback: T): FormValue | T
  getFirst(name: string, fallback?: unknown): unknown {
    return this.#values.get(name)?.[0] ?? fallback
  }

  /** Returns all values of `name`; an empty list if there is no value. */
  getList(name: string): FormValue[] {
    return [...(this.#values.get(name) ?? [])]
  }

  /** Returns the value if there is one, a list if there are several, else `fallback`. */
  getValue(name: string): FormValue | FormValue[] | undefined
  getValue<T>(name: string, fallback: T): FormValue | FormValue[] | T
  getValue(name: string, fallback?: unknown): unknown {
    const values = this.getList(name)
    return values.length > 1 ? values : (values[0] ?? fallback)
  }

  /** Python's name for `getFirst`. */
  getfirst<T = undefined>(name: string, fallback?: T): FormValue | T {
    return this.getFirst(name, fallback as T)
  }

  /** Python's name for `getList`. */
  getlist(name: string): FormValue[] {
    return this.getList(name)
  }

  /** Python's name for `getValue`. */
  getvalue<T = undefined>(name: string, fallback?: T): FormValue | FormValue[] | T {
    return this.getValue(name, fallback as T)
  }

  /** Returns the names, each once, in the order in which they first came. */
  keys(): IterableIterator<string> {
    return this.#values.keys()
  }

  *[Symbol.iterator](): Generator<[name: string, value: FormValue], void, undefined> {
    for (const field of this.list) yield [field.name, valueOf(field)]
  }

  /** Removes the files, except those that were moved away. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#files?.remove()
  }

  /** `await using form = …` closes it. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

const WHERE = 'FieldStorage.parse'

/** What an earlier call for the same body has read, or is reading. */
interface Parsed {
  readonly options: FieldStorageOptions
  readonly form: Promise<FieldStorage>
  /** Whether the files of the form have been removed. */
  readonly isGone: (form: FieldStorage) => boolean
}

/** Shared with other copies of this file: middleware may have been installed with its own. */
const PARSED = Symbol.for('portico.forms')
const shared = globalThis as { [PARSED]?: WeakMap<InputStream, Parsed> }
const parsed = (shared[PARSED] ??= new WeakMap())

/** The options that decide what is read, and not how much. */
function readingOf(options: FieldStorageOptions): Record<string, unknown> {
  const { keepBlankValues = false, strictParsing = false, separator = '&', onFile } = options
  const charset = charsetName(options.charset ?? 'utf-8')
  return { keepBlankValues, strictParsing, separator, charset, onFile }
}

const LIMITS = {
  maxNumFields: MAX_NUM_FIELDS,
  maxNumFiles: MAX_NUM_FILES,
  maxPartHeaderSize: MAX_PART_HEADER_SIZE,
  maxTextSize: MAX_TEXT_SIZE,
  maxTotalSize: MAX_TOTAL_SIZE,
}

const NAMES = [...new Set([...QUERY_OPTIONS, ...Object.keys(LIMITS), 'onFile', 'tempDir'])]

function limitsOf(options: FieldStorageOptions): Required<FormLimits> {
  const limits: Required<FormLimits> = { ...LIMITS }
  for (const name of Object.keys(LIMITS) as (keyof FormLimits)[]) {
    const value = options[name]
    if (value !== undefined) limits[name] = value
  }
  return limits
}

function checkOptions(options: FieldStorageOptions): void {
  checkNames(WHERE, options, NAMES)
  checkQueryOptions(WHERE, options)
  requireDecoder(WHERE, options.charset)
  checkLimits(WHERE, limitsOf(options))
  const { onFile, tempDir } = options
  if (onFile !== undefined && typeof onFile !== 'function') {
    refuse(WHERE, 'onFile', onFile, 'a function')
  }
  if (tempDir !== undefined && (typeof tempDir !== 'string' || tempDir === '')) {
    refuse(WHERE, 'tempDir', tempDir, 'the path of a directory')
  }
}

/** A query string has no files. */
const noFiles: FileSink = () => Promise.resolve(undefined)

function bodyType(environ: Environ): [type: string, params: Record<string, string>] {
  const method = environ.REQUEST_METHOD
  if (method === 'GET' || method === 'HEAD') return ['', {}]
  const [type, params] = parseHeader(environ.CONTENT_TYPE ?? (method === 'POST' ? URLENCODED : ''))
  return [type.toLowerCase(), params]
}

/** Decodes fields with the charset that one of them names, else with that of the options. */
function toFields(raw: readonly RawField[], decode: Decode): FormField[] {
  const formDecode = charsetOf(raw) ?? decode
  return raw.map((field) => field.toField(formDecode))
}

const valueOf = (field: FormField): FormValue =>
  field.filename === undefined ? field.value : field
