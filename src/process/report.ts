/** One line for people, instead of a stack trace, where a program cannot start. */
import { logEntry } from '../log.ts'

/**
 * Logs `text` and sets exit code 1 if the program does not catch `error`, with which a promise is
 * about to be rejected. So `run(app)` as the last line of a script reports an address in use in one
 * line, and a program that catches the error decides by itself.
 *
 * Node raises an uncaught rejection, also that of a module's top-level `await`, in the same turn
 * of the event loop.
 */
export function reportIfUncaught(error: Error, text: string): void {
  const listener = (uncaught: unknown): void => {
    process.exitCode = 1
    logEntry(uncaught === error ? text : String(uncaught))
  }
  process.on('uncaughtException', listener)
  setImmediate(() => process.off('uncaughtException', listener))
}
