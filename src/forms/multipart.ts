/**
 * Parses `multipart/*` bodies (RFC 2046, section 5.1; RFC 7578 for forms).
 *
 * The body is read only when the caller asks for the next chunk of a part, so that a slow reader
 * slows the sender down and nothing is queued. Lines may end in CRLF or LF, the final delimiter may
 * be missing, and Content-Length of a part is ignored, as in Python's `cgi`.
 */
import { Buffer } from 'node:buffer'
import { parsePartHeaders, type PartHeaders } from './header.ts'
import { malformed, tooLarge } from './limits.ts'
import { Pending } from './pending.ts'

/** Resolves to the next chunk of a body, or of a part of it; to undefined at its end. */
export type Pull = () => Promise<Buffer | undefined>

const LF = 0x0a
const CR = 0x0d
const DASH = 0x2d
const LINE_BREAK = Buffer.from('\n')

/** Spaces after a boundary, which RFC 2046 allows gateways to add. No gateway is known to add any. */
const MAX_PADDING = 256

/** Python's rule. RFC 2046 allows 70 characters, and not all of these. */
const BOUNDARY = /^[ -~]{0,200}[!-~]$/

export class MultipartReader {
  readonly #pull: Pull
  readonly #maxHeaderSize: number
  readonly #needle: Buffer
  readonly #pending = new Pending()
  #state: 'content' | 'header' | 'end' = 'content'
  #isPreamble = true
  #hasEnded = false
  #isTerminated = false
  /** Bytes at the front of #pending that are the line break before the content, not content. */
  #lead = LINE_BREAK.length
  /** No delimiter starts before this byte of #pending. */
  #searched = 0

  /** @throws {PeerError} with a 400 if `boundary` is not a boundary. */
  constructor(pull: Pull, boundary: string | undefined, maxHeaderSize: number) {
    if (boundary === undefined || !BOUNDARY.test(boundary)) throw malformed('no usable boundary')
    this.#pull = pull
    this.#maxHeaderSize = maxHeaderSize
    this.#needle = Buffer.from(`\n--${boundary}`, 'latin1')
    // The first delimiter needs no line break of its own; the preamble is a part without header.
    this.#pending.append(LINE_BREAK)
  }

  /** Whether the final delimiter has been seen. */
  get isTerminated(): boolean {
    return this.#isTerminated
  }

  /**
   * Skips the rest of this part and resolves to the header of the next one; to undefined after the
   * last.
   *
   * @throws {PeerError} with a 413 for a header over the limit, with a 400 for a malformed header or
   *   a body without any delimiter.
   */
  async nextPart(): Promise<PartHeaders | undefined> {
    let hasContent = false
    while ((await this.read()) !== undefined) hasContent = true
    if (this.#isPreamble && hasContent && this.#state === 'end' && !this.#isTerminated) {
      throw malformed('the body does not contain the boundary')
    }
    this.#isPreamble = false
    return this.#state === 'header' ? this.#readHeader() : undefined
  }

  /** Resolves to the next chunk of this part. A chunk belongs to the body: copy what you keep. */
  async read(): Promise<Buffer | undefined> {
    while (this.#state === 'content') {
      const bytes = this.#pending.bytes
      const at = bytes.indexOf(this.#needle, this.#searched)
      if (at !== -1) {
        const end = at > 0 && bytes[at - 1] === CR ? at - 1 : at
        const delimiter = this.#delimiterAt(bytes, at)
        if (delimiter === 'none') {
          this.#searched = at + 1
          continue
        }
        if (end > this.#lead) return this.#take(end)
        if (delimiter !== 'unclear') {
          this.#pending.consume(delimiter.end)
          this.#searched = 0
          this.#isTerminated = delimiter.isFinal
          this.#state = delimiter.isFinal ? 'end' : 'header'
          return undefined
        }
      } else {
        const end = this.#hasEnded ? beforeLineBreak(bytes) : this.#endOfContent(bytes)
        if (end > this.#lead) return this.#take(end)
        if (this.#hasEnded) {
          this.#state = 'end'
          return undefined
        }
      }
      await this.#fill()
    }
    return undefined
  }

  /** Content up to `end`. */
  #take(end: number): Buffer {
    const content = this.#pending.bytes.subarray(this.#lead, end)
    this.#pending.consume(end)
    this.#lead = 0
    this.#searched = 0
    return content
  }

  async #fill(): Promise<void> {
    const chunk = await this.#pull()
    if (chunk === undefined) this.#hasEnded = true
    else this.#pending.append(chunk)
  }

  /** Classifies the match at `at`: if the line continues, it is not a delimiter. */
  #delimiterAt(bytes: Buffer, at: number): Delimiter | 'none' | 'unclear' {
    let i = at + this.#needle.length
    const isFinal = bytes[i] === DASH && bytes[i + 1] === DASH
    if (isFinal) i += 2
    else if (bytes[i] === DASH && i + 1 === bytes.length && !this.#hasEnded) return 'unclear'
    const limit = i + MAX_PADDING
    while (i < limit && (bytes[i] === 0x20 || bytes[i] === 0x09)) i++
    if (bytes[i] === CR) i++
    // The line break is kept, because the header is parsed with the line break before it.
    if (bytes[i] === LF) return { end: i, isFinal }
    if (i < bytes.length) return 'none'
    return this.#hasEnded ? { end: i, isFinal } : 'unclear'
  }

  /** Where the start of a delimiter may begin, if there is no complete one. */
  #endOfContent(bytes: Buffer): number {
    const from = Math.max(0, bytes.length - this.#needle.length)
    const at = bytes.lastIndexOf(LF)
    const tail = bytes.subarray(at)
    const isStart = at >= from && tail.equals(this.#needle.subarray(0, tail.length))
    const end = isStart ? at : bytes.length
    return end > 0 && bytes[end - 1] === CR ? end - 1 : end
  }

  async #readHeader(): Promise<PartHeaders | undefined> {
    // Both are positions in #pending: the last line break, and where to look for the next one.
    let lineBreak = 0
    let searched = 1
    for (;;) {
      const bytes = this.#pending.bytes
      const next = bytes.indexOf(LF, searched)
      if ((next === -1 ? bytes.length : next) > this.#maxHeaderSize) {
        throw tooLarge('maxPartHeaderSize')
      }
      if (next !== -1) {
        const length = next - lineBreak - 1
        if (length === 0 || (length === 1 && bytes[next - 1] === CR)) {
          const block = bytes.toString('latin1', 1, Math.max(1, lineBreak))
          this.#pending.consume(next)
          this.#state = 'content'
          this.#lead = LINE_BREAK.length
          return parsePartHeaders(block.endsWith('\r') ? block.slice(0, -1) : block)
        }
        lineBreak = next
        searched = next + 1
        continue
      }
      searched = Math.max(1, bytes.length)
      if (this.#hasEnded) {
        // A body may end after any delimiter, as if it were the final one, but not inside a header.
        if (bytes.length > 1) throw malformed('it ends inside the header of a part')
        this.#state = 'end'
        return undefined
      }
      await this.#fill()
    }
  }
}

/** Where the line break at the end begins, which belongs to the missing delimiter. */
function beforeLineBreak(bytes: Buffer): number {
  if (bytes.at(-1) !== LF) return bytes.length
  return bytes.at(-2) === CR ? bytes.length - 2 : bytes.length - 1
}

/** `end` is the position of the line break after it. */
interface Delimiter {
  readonly end: number
  readonly isFinal: boolean
}
