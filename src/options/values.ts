/** Refuses values of options, with the same kind of message everywhere. */
import { ConfigurationError } from '../errors.ts'
import { quote } from '../text.ts'

/** @throws {ConfigurationError} that names what was received and what is expected. */
export function refuse(where: string, option: string, value: unknown, expected: string): never {
  throw new ConfigurationError(`${where}: ${option} must be ${expected} (got ${briefly(value)})`)
}

/** Whether `value` is a whole number in a range. */
export function isInteger(value: unknown, min: number, max = Number.MAX_SAFE_INTEGER): boolean {
  return Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max
}

/** A short description of a value, for messages. */
export function briefly(value: unknown): string {
  if (typeof value === 'string') return quote(value)
  if (typeof value !== 'object' || value === null) return String(value)
  return Array.isArray(value) ? 'an array' : 'an object'
}
