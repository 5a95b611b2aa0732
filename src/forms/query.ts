/**
 * `application/x-www-form-urlencoded`: query strings and the bodies of simple forms.
 *
 * The rules are those of Python's `urllib.parse.parse_qsl`, with one exception: the bytes of a value
 * are decoded together, as in the URL Standard, section 5.1, and not each run of `%XX` by itself.
 */
import { checkNames } from '../options/names.ts'
import { refuse } from '../options/values.ts'
import { ApplicationError } from '../errors.ts'
import { type Decode, decoderFor } from './charset.ts'
import { quote } from '../text.ts'
import { checkLimits, malformed, MAX_NUM_FIELDS, tooLarge } from './limits.ts'

export interface QueryOptions {
  /** True: `a=` and `a` give `['a', '']`; false: they are left out. Default: false. */
  keepBlankValues?: boolean
  /** True: an empty pair, and one without `=`, is an error; false: it is left out. Default: false. */
  strictParsing?: boolean
  /** What separates two pairs. Default: '&'. */
  separator?: string
  /** The largest number of pairs, empty ones included. Default: 1,000. */
  maxNumFields?: number
  /** The charset of the bytes, by any label of the Encoding Standard. Default: 'utf-8'. */
  charset?: string
}

/**
 * Parses a query string into an object of names to lists of values, in the order in which they came.
 *
 * @param text a byte string, such as `environ.QUERY_STRING`.
 * @returns an object without a prototype, so that `__proto__` is a name like any other.
 * @throws {PeerError} with a 413 past `maxNumFields`, with a 400 for what `strictParsing` refuses.
 * @throws {ConfigurationError} for an unknown option, or a value out of range.
 */
export function parseQs(text: string, options: QueryOptions = {}): Record<string, string[]> {
  const fields: Record<string, string[]> = Object.create(null)
  for (const [name, value] of pairsOf('parseQs', text, options)) (fields[name] ??= []).push(value)
  return fields
}

/** Parses a query string, as `parseQs` does, into a list of pairs. */
export function parseQsl(text: string, options: QueryOptions = {}): [string, string][] {
  return pairsOf('parseQsl', text, options)
}

function pairsOf(where: string, text: string, options: QueryOptions): [string, string][] {
  checkNames(where, options, QUERY_OPTIONS)
  checkQueryOptions(where, options)
  const decode = requireDecoder(where, options.charset)
  const { maxNumFields = MAX_NUM_FIELDS } = options
  checkLimits(where, { maxNumFields })
  return splitQuery(where, text, options).map(([name, value]) => [decode(name), decode(value)])
}

export const QUERY_OPTIONS = [
  'keepBlankValues',
  'strictParsing',
  'separator',
  'maxNumFields',
  'charset',
] as const

export function checkQueryOptions(where: string, options: QueryOptions): void {
  for (const name of ['keepBlankValues', 'strictParsing'] as const) {
    const value = options[name]
    if (value !== undefined && typeof value !== 'boolean')
      refuse(where, name, value, 'true or false')
  }
  const { separator = '&' } = options
  if (typeof separator !== 'string' || separator === '') {
    refuse(where, 'separator', separator, "a string of one or more characters, '&' for example")
  }
}

/** The pairs with `+` and `%XX` decoded, but still in bytes: a field may name their charset. */
export function splitQuery(where: string, text: string, options: QueryOptions): [string, string][] {
  const { separator = '&', maxNumFields = MAX_NUM_FIELDS } = options
  if (typeof text !== 'string' || /[\u0100-\uffff]/.test(text)) {
    throw new ApplicationError(
      `${where}: the query string must be a byte string, without characters above U+00FF`,
      'PORTICO_INVALID_ARGUMENT',
    )
  }
  if (text === '') return []
  const pairs: [string, string][] = []
  let count = 0
  for (let start = 0; start <= text.length;) {
    if (++count > maxNumFields) throw tooLarge('maxNumFields')
    let end = text.indexOf(separator, start)
    if (end === -1) end = text.length
    const pair = text.slice(start, end)
    start = end + separator.length
    const equals = pair.indexOf('=')
    if (equals === -1 && options.strictParsing)
      throw malformed(`invalid query field ${quote(pair)}`)
    if (pair === '') continue
    const value = equals === -1 ? '' : pair.slice(equals + 1)
    if (value === '' && !options.keepBlankValues) continue
    pairs.push([unquote(equals === -1 ? pair : pair.slice(0, equals)), unquote(value)])
  }
  return pairs
}

/** The decoder for the charset of an option. */
export function requireDecoder(where: string, charset = 'utf-8'): Decode {
  const decode = typeof charset === 'string' ? decoderFor(charset) : undefined
  if (decode !== undefined) return decode
  return refuse(where, 'charset', charset, "the label of a charset, 'utf-8' for example")
}

/** Decodes `+` and `%XX`; a `%` with anything else after it stays. */
function unquote(text: string): string {
  return text
    .replaceAll('+', ' ')
    .replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
}
