/**
 * The variables of a request from bytes straight into an environ, for FastCGI and SCGI: what would
 * be read into a list first, and from there into the environ, costs twice as much.
 */
import type { Buffer } from 'node:buffer'
import { putVariable, ruleFor, setVariable, type Rule } from '../environ.ts'
import { walkPairs, type PairsFault } from '../protocol/fastcgi.ts'
import { walkHeaders } from '../protocol/scgi.ts'
import type { Environ } from '../types.ts'
import { store } from './common-variables.ts'
import { createRoomyEnviron } from './roomy-environ.ts'
import { knownName } from './variable-names.ts'

/** Over the memory that was read last: most is read into the same. */
let view: DataView = new DataView(new ArrayBuffer(0))

function viewOf(block: Buffer): DataView {
  if (view.buffer !== block.buffer) view = new DataView(block.buffer)
  return view
}

/**
 * The request whose variables are being put into an environ, as a mark on their names: what is not
 * marked is not there yet. That numbers come again harms nobody, for a mark only asks for a look.
 */
let turn = 0

function nextTurn(): number {
  return (turn = (turn + 1) & 0x3fff_ffff)
}

/** The environ that FastCGI's pairs make, as far as they go. */
export function environOfPairs(
  block: Buffer,
  start: number,
  end: number,
  maxPairs: number,
): Environ | PairsFault {
  const bytes = viewOf(block)
  const offset = block.byteOffset
  const text = block.toString('latin1', start, end)
  const environ = createRoomyEnviron()
  const variables = environ as unknown as Record<string, string>
  const mark = nextTurn()
  const fault = walkPairs(block, start, end, maxPairs, (at, nameLength, valueLength) => {
    const from = at - start + nameLength
    const value = text.substring(from, from + valueLength)
    const known = knownName(bytes, offset + at, nameLength)
    if (known === null) {
      setVariable(environ, text.substring(at - start, from), value)
    } else if (known.mark !== mark && isPlain(known.rule)) {
      known.mark = mark
      store(variables, known.index, known.name, value)
    } else {
      putVariable(environ, known.name, known.rule, value)
    }
  })
  return fault ?? environ
}

/** The environ that SCGI's headers make. Throws what `walkHeaders` throws. */
export function environOfHeaders(
  block: Buffer,
  start: number,
  end: number,
  maxHeaders: number,
): Environ {
  const bytes = viewOf(block)
  const offset = block.byteOffset
  const text = block.toString('latin1', start, end)
  const environ = createRoomyEnviron()
  const variables = environ as unknown as Record<string, string>
  const mark = nextTurn()
  walkHeaders(block, start, end, maxHeaders, (at, nameLength, valueLength) => {
    const from = at - start + nameLength
    const value = text.substring(from + 1, from + 1 + valueLength)
    const known = knownName(bytes, offset + at, nameLength)
    if (known !== null && known.mark !== mark && isPlain(known.rule)) {
      known.mark = mark
      store(variables, known.index, known.name, value)
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

/** Whether a variable gets in whatever its value, if it is the first of its name. */
function isPlain(rule: Rule): boolean {
  return rule === 'always' || rule === 'header'
}
