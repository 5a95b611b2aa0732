/**
 * The memory after the received bytes contains bytes of an earlier read, perhaps of another client.
 * No event may contain any of them.
 */
import { Buffer } from 'node:buffer'
import * as fc from 'fast-check'
import { expect, it } from 'vitest'
import { ApplicationConnection } from '../../src/protocol/fastcgi-application.ts'
import { encodePairs } from '../../src/protocol/fastcgi-pairs.ts'
import { environFromPairs } from '../../src/server/from-params.ts'
import { begin, cut, merged, record } from './fastcgi-helpers.ts'

const bytes = fc.uint8Array({ maxLength: 40 }).map((list) => Buffer.from(list))
const padding = fc.constantFrom(0, 0, 7, 255)
const id = fc.constantFrom(1, 1, 1, 2)
const name = fc.constantFrom('QUERY_STRING', 'HTTP_HOST', 'X')
const variables = fc.array(fc.tuple(name, fc.string({ maxLength: 200 }))).map(encodePairs)

/** Valid requests, and records that end them early. */
const records = fc.oneof(
  fc
    .tuple(id, variables, bytes, padding)
    .map(([of, params, body, following]) =>
      Buffer.concat([
        begin(of, 1, true, following),
        record(4, of, params.subarray(0, params.length >> 1), following),
        record(4, of, params.subarray(params.length >> 1), following),
        record(4, of, '', following),
        record(5, of, body, following),
        record(5, of, '', following),
      ]),
    ),
  fc.tuple(id, bytes, padding).map(([of, content, following]) => record(5, of, content, following)),
  id.map((of) => record(2, of)),
  variables.map((names) => record(9, 0, names)),
  fc.tuple(fc.nat(255), fc.nat(2), bytes).map(([type, of, content]) => record(type, of, content)),
  bytes,
)
const stream = fc.array(records, { maxLength: 8 }).map((list) => Buffer.concat(list))
const following = fc.oneof(stream, bytes, fc.constant(Buffer.alloc(300, 0x01)))

it('Memory after the received bytes changes no FastCGI event', () => {
  fc.assert(
    fc.property(
      stream,
      fc.array(fc.nat(400), { maxLength: 12 }),
      fc.array(following, { minLength: 1, maxLength: 4 }),
      fc.nat(3),
      (all, cuts, rests, waiting) => {
        const chunks = cut(
          all,
          cuts.filter((at) => at < all.length).toSorted((a, b) => a - b),
        )
        const events = (fill: (chunk: Buffer, i: number) => Buffer) => {
          const connection = new ApplicationConnection()
          const seen: object[] = []
          const lent: Buffer[] = []
          const drain = () => {
            for (let event; (event = connection.next()) !== null;) {
              if (event.type === 'request') {
                const { block, start, end } = event
                seen.push({ id: event.id, params: environFromPairs(block, start, end, 10_000) })
                continue
              }
              const { data } = event as { data?: Buffer }
              seen.push(data === undefined ? event : { ...event, data: Buffer.from(data) })
              // The response follows at once, so that ids are used again.
              if (event.type === 'stdin-end') connection.end(event.id)
            }
            // What was lent is used for something else from now on.
            for (const memory of lent.splice(0)) memory.fill(0x5a)
          }
          for (const [i, chunk] of chunks.entries()) {
            const memory = fill(chunk, i)
            lent.push(memory)
            connection.receive(memory, chunk.length)
            if (i % (waiting + 1) === 0) drain()
          }
          drain()
          connection.receiveEof()
          drain()
          return merged(seen)
        }
        const expected = events((chunk) => Buffer.from(chunk))
        expect(events((chunk, i) => Buffer.concat([chunk, rests[i % rests.length]!]))).toEqual(
          expected,
        )
      },
    ),
    { numRuns: 2000 },
  )
})
