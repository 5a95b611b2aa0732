/**
 * The PARAMS of a request, from bytes straight into an environ: what would be read into a list
 * first, and from there into the environ, costs twice as much.
 */
import type { Buffer } from 'node:buffer'
import { createEnviron, putVariable, setVariable } from '../environ.ts'
import { walkPairs, type PairsFault } from '../protocol/fastcgi.ts'
import type { Environ } from '../types.ts'
import { knownName } from './variable-names.ts'

/** Over the memory that was read last: most is read into the same. */
let view: DataView<ArrayBufferLike> = new DataView(new ArrayBuffer(0))

/**
 * The environ that the pairs between `start` and `end` make, as far as they go: `setVariable` for
 * each of them, in order.
 */
export function decodeEnviron(
  block: Buffer,
  start: number,
  end: number,
  maxPairs: number,
): Environ | PairsFault {
  if (view.buffer !== block.buffer) view = new DataView(block.buffer)
  const bytes = view
  const offset = block.byteOffset
  const text = block.toString('latin1', start, end)
  const environ = createEnviron()
  const fault = walkPairs(block, start, end, maxPairs, (at, nameLength, valueLength) => {
    const from = at - start + nameLength
    const value = text.substring(from, from + valueLength)
    const known = knownName(bytes, offset + at, nameLength)
    if (known !== null) putVariable(environ, known.name, known.rule, value)
    else setVariable(environ, text.substring(at - start, from), value)
  })
  return fault ?? environ
}
