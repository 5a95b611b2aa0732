/**
 * Makes environs from the bytes that FastCGI and SCGI servers send. Making a list of names and values
 * first would cost twice as much.
 */
import type { Buffer } from 'node:buffer'
import { PeerError } from '../errors.ts'
import { walkPairs } from '../protocol/fastcgi-pairs.ts'
import { HEADERS_TOO_LARGE } from '../protocol/refusal.ts'
import { walkHeaders } from '../protocol/scgi.ts'
import type { Environ } from '../types.ts'
import { isLine, lineFault, putVariable, ruleFor } from '../environ/environ.ts'
import {
  createPreallocatedEnviron,
  knownVariable,
  memoryOf,
  type KnownVariable,
} from '../environ/known-variables.ts'

/**
 * The environ of FastCGI's PARAMS: the pairs in `block` from `start` to `end`.
 *
 * @throws {PeerError} PORTICO_PROTOCOL if they are malformed, PORTICO_TOO_LARGE for more than
 *   `maxPairs`, PORTICO_BAD_REQUEST for a line break or a NUL in a variable that `isLine`.
 */
export function environFromPairs(
  block: Buffer,
  start: number,
  end: number,
  maxPairs: number,
): Environ {
  const environ = createPreallocatedEnviron()
  const memory = memoryOf(block)
  const { byteOffset } = block
  // Decoded once and then sliced: toString() for each item costs twice as much.
  const text = block.toString('latin1', start, end)
  /** The bits of the variables so far. A variable whose bit is unset cannot be a repetition. */
  let seen = 0
  /** The first variable that must not reach an application. */
  let refused: string | null = null
  /** The offsets of the next LF, CR and NUL; those before the current header are out of date. */
  let [feed, carriage, nul] = [-1, -1, -1]
  const fault = walkPairs(block, start, end, maxPairs, (at, nameLength, valueLength) => {
    const from = at - start + nameLength
    const to = from + valueLength
    const value = text.substring(from, to)
    const known = knownVariable(memory, byteOffset + at, nameLength)
    if (known !== null && (seen & known.bit) === 0) {
      seen |= known.bit
      putFirst(environ, known, value)
      if (!known.isLine || valueLength === 0) return
    } else {
      const name = known?.name ?? text.substring(at - start, from)
      const rule = known?.rule ?? ruleFor(name)
      putVariable(environ, name, rule, value)
      if (!isLine(rule)) return
    }
    const begin = at - start
    if (feed < begin) feed = find(text, '\n', begin)
    if (carriage < begin) carriage = find(text, '\r', begin)
    if (nul < begin) nul = find(text, '\0', begin)
    if (feed < to || carriage < to || nul < to) refused ??= text.substring(begin, from)
  })
  if (fault === 'malformed') throw new PeerError('PORTICO_PROTOCOL', 'The PARAMS are malformed')
  if (fault === 'too many') {
    const message = `There are more than ${maxPairs} PARAMS`
    throw new PeerError('PORTICO_TOO_LARGE', message, HEADERS_TOO_LARGE)
  }
  if (refused !== null) throw lineFault(refused)
  return environ
}

/**
 * The environ of SCGI's headers: those in `block` from `start` to `end`.
 *
 * It has no CONTENT_LENGTH if the web server repeats that header with an empty value: the application
 * then gets no request body.
 *
 * @throws {PeerError} for malformed headers, more than `maxHeaders` of them, or a line break in a
 *   variable that `isLine`.
 */
export function environFromHeaders(
  block: Buffer,
  start: number,
  end: number,
  maxHeaders: number,
): Environ {
  const environ = createPreallocatedEnviron()
  const memory = memoryOf(block)
  const { byteOffset } = block
  const text = block.toString('latin1', start, end)
  let seen = 0
  let refused: string | null = null
  let [feed, carriage] = [-1, -1] // A NUL separates names and values.
  const fault = walkHeaders(block, start, end, maxHeaders, (at, nameLength, valueLength) => {
    const from = at - start + nameLength
    const to = from + 1 + valueLength
    const value = text.substring(from + 1, to)
    const known = knownVariable(memory, byteOffset + at, nameLength)
    let accepted = true
    if (known !== null && (seen & known.bit) === 0) {
      seen |= known.bit
      putFirst(environ, known, value)
      if (!known.isLine || valueLength === 0) return true
    } else {
      const name = known?.name ?? text.substring(at - start, from)
      const rule = known?.rule ?? ruleFor(name)
      // Only headers, and variables that are dropped anyway, may be repeated. The first header is always
      // CONTENT_LENGTH; nginx sends its own before that of `scgi_param CONTENT_LENGTH ""`.
      accepted =
        rule === 'never' ||
        rule.endsWith('header') ||
        (rule === 'not empty' && valueLength === 0) ||
        (name !== 'CONTENT_LENGTH' && !(name in environ))
      putVariable(environ, name, rule, value)
      if (!isLine(rule)) return accepted
    }
    const begin = at - start
    if (feed < begin) feed = find(text, '\n', begin)
    if (carriage < begin) carriage = find(text, '\r', begin)
    if (feed < to || carriage < to) refused ??= text.substring(begin, from)
    return accepted
  })
  if (fault !== null) throw new PeerError(fault.code, fault.message)
  if (refused !== null) throw lineFault(refused)
  return environ
}

/**
 * The offset of the next `character` at or after `from`; the length of `text` without one. It is
 * usually far beyond the header that is being read, so that most headers need no search. FastCGI's
 * lengths are in `text` as well, and a few of them look like line breaks: then it is searched again.
 */
function find(text: string, character: string, from: number): number {
  const found = text.indexOf(character, from)
  return found < 0 ? text.length : found
}

/** `putVariable` for a variable that is not in the environ yet, without looking for it. */
function putFirst(environ: Environ, { name, rule }: KnownVariable, value: string): void {
  if (rule === 'never' || (rule === 'not empty' && value === '')) return
  const variables = environ as unknown as Record<string, string>
  variables[name] = value
}
