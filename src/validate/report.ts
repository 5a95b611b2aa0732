/** How the validator speaks, to whoever wrote the application or the gateway. */
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
