/**
 * The variables of a request from bytes straight into an environ, for FastCGI and SCGI: what would
 * be read into a list first, and from there into the environ, costs twice as much.
 */
import type { Buffer } from 'node:buffer'
import { createEnviron, putVariable, ruleFor } from '../environ.ts'
import { walkPairs, type PairsFault } from '../protocol/fastcgi.ts'
import { walkHeaders } from '../protocol/scgi.ts'
import type { Environ } from '../types.ts'
import { knownName } from './variable-names.ts'

/** Over the memory that was read last: most is read into the same. */
let view: DataView = new DataView(new ArrayBuffer(0))

/** An environ, and the bytes that it is filled from, between `start` and `end`. */
class Filling {
  readonly environ = createEnviron()
  readonly #offset: number
  readonly #start: number
  readonly #text: string

  constructor(block: Buffer, start: number, end: number) {
    if (view.buffer !== block.buffer) view = new DataView(block.buffer)
    this.#offset = block.byteOffset
    this.#start = start
    this.#text = block.toString('latin1', start, end)
  }

  /** `setVariable` for what is at these offsets; whether it is the first of its name, or a header. */
  put(at: number, nameLength: number, valueAt: number, valueLength: number): boolean {
    const from = valueAt - this.#start
    const value = this.#text.substring(from, from + valueLength)
    const known = knownName(view, this.#offset + at, nameLength)
    const name =
      known?.name ?? this.#text.substring(at - this.#start, at - this.#start + nameLength)
    const rule = known?.rule ?? ruleFor(name)
    const joined = rule === 'header' || rule === 'never'
    const first = joined || !(name in this.environ)
    putVariable(this.environ, name, rule, value)
    return first
  }
}

/** The environ that FastCGI's pairs make, as far as they go. */
export function environOfPairs(
  block: Buffer,
  start: number,
  end: number,
  maxPairs: number,
): Environ | PairsFault {
  const filling = new Filling(block, start, end)
  const fault = walkPairs(block, start, end, maxPairs, (at, nameLength, valueLength) => {
    filling.put(at, nameLength, at + nameLength, valueLength)
  })
  return fault ?? filling.environ
}

/** The environ that SCGI's headers make. Throws what `walkHeaders` throws. */
export function environOfHeaders(
  block: Buffer,
  start: number,
  end: number,
  maxHeaders: number,
): Environ {
  const filling = new Filling(block, start, end)
  walkHeaders(block, start, end, maxHeaders, (at, nameLength, valueLength) =>
    filling.put(at, nameLength, at + nameLength + 1, valueLength),
  )
  return filling.environ
}
