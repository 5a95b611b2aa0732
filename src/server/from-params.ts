/**
 * Makes environs from the bytes that FastCGI and SCGI servers send. Making a list of names and values
 * first would cost twice as much.
 */
import type { Buffer } from 'node:buffer'
import { walkPairs, type PairsFault } from '../protocol/fastcgi-pairs.ts'
import { walkHeaders, type SCGIFault } from '../protocol/scgi.ts'
import type { Environ } from '../types.ts'
import { putVariable, ruleFor, setVariable } from '../environ/environ.ts'
import {
  createPreallocatedEnviron,
  knownVariable,
  memoryOf,
  type KnownVariable,
} from '../environ/known-variables.ts'

/** The environ of FastCGI's PARAMS: the pairs in `block` from `start` to `end`. */
export function environFromPairs(
  block: Buffer,
  start: number,
  end: number,
  maxPairs: number,
): Environ | PairsFault {
  const environ = createPreallocatedEnviron()
  const memory = memoryOf(block)
  const { byteOffset } = block
  // Decoded once and then sliced: toString() for each item costs twice as much.
  const text = block.toString('latin1', start, end)
  /** The bits of the variables so far. A variable whose bit is unset cannot be a repetition. */
  let seen = 0
  const fault = walkPairs(block, start, end, maxPairs, (at, nameLength, valueLength) => {
    const from = at - start + nameLength
    const value = text.substring(from, from + valueLength)
    const known = knownVariable(memory, byteOffset + at, nameLength)
    if (known === null) {
      setVariable(environ, text.substring(at - start, from), value)
    } else if ((seen & known.bit) === 0) {
      seen |= known.bit
      putFirst(environ, known, value)
    } else {
      putVariable(environ, known.name, known.rule, value)
    }
  })
  return fault ?? environ
}

/** The environ of SCGI's headers: those in `block` from `start` to `end`. */
export function environFromHeaders(
  block: Buffer,
  start: number,
  end: number,
  maxHeaders: number,
): Environ | SCGIFault {
  const environ = createPreallocatedEnviron()
  const memory = memoryOf(block)
  const { byteOffset } = block
  const text = block.toString('latin1', start, end)
  let seen = 0
  const fault = walkHeaders(block, start, end, maxHeaders, (at, nameLength, valueLength) => {
    const from = at - start + nameLength
    const value = text.substring(from + 1, from + 1 + valueLength)
    const known = knownVariable(memory, byteOffset + at, nameLength)
    if (known !== null && (seen & known.bit) === 0) {
      seen |= known.bit
      putFirst(environ, known, value)
      return true
    }
    const name = known?.name ?? text.substring(at - start, from)
    const rule = known?.rule ?? ruleFor(name)
    // Only headers, and variables that are dropped anyway, may be repeated.
    const accepted = rule === 'never' || rule.endsWith('header') || !(name in environ)
    putVariable(environ, name, rule, value)
    return accepted
  })
  return fault ?? environ
}

/** `putVariable` for a variable that is not in the environ yet, without looking for it. */
function putFirst(environ: Environ, { name, rule }: KnownVariable, value: string): void {
  if (rule === 'never' || (rule === 'not empty' && value === '')) return
  const variables = environ as unknown as Record<string, string>
  variables[name] = value
}
