/** A file of a form, before it is decoded. */
import type { Decode } from './charset.ts'
import type { PartHeaders } from './header.ts'
import type { FieldName } from './part-name.ts'

/** A file in bytes, before the charset of the form is known. */
export interface RawFile extends FieldName {
  readonly filename: string
  /** The charset that the filename names itself. */
  readonly decodeFilename?: Decode | undefined
  readonly type: string
  readonly headers: PartHeaders
}
