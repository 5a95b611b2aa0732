/** What a form may cost, and the two ways in which reading one fails. */
import { ApplicationError, PeerError } from '../errors.ts'

/** Text fields in query and body together; PHP (`max_input_vars`) and Django take 1,000 as well. */
export const MAX_NUM_FIELDS = 1000

/** Files in one body: each costs a file on the disk. Rack allows 128 too. */
export const MAX_NUM_FILES = 128

/** Bytes of one part's header: far above any browser's, and where Rack stops too. */
export const MAX_PART_HEADER_SIZE = 64 * 1024

/** Bytes that the body may put into memory: text values and the headers of all parts. */
export const MAX_TEXT_SIZE = 1024 * 1024

/** Bytes of the whole body, mostly files on the disk: Apache's LimitRequestBody since 2.4.54. */
export const MAX_TOTAL_SIZE = 1024 * 1024 * 1024

/** Each limit is on by default; `Infinity` lifts it. */
export interface FormLimits {
  /** Fields in query string and body together, files not counted. Default 1,000. */
  maxNumFields?: number
  /** Files in the body. Default 128. */
  maxNumFiles?: number
  /** Bytes of the header of one part. Default 64 KiB. */
  maxPartHeaderSize?: number
  /** Bytes of the body that are kept in memory: text and part headers. Default 1 MiB. */
  maxTextSize?: number
  /** Bytes of the whole body. Default 1 GiB. */
  maxTotalSize?: number
}

/**
 * A limit that compares with nothing, such as NaN, would be none.
 *
 * @throws {ApplicationError} for one that is neither a whole number from 0 on nor Infinity.
 */
export function checkLimits(limits: Readonly<FormLimits>): void {
  for (const [name, value] of Object.entries(limits)) {
    if ((Number.isInteger(value) && value >= 0) || value === Infinity) continue
    const shown = typeof value === 'string' ? JSON.stringify(value) : String(value)
    throw new ApplicationError(
      `${name}: ${shown} is not accepted; it is a whole number from 0 on, or Infinity for no limit`,
    )
  }
}

/** The peer passed the limit that the option `limit` sets. */
export function tooLarge(limit: keyof FormLimits): PeerError {
  const message = `the form is larger than ${limit} allows`
  return new PeerError('PORTICO_TOO_LARGE', message, '413 Content Too Large')
}

/** The peer sent what is not a form. */
export function malformed(what: string): PeerError {
  return new PeerError('PORTICO_BAD_REQUEST', `malformed form: ${what}`)
}

/** The peer's text for an error message: ASCII, quoted, and of no length that could hurt a log. */
export function quote(text: string): string {
  const ascii = text
    .slice(0, 40)
    .replace(/[^\x20-\x7e]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)
  return `'${ascii}'`
}
