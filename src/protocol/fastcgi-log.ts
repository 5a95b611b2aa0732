/** Text for the web server's error log as STDERR records (section 6.1). */
import { Buffer } from 'node:buffer'
import { encodeStream, FCGI_STDERR } from './fastcgi.ts'
import type { Part } from './part.ts'

/**
 * The largest size of a record in bytes. nginx writes one log entry of at most 2,048 bytes for each
 * record, its own text included, and drops the rest.
 */
const MAX_RECORD = 1_900

/** Splits a text into records that end after a line, or between two characters of a longer line. */
export function encodeLog(id: number, text: string): Part[] {
  const bytes = Buffer.from(text)
  if (bytes.length <= MAX_RECORD) return encodeStream(FCGI_STDERR, id, [bytes])
  const records: Part[] = []
  for (let start = 0, end = 0; start < bytes.length; start = end) {
    end = endOfRecord(bytes, start)
    records.push(...encodeStream(FCGI_STDERR, id, [bytes.subarray(start, end)]))
  }
  return [records.join('')]
}

function endOfRecord(bytes: Buffer, start: number): number {
  const most = start + MAX_RECORD
  if (most >= bytes.length) return bytes.length
  const newline = bytes.lastIndexOf(0x0a, most - 1)
  if (newline >= start) return newline + 1
  let end = most
  // Does not split a UTF-8 character, whose bytes after the first are 10xxxxxx.
  while ((bytes[end]! & 0xc0) === 0x80) end--
  return end
}
