/** A file of a form, before it is decoded. */
import type { Decode } from './charset.ts'
import type { PartHeaders } from './header.ts'

/** A file in bytes, before the charset of the form is known. */
export interface RawFile {
  readonly name: string
  readonly filename: string
  /** The charset that the filename names itself. */
  readonly decodeFilename?: Decode | undefined
  readonly type: string
  readonly headers: PartHeaders
}
