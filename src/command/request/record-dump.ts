/** --record-dump: what goes over a FastCGI or SCGI connection, record by record. */
import { Buffer } from 'node:buffer'
import { FCGI_HEADER_LEN } from '../../protocol/fastcgi.ts'

/** FastCGI 1.0, section 8. */
const TYPES = [
  'type 0',
  'BEGIN_REQUEST',
  'ABORT_REQUEST',
  'END_REQUEST',
  'PARAMS',
  'STDIN',
  'STDOUT',
  'STDERR',
  'DATA',
  'GET_VALUES',
  'GET_VALUES_RESULT',
  'UNKNOWN_TYPE',
]

/** Bytes of a record that are shown: enough for most heads. */
const SHOWN = 1024

const ROW = 16

/** Returns the text for bytes in one direction; incomplete records wait. */
export function recordDump(): (direction: '>' | '<', bytes: Buffer) => string {
  const waiting = { '>': Buffer.alloc(0), '<': Buffer.alloc(0) }
  return (direction, bytes) => {
    let rest: Buffer = Buffer.concat([waiting[direction], bytes])
    let text = ''
    while (rest.length >= FCGI_HEADER_LEN) {
      const size = rest.readUInt16BE(4)
      const next = FCGI_HEADER_LEN + size + rest[6]!
      if (rest.length < next) break
      const type = TYPES[rest[1]!] ?? `type ${rest[1]}`
      text += `${direction} ${type} id ${rest.readUInt16BE(2)}, ${size} bytes, padding ${rest[6]}\n`
      text += hexDump(rest.subarray(FCGI_HEADER_LEN, FCGI_HEADER_LEN + size))
      rest = rest.subarray(next)
    }
    waiting[direction] = Buffer.from(rest)
    return text
  }
}

export function byteDump(direction: '>' | '<', bytes: Buffer): string {
  return `${direction} ${bytes.length} bytes\n${hexDump(bytes)}`
}

/** As `hexdump -C`. */
function hexDump(bytes: Buffer): string {
  const lines: string[] = []
  for (let at = 0; at < Math.min(bytes.length, SHOWN); at += ROW) {
    const row = bytes.subarray(at, at + ROW)
    const hex = row.toString('hex').replace(/../g, '$& ')
    const text = row.toString('latin1').replace(/[^ -~]/g, '.')
    lines.push(`  ${at.toString(16).padStart(6, '0')}  ${hex.padEnd(3 * ROW)} ${text}\n`)
  }
  if (bytes.length > SHOWN) lines.push(`  … ${bytes.length - SHOWN} more bytes\n`)
  return lines.join('')
}
