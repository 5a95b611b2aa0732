/**
 * The variables of a request from bytes straight into an environ, for FastCGI and SCGI: what would
 * be read into a list first, and from there into the environ, costs twice as much.
 */
import type { Buffer } from 'node:buffer'
import { putVariable, ruleFor, setVariable } from './environ.ts'
import { walkPairs, type PairsFault } from '../protocol/fastcgi.ts'
import { walkHeaders } from '../protocol/scgi.ts'
import type { Environ } from '../types.ts'
import { nextTurn, putKnown } from './common-variables.ts'
import { createRoomyEnviron } from './roomy-environ.ts'
import { knownName } from './variable-names.ts'

/** Over the memory that was read last: most is read into the same. */
let view: DataView = new DataView(new ArrayBuffer(0))

function viewOf(block: Buffer): DataView {
  if (view.buffer !== block.buffer) view = new DataView(block.buffer)
  return view
}

/** The environ that FastCGI's pairs make, as far as they go. */
export function environFromPairs(
  block: Buffer,
  start: number,
  end: number,
  maxPairs: number,
): Environ | PairsFault {
  const bytes = viewOf(block)
  const offset = block.byteOffset
  const text = block.toString('latin1', start, end)
  const environ = createRoomyEnviron()
  const turn = nextTurn()
  const fault = walkPairs(block, start, end, maxPairs, (at, nameLength, valueLength) => {
    const from = at - start + nameLength
    const value = text.substring(from, from + valueLength)
    const known = knownName(bytes, offset + at, nameLength)
    if (known !== null) putKnown(environ, known, value, turn)
    else setVariable(environ, text.substring(at - start, from), value)
  })
  return fault ?? environ
}

/** The environ that SCGI's headers make. Throws what `walkHeaders` throws. */
export function environFromHeaders(
  block: Buffer,
  start: number,
  end: number,
  maxHeaders: number,
): Environ {
  const bytes = viewOf(block)
  const offset = block.byteOffset
  const text = block.toString('latin1', start, end)
  const environ = createRoomyEnviron()
  const turn = nextTurn()
  walkHeaders(block, start, end, maxHeaders, (at, nameLength, valueLength) => {
    const from = at - start + nameLength
    const value = text.substring(from + 1, from + 1 + valueLength)
    const known = knownName(bytes, offset + at, nameLength)
    if (known !== null && known.turn !== turn) {
      putKnown(environ, known, value, turn)
      return true
    }
    const name = known?.name ?? text.substring(at - start, from)
    const rule = known?.rule ?? ruleFor(name)
    const first = rule === 'header' || rule === 'never' || !(name in environ)
    putVariable(environ, name, rule, value)
    return first
  })
  return environ
}
