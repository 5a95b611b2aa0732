/**
 * The messages of the validator. Each says where the fault is (`environ: KEY`, `startResponse call 2:
 * header 3`, `body chunk 4`), what is expected, and what was found.
 */
import { ApplicationError } from '../errors.ts'
import { quote } from '../text.ts'

/** Takes a warning: one line, without its newline. */
export type Warn = (message: string) => void

/** Reports a violation of the contract. */
export function fail(message: string): never {
  throw new ApplicationError(message)
}

/** Names a value in a message: one printable line, whatever a client put into it. */
export function describe(value: unknown): string {
  if (typeof value === 'string') return quote(value)
  if (typeof value === 'function') return `the function ${quote(value.name)}`
  if (typeof value !== 'object' || value === null) return String(value)
  if (Array.isArray(value)) return `an array of ${value.length}`
  const constructor: unknown = Reflect.get(value, 'constructor')
  return typeof constructor === 'function' ? `an object of class ${constructor.name}` : 'an object'
}

/** '1 argument', '2 arguments'. */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`
}

/** Fails for the first character of `text` that `bad` finds. */
export function checkCharacters(where: string, text: string, bad: RegExp, expected: string): void {
  const found = bad.exec(text)
  if (!found) return
  const position = `${quote(found[0])} at character ${found.index + 1} of ${quote(text)}`
  fail(`${where} must contain ${expected}, not ${position}`)
}
