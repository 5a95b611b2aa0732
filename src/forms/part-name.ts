/** The names of a part: of its field, and of its file. */
import { percentEncode } from '../text.ts'
import { type Decode, decoderFor } from './charset.ts'

type Parameters = Readonly<Record<string, string>>

/**
 * Undoes what browsers do to a name: they write `"`, CR and LF as %22, %0D and %0A, and leave '%' as it
 * is (HTML, "multipart form data"). undici's parser does the same.
 */
function unescapeName(name: string): string {
  return name.replace(/%(22|0D|0A)/gi, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  )
}

/** A file's name in bytes, with its charset where it names one. */
export interface FileName {
  readonly filename: string
  readonly decodeFilename?: Decode | undefined
}

/**
 * The file's name in the parameters of Content-Disposition; undefined if there is no name.
 *
 * `filename*` (RFC 8187) is forbidden in forms (RFC 7578, section 4.2), but some clients send it, alone
 * or with an encoded word in `filename`: it wins, as in RFC 6266, section 4.3.
 */
export function fileNameOf(parameters: Parameters): FileName | undefined {
  const { filename } = parameters
  const extended = parameters['filename*'] ?? joined(parameters, 'filename')
  const [, charset = '', text] = EXTENDED.exec(extended ?? '') ?? []
  const decodeFilename = decoderFor(charset)
  if (text !== undefined && decodeFilename) return { filename: percentDecode(text), decodeFilename }
  const plain = filename ?? extended
  return plain === undefined ? undefined : { filename: unescapeName(plain) }
}

/** A field's name in bytes, with its charset where it names one. */
export interface FieldName {
  readonly name: string
  readonly decodeName?: Decode | undefined
}

/** The field's name. urllib3 before 1.25 writes a name that is not ASCII as `name*`. */
export function fieldNameOf(parameters: Parameters): FieldName | undefined {
  const { name } = parameters
  if (name !== undefined) return { name: unescapeName(name) }
  const extended = parameters['name*'] ?? joined(parameters, 'name')
  if (extended === undefined) return undefined
  const [, charset = '', text] = EXTENDED.exec(extended) ?? []
  if (text === undefined) return { name: extended }
  return { name: percentDecode(text), decodeName: decoderFor(charset) }
}

/** A value in several parameters, `name*0="a"; name*1*=%C3%A9` (RFC 2231, sections 3 and 4.1). */
function joined(parameters: Parameters, name: string): string | undefined {
  let value = ''
  let encoded = false
  for (let i = 0; ; i++) {
    const plain = parameters[`${name}*${i}`]
    const part = plain ?? parameters[`${name}*${i}*`]
    if (part === undefined) return i === 0 ? undefined : value
    if (i === 0) encoded = plain === undefined
    value += encoded && plain !== undefined ? percentEncode(part, /[^\w!#$&+.^`|~-]/g) : part
  }
}

const EXTENDED = /^([\w!#$%&+^`{}~-]+)'[^']*'((?:%[\da-f]{2}|[\w!#$&+.^`|~-])*)$/i

function percentDecode(text: string): string {
  return text.replace(/%([\da-f]{2})/gi, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  )
}

/** Types of parts without a file name that are text. Anything else would be lost as text. */
const TEXT =
  /^(?:text\/|multipart\/mixed$|message\/|application\/(?:x-www-form-urlencoded|json|xml|(?:x-)?javascript|graphql|yaml|(?:[^/]+\+(?:json|xml)))$)/

/** Whether a part without a file name is text: by its type, or because it names a known charset. */
export function isText(type: string, parameters: Parameters): boolean {
  return TEXT.test(type) || type === '' || decoderFor(parameters['charset'] ?? '') !== undefined
}
