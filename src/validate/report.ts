/**
 * How the validator speaks, to whoever wrote the application or the gateway: a message says where
 * (`environ: KEY`, `startResponse call 2: header 3`, `body chunk 4`), what is expected there, and
 * what came instead.
 */
import { ApplicationError } from '../errors.ts'

/** Takes what is doubtful but no violation: one line, without its end. */
export type Warn = (message: string) => void

/** Throws what breaks the contract, as ApplicationError. */
export function fail(message: string): never {
  throw new ApplicationError(message)
}

/** Enough to recognise a value by, and little enough for one line of a log. */
const SHOWN = 80

/** A value as it is named in a message: one printable line, whatever a client put into it. */
export function show(value: unknown): string {
  if (typeof value === 'string') {
    const text = value.length > SHOWN ? `${value.slice(0, SHOWN)}...` : value
    return `"${text.replace(/["\\]|[^ -~]/g, escape)}"`
  }
  if (typeof value === 'function') return `the function ${show(value.name)}`
  if (typeof value !== 'object' || value === null) return String(value)
  if (Array.isArray(value)) return `an array of ${value.length}`
  const constructor: unknown = Reflect.get(value, 'constructor')
  return typeof constructor === 'function' ? `an object of class ${constructor.name}` : 'an object'
}

function escape(character: string): string {
  if (character === '"' || character === '\\') return `\\${character}`
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
}

/** '1 argument', '2 arguments'. */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`
}

/** Objects to the first character of `text` that `bad` finds. */
export function checkCharacters(where: string, text: string, bad: RegExp, expected: string): void {
  const found = bad.exec(text)
  if (!found) return
  const place = `${show(found[0])} at character ${found.index + 1} of ${show(text)}`
  fail(`${where} must hold ${expected}, not ${place}`)
}
