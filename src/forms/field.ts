/** The fields of a form: as bytes, and decoded. */
import { type Decode, decoderFor } from './charset.ts'
import type { UploadedFile } from './file.ts'
import type { PartHeaders } from './header.ts'
import type { FieldName } from './part-name.ts'

/** A field with text. */
export interface TextField {
  readonly name: string
  readonly value: string
  /** Undefined for text, so that it distinguishes text from a file. */
  readonly filename?: undefined
  /** The part's media type in lower case; undefined for an urlencoded field. */
  readonly type: string | undefined
  /** The part's headers; empty for an urlencoded field. */
  readonly headers: PartHeaders
}

export type FormField = TextField | UploadedFile

/** A field in bytes, before the charset of the form is known. */
export interface RawField {
  readonly name: string
  /** Undefined for a file. */
  readonly text?: string
  toField(decode: Decode): FormField
}

const NO_HEADERS: PartHeaders = Object.freeze(Object.create(null))

/** An urlencoded field, or a part with `headers` and perhaps a charset of its own. */
export function rawText(
  { name, decodeName }: FieldName,
  text: string,
  type?: string,
  charset?: string,
  headers = NO_HEADERS,
): RawField {
  const toField = (decode: Decode): TextField => {
    const decodeText = (charset !== undefined && decoderFor(charset)) || decode
    return { name: (decodeName ?? decode)(name), value: decodeText(text), type, headers }
  }
  return { name, text, toField }
}

/** The charset that the form names in a field `_charset_` (RFC 7578, section 4.6). */
export function charsetOf(fields: readonly RawField[]): Decode | undefined {
  const label = fields.find(({ name, text }) => name === '_charset_' && text !== undefined)?.text
  return label === undefined ? undefined : decoderFor(label)
}
