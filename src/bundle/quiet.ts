/**
 * Sends what a program prints while it loads to stderr. Descriptor 1 is for the response, and in a
 * resident process for the signal that it is ready. Imported before the program.
 */
import { writeSync } from 'node:fs'
import { redirectWrites } from '../request/fd-io.ts'

/** Node's own function, which still writes to descriptor 1. */
export const write = writeSync

/** Called before the program is loaded, which is after the imports of this file. */
export function printToLog(): void {
  const standardError = { configurable: true, get: () => process.stderr }
  Object.defineProperty(process, 'stdout', standardError)
  // Node 20 to 26; a console that has been used has kept the stream.
  Object.defineProperty(console, '_stdout', standardError)
  redirectWrites(1, 2)
}
