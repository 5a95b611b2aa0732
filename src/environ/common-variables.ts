/**
 * How the variables whose names are known get into an environ, from the side of a server that fills
 * many of them.
 *
 * A store with a computed key has V8 look up in a table what adding this key does to an object like
 * this one; a store that is written out remembers it. To look for a key that is not there yet, as
 * those of a repeated header are, costs more still. Both together are a tenth and more of a small request's JavaScript.
 */
import { putVariable, ruleFor, type Rule } from './environ.ts'
import type { Environ } from '../types.ts'

let lastTurn = 0

/** A number for the request whose variables come next, all of them before those of another. */
export function nextTurn(): number {
  return (lastTurn = (lastTurn + 1) & 0x3fff_ffff)
}

/** A name that is used often: as a key that was used once it is a string that V8 compares by address. */
export function interned(name: string): string {
  return Object.keys({ [name]: 0 })[0]!
}

/** A variable that is known by its name. Whoever knows several names for it has one such object. */
export class KnownVariable {
  readonly name: string
  readonly rule: Rule
  /** Where it is in `COMMON_NAMES`; else -1. */
  readonly index: number
  /** The last turn in which it may have been put into an environ; not there before any other. */
  turn = lastTurn

  constructor(name: string) {
    this.name = name
    this.rule = ruleFor(name)
    this.index = COMMON_NAMES.indexOf(name)
  }
}

/** `putVariable` for a known one. */
export function putKnown(
  environ: Environ,
  known: KnownVariable,
  value: string,
  turn: number,
): void {
  const { name, rule } = known
  if (known.turn !== turn && (rule === 'always' || rule === 'header')) {
    store(environ as unknown as Record<string, string>, known.index, name, value)
  } else {
    putVariable(environ, name, rule, value)
  }
  known.turn = turn
}

/** `environ[name] = value` for a name whose place in `COMMON_NAMES` is `index`, or which has none. */
// oxfmt-ignore
function store(
  environ: Record<string, string>, index: number, name: string, value: string,
): void {
  switch (index) {
    case 0: return void (environ['QUERY_STRING'] = value)
    case 1: return void (environ['REQUEST_METHOD'] = value)
    case 2: return void (environ['SCRIPT_NAME'] = value)
    case 3: return void (environ['SCRIPT_FILENAME'] = value)
    case 4: return void (environ['REQUEST_URI'] = value)
    case 5: return void (environ['DOCUMENT_URI'] = value)
    case 6: return void (environ['DOCUMENT_ROOT'] = value)
    case 7: return void (environ['SERVER_PROTOCOL'] = value)
    case 8: return void (environ['REQUEST_SCHEME'] = value)
    case 9: return void (environ['GATEWAY_INTERFACE'] = value)
    case 10: return void (environ['SERVER_SOFTWARE'] = value)
    case 11: return void (environ['REMOTE_ADDR'] = value)
    case 12: return void (environ['REMOTE_PORT'] = value)
    case 13: return void (environ['SERVER_ADDR'] = value)
    case 14: return void (environ['SERVER_PORT'] = value)
    case 15: return void (environ['SERVER_NAME'] = value)
    case 16: return void (environ['REDIRECT_STATUS'] = value)
    case 17: return void (environ['PATH_INFO'] = value)
    case 18: return void (environ['HTTP_HOST'] = value)
    case 19: return void (environ['HTTP_USER_AGENT'] = value)
    case 20: return void (environ['HTTP_ACCEPT'] = value)
    case 21: return void (environ['HTTP_ACCEPT_LANGUAGE'] = value)
    case 22: return void (environ['HTTP_ACCEPT_ENCODING'] = value)
    case 23: return void (environ['HTTP_COOKIE'] = value)
    case 24: return void (environ['HTTP_REFERER'] = value)
    case 25: return void (environ['HTTP_CONNECTION'] = value)
    default: environ[name] = value
  }
}

/** What nginx sends, and what a browser adds. */
export const COMMON_NAMES: readonly string[] = [...storedNames()]

function* storedNames(): Generator<string> {
  for (let index = 0; ; index++) {
    const probe: Record<string, string> = {}
    store(probe, index, 'no more', '')
    if ('no more' in probe) return
    yield* Object.keys(probe)
  }
}
