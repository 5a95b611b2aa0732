/** The name-value pairs of FastCGI (section 3.4): PARAMS, GET_VALUES and GET_VALUES_RESULT. */
import { Buffer } from 'node:buffer'

/** Bytes of PARAMS in one request. nginx and mod_fcgid send at most one record, 64 KiB. */
export const MAX_PARAMS_BYTES = 1024 * 1024

/** Pairs in one request: Apache refuses more than 100 header fields by default. */
export const MAX_PARAMS = 10_000

/** Name-value pairs (section 3.4) of byte strings, one character (U+0000 to U+00FF) per byte. */
export function encodePairs(pairs: Iterable<readonly [name: string, value: string]>): Buffer {
  const parts: Buffer[] = []
  for (const [name, value] of pairs) {
    const lengths = [...encodeSize(name.length), ...encodeSize(value.length)]
    parts.push(Buffer.from(lengths), Buffer.from(name + value, 'latin1'))
  }
  return Buffer.concat(parts)
}

/** One byte up to 127, else four with the highest bit set. */
function encodeSize(size: number): number[] {
  return size < 0x80
    ? [size]
    : [(size >>> 24) | 0x80, (size >>> 16) & 0xff, (size >>> 8) & 0xff, size & 0xff]
}

/** Why a block of pairs was refused: a length points past its end, or there are too many pairs. */
type PairsFault = 'malformed' | 'too many'

/**
 * The pairs of a complete block as `[name, value, name, value …]`: byte strings in the order sent,
 * repeated names included. V8 may make them views of one string as long as the block, so that
 * keeping one of them keeps the whole block in memory.
 */
export function decodePairs(block: Buffer, maxPairs = MAX_PARAMS): string[] | PairsFault {
  // Decoded once and then sliced: toString() for each item costs twice as much.
  const text = block.toString('latin1')
  const pairs: string[] = []
  const fault = walkPairs(block, 0, block.length, maxPairs, (name, nameLength, valueLength) => {
    const value = name + nameLength
    pairs.push(text.substring(name, value), text.substring(value, value + valueLength))
  })
  return fault ?? pairs
}

/**
 * Calls `take` for each pair of a complete block: `at` is the offset of the name in `block`, and the
 * value follows it. Pairs before a fault have been taken.
 */
export function walkPairs(
  block: Buffer,
  start: number,
  end: number,
  maxPairs: number,
  take: (at: number, nameLength: number, valueLength: number) => void,
): PairsFault | null {
  let at = start
  for (let count = 0; at < end; count++) {
    if (count >= maxPairs) return 'too many'
    // An incomplete length moves `at` past the end, and both checks see that.
    let nameLength = block[at++]!
    if (nameLength > 0x7f) {
      nameLength = longSize(block, at)
      at += 3
    }
    if (at >= end) return 'malformed'
    let valueLength = block[at++]!
    if (valueLength > 0x7f) {
      valueLength = longSize(block, at)
      at += 3
    }
    // Compared with what is left, in doubles: sums of 31-bit lengths overflowed in CVE-2025-23016.
    if (nameLength + valueLength > end - at) return 'malformed'
    take(at, nameLength, valueLength)
    at += nameLength + valueLength
  }
  return null
}

/** The 31 bits of a four-byte length whose first byte is before `at`. */
function longSize(block: Buffer, at: number): number {
  return (
    ((block[at - 1]! & 0x7f) << 24) | (block[at]! << 16) | (block[at + 1]! << 8) | block[at + 2]!
  )
}
