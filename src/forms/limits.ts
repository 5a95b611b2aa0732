/** The limits of a form, and the errors of forms. */
import { isInteger, refuse } from '../options/values.ts'
import { PeerError } from '../errors.ts'

/** Text fields in query string and body together; the same as in PHP (`max_input_vars`) and Django. */
export const MAX_NUM_FIELDS = 1000

/** Files in one body: each is a file on disk. The same as in Rack. */
export const MAX_NUM_FILES = 128

/** Bytes of one part's header, far more than browsers send. The same as in Rack. */
export const MAX_PART_HEADER_SIZE = 64 * 1024

/** Bytes of the body that are kept in memory: text values and the headers of all parts. */
export const MAX_TEXT_SIZE = 1024 * 1024

/** Bytes of the whole body, mostly files on disk. The same as Apache's LimitRequestBody since 2.4.54. */
export const MAX_TOTAL_SIZE = 1024 * 1024 * 1024

/** Each limit is on by default. `Infinity` turns it off. */
export interface FormLimits {
  /** Fields in query string and body together, without files. Default: 1,000. */
  maxNumFields?: number
  /** Files in the body. Default: 128. */
  maxNumFiles?: number
  /** Bytes of the header of one part. Default: 64 KiB. */
  maxPartHeaderSize?: number
  /** Bytes of the body that are kept in memory: text and part headers. Default: 1 MiB. */
  maxTextSize?: number
  /** Bytes of the whole body. Default: 1 GiB. */
  maxTotalSize?: number
}

/**
 * @throws {ConfigurationError} for a limit that is not a whole number, 0 or more, or Infinity: NaN, for
 *   example, would limit nothing.
 */
export function checkLimits(where: string, limits: Readonly<FormLimits>): void {
  for (const [name, value] of Object.entries(limits)) {
    if (isInteger(value, 0) || value === Infinity) continue
    refuse(where, name, value, 'a whole number, 0 or more, or Infinity for no limit')
  }
}

/** The form is over the limit that the option `limit` sets. */
export function tooLarge(limit: keyof FormLimits): PeerError {
  const message = `The form is larger than ${limit} allows`
  return new PeerError('PORTICO_TOO_LARGE', message, '413 Content Too Large')
}

/** The body is not a form. */
export function malformed(what: string): PeerError {
  return new PeerError('PORTICO_BAD_REQUEST', `Malformed form: ${what}`)
}
