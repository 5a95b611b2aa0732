/**
 * `application/x-www-form-urlencoded`: query strings and the bodies of simple forms.
 *
 * The rules are those of Python's `urllib.parse.parse_qsl`. WHATWG's parser (URL standard, section
 * 5.1) differs in three things: it keeps blank values (here `keepBlankValues`), it never fails
 * (here `strictParsing` and `maxNumFields` do), and it decodes the bytes of a value together where
 * Python decodes each run of `%XX` by itself. In the last one this follows WHATWG.
 */
import { ApplicationError } from '../errors.ts'
import { type Decode, decoderFor } from './charset.ts'
import { checkLimits, malformed, MAX_NUM_FIELDS, quote, tooLarge } from './limits.ts'

export interface QueryOptions {
  /** Keep `a=` and `a` as `['a', '']`; otherwise they are left out. Default false. */
  keepBlankValues?: boolean
  /** Refuse an empty pair and one without `=`, rather than to pass over it. Default false. */
  strictParsing?: boolean
  /** What stands between two pairs. Default `&`. */
  separator?: string
  /** Most pairs, blank ones counted. Default 1,000. */
  maxNumFields?: number
  /** The charset of the bytes, by any label of WHATWG's Encoding standard. Default UTF-8. */
  charset?: string
}

/**
 * The fields of a query string: each name with its values, in the order in which they came.
 *
 * `text` is a byte string, such as `environ.QUERY_STRING`. The object has no prototype, so
 * `__proto__` and `constructor` are names like any other. Throws a PeerError: 413 past
 * `maxNumFields`, 400 for what `strictParsing` refuses.
 */
export function parseQs(text: string, options: QueryOptions = {}): Record<string, string[]> {
  const fields: Record<string, string[]> = Object.create(null)
  for (const [name, value] of parseQsl(text, options)) (fields[name] ??= []).push(value)
  return fields
}

/** The same as a list of pairs, in the order of the text. */
export function parseQsl(text: string, options: QueryOptions = {}): [string, string][] {
  const decode = requireDecoder(options.charset)
  const { maxNumFields = MAX_NUM_FIELDS } = options
  checkLimits({ maxNumFields })
  return splitQuery(text, options).map(([name, value]) => [decode(name), decode(value)])
}

/** The pairs with their escapes resolved, still bytes: their charset may stand among them. */
export function splitQuery(text: string, options: QueryOptions): [string, string][] {
  const { separator = '&', maxNumFields = MAX_NUM_FIELDS } = options
  if (separator === '') throw new ApplicationError('the separator of a query string is empty')
  if (/[\u0100-\uffff]/.test(text)) {
    throw new ApplicationError('a query string is a byte string: it has no characters over U+00FF')
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
    if (equals === -1 && options.strictParsing) throw malformed(`bad query field ${quote(pair)}`)
    if (pair === '') continue
    const value = equals === -1 ? '' : pair.slice(equals + 1)
    if (value === '' && !options.keepBlankValues) continue
    pairs.push([unquote(equals === -1 ? pair : pair.slice(0, equals)), unquote(value)])
  }
  return pairs
}

/** The decoder for a charset that the application chose. */
export function requireDecoder(charset = 'utf-8'): Decode {
  const decode = decoderFor(charset)
  if (decode === undefined) throw new ApplicationError(`there is no charset ${quote(charset)}`)
  return decode
}

/** `+` and `%XX` to bytes; a `%` with anything else after it stands for itself. */
function unquote(text: string): string {
  return text
    .replaceAll('+', ' ')
    .replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
}
