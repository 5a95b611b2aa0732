/**
 * Makes environs from the bytes that FastCGI and SCGI servers send. To make a list of names and
 * values first would cost twice as much.
 */
import type { Buffer } from 'node:buffer'
import { walkPairs, type PairsFault } from '../protocol/fastcgi-pairs.ts'
import { walkHeaders, type SCGIFault } from '../protocol/scgi.ts'
import type { Environ } from '../types.ts'
import { putVariable, ruleFor } from './environ.ts'
import { createPreallocatedEnviron, knownVariable } from './known-variables.ts'

/** The environ for FastCGI's PARAMS: the pairs in `block` from `start` to `end`. */
export function environFromPairs(
  block: Buffer,
  start: number,
  end: number,
  maxPairs: number,
): Environ | PairsFault {
  const filler = new Filler(block, start, end)
  const fault = walkPairs(block, start, end, maxPairs, (at, nameLength, valueLength) => {
    filler.put(at, nameLength, at + nameLength, valueLength)
  })
  return fault ?? filler.environ
}

/** The environ for SCGI's headers: those in `block` from `start` to `end`. */
export function environFromHeaders(
  block: Buffer,
  start: number,
  end: number,
  maxHeaders: number,
): Environ | SCGIFault {
  const filler = new Filler(block, start, end)
  const fault = walkHeaders(block, start, end, maxHeaders, (at, nameLength, valueLength) =>
    filler.put(at, nameLength, at + nameLength + 1, valueLength),
  )
  return fault ?? filler.environ
}

/** Puts variables into one environ. */
class Filler {
  readonly environ = createPreallocatedEnviron()
  readonly #block: Buffer
  readonly #start: number
  readonly #text: string
  /** The bits of the variables so far. While a variable's bit is unset, it is not a repetition. */
  #seen = 0

  constructor(block: Buffer, start: number, end: number) {
    this.#block = block
    this.#start = start
    // Decoded once and then sliced: toString() for each item costs twice as much.
    this.#text = block.toString('latin1', start, end)
  }

  /**
   * Puts one variable; `name` and `value` are offsets in the block.
   *
   * @returns false for a repeated variable, unless it is a header or is dropped.
   */
  put(name: number, nameLength: number, value: number, valueLength: number): boolean {
    const variables = this.environ as unknown as Record<string, string>
    const text = this.#text.substr(value - this.#start, valueLength)
    const known = knownVariable(this.#block, name, nameLength)
    const key = known?.name ?? this.#text.substr(name - this.#start, nameLength)
    const rule = known?.rule ?? ruleFor(key)
    if (known !== null && (this.#seen & known.bit) === 0) {
      this.#seen |= known.bit
      if (rule !== 'never' && rule !== 'not empty') {
        variables[key] = text
        return true
      }
    }
    const first = rule.endsWith('header') || rule === 'never' || !(key in variables)
    putVariable(this.environ, key, rule, text)
    return first
  }
}
