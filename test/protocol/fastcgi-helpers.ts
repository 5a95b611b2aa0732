/** Feeds a FastCGI connection with bytes that are split in every way, and collects its events. */
import { Buffer } from 'node:buffer'
import type { ApplicationConnection } from '../../src/protocol/fastcgi-application.ts'
import { decodePairs } from '../../src/protocol/fastcgi-pairs.ts'
import { HEADERS_TOO_LARGE } from '../../src/protocol/refusal.ts'

interface Connection<E> {
  receive(chunk: Buffer): void
  receiveEof(): void
  next(): E | null
}

export function hex(text: string): Buffer {
  return Buffer.from(text.replaceAll(/\s/g, ''), 'hex')
}

/** A record by hand, with any padding: independent of the encoder under test. */
export function record(
  type: number,
  id: number,
  content: string | Buffer = '',
  padding = 0,
): Buffer {
  const bytes = typeof content === 'string' ? Buffer.from(content, 'latin1') : content
  const header = [1, type, id >> 8, id & 255, bytes.length >> 8, bytes.length & 255, padding, 0xee]
  return Buffer.concat([Buffer.from(header), bytes, Buffer.alloc(padding, 0xff)])
}

/** BEGIN_REQUEST by hand: its reserved bytes and unused flags are set, since they mean nothing. */
export function begin(id: number, role = 1, keepConn = true, padding = 0): Buffer {
  const flags = 0xfe | Number(keepConn)
  return record(1, id, Buffer.from([role >> 8, role & 255, flags, 9, 9, 9, 9, 9]), padding)
}

type Flat = Record<string, unknown>

/** Decodes PARAMS where they come, and refuses them as a server does. */
export function decoding(connection: ApplicationConnection, maxPairs?: number): Connection<object> {
  return {
    receive: (chunk) => connection.receive(chunk),
    receiveEof: () => connection.receiveEof(),
    next() {
      const event = connection.next()
      if (event?.type !== 'request') return event
      const { block, start, end, ...rest } = event
      const params = decodePairs(block.subarray(start, end), maxPairs)
      if (params === 'malformed') {
        connection.rejectParams(event.id)
        return connection.next()
      }
      if (params !== 'too many') return { ...rest, params }
      const data = Buffer.from(connection.refuse(event.id, HEADERS_TOO_LARGE) as string, 'latin1')
      return { type: 'reply', data, close: connection.closing }
    },
  }
}

/** Events as plain data; adjacent chunks of one stream are joined, since their division is free. */
export function merged(events: Iterable<object>): Flat[] {
  const result: Flat[] = []
  for (const event of events) {
    const flat: Flat = { ...event }
    const { block, start, end, ...rest } = flat
    // What surrounds the PARAMS in memory depends on the division.
    if (Buffer.isBuffer(block)) {
      result.push({ ...rest, params: block.toString('latin1', Number(start), Number(end)) })
      continue
    }
    if (Buffer.isBuffer(flat['data'])) {
      flat['data'] = flat['data'].toString(flat['type'] === 'reply' ? 'hex' : 'latin1')
    }
    const last = result.at(-1)
    const isChunk = typeof flat['data'] === 'string' && flat['type'] !== 'reply'
    if (isChunk && last?.['type'] === flat['type'] && last?.['id'] === flat['id']) {
      last!['data'] = `${String(last!['data'])}${String(flat['data'])}`
    } else {
      result.push(flat)
    }
  }
  return result
}

export function drain<E extends object>(connection: Connection<E>): E[] {
  const events: E[] = []
  for (let event = connection.next(); event !== null; event = connection.next()) events.push(event)
  return events
}

/**
 * The events for these chunks. Each chunk is given in memory that is overwritten as soon as
 * `next()` has returned null, which is all that a connection may rely on.
 */
export function feed<E extends object>(
  connection: Connection<E>,
  chunks: Iterable<Buffer>,
  eof = false,
): Flat[] {
  const events: Flat[] = []
  for (const chunk of chunks) {
    const lent = Buffer.from(chunk)
    connection.receive(lent)
    events.push(...merged(drain(connection)))
    lent.fill(0x5a)
  }
  if (eof) connection.receiveEof()
  return merged([...events, ...merged(drain(connection))])
}

export function cut(bytes: Buffer, offsets: Iterable<number>): Buffer[] {
  const chunks: Buffer[] = []
  let from = 0
  for (const offset of offsets) {
    chunks.push(bytes.subarray(from, offset))
    from = offset
  }
  return [...chunks, bytes.subarray(from)]
}

/** Whole, byte by byte, and split in two at every offset. */
export function* divisions(bytes: Buffer): Generator<[name: string, chunks: Buffer[]]> {
  const offsets = Array.from(bytes, (_, i) => i)
  yield ['whole', [bytes]]
  yield ['byte by byte', cut(bytes, offsets)]
  for (const offset of offsets) yield [`cut at ${offset}`, cut(bytes, [offset])]
}
