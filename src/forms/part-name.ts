/** The names of a part: of its field, and of its file. */
import { type Decode, decoderFor } from './charset.ts'

type Parameters = Readonly<Record<string, string>>

/**
 * Undoes what browsers do to a name: they write `"`, CR and LF as %22, %0D and %0A, and leave '%' as it
 * is (HTML, "multipart form data"). undici's parser does the same.
 */
export function unescapeName(name: string): string {
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
  const { filename, 'filename*': extended } = parameters
  const [, charset = '', text] = EXTENDED.exec(extended ?? '') ?? []
  const decodeFilename = decoderFor(charset)
  if (text !== undefined && decodeFilename) return { filename: percentDecode(text), decodeFilename }
  const plain = filename ?? extended
  return plain === undefined ? undefined : { filename: unescapeName(plain) }
}

const EXTENDED = /^([\w!#$%&+^`{}~-]+)'[^']*'((?:%[\da-f]{2}|[\w!#$&+.^`|~-])*)$/i

function percentDecode(text: string): string {
  return text.replace(/%([\da-f]{2})/gi, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  )
}

/** Types of parts without a file name that are text. Anything else would be lost as text. */
const TEXT =
  /^(?:text\/|multipart\/|message\/|application\/(?:x-www-form-urlencoded|json|xml|(?:x-)?javascript|graphql|yaml|(?:[^/]+\+(?:json|xml)))$)/

/** Whether a part without a file name is text: by its type, or because it names a charset. */
export function isText(type: string, parameters: Parameters): boolean {
  return TEXT.test(type) || !type.includes('/') || 'charset' in parameters
}
