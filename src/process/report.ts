/** Logs one line instead of a stack trace if a program cannot start. */
import { logEntry } from '../log.ts'
import { show } from '../text.ts'

/**
 * Call it before a promise rejects with `error`. If the program does not catch the error, this logs
 * `text` and sets exit code 1. So `run(app)` as the last line of a script reports an address in use
 * in one line, and a program that catches the error is left alone.
 *
 * It works because Node raises an uncaught rejection, also of a module's top-level `await`, in the
 * same turn of the event loop.
 */
export function reportIfUncaught(error: Error, text: string): void {
  const listener = (uncaught: unknown): void => {
    process.exitCode = 1
    logEntry(uncaught === error ? text : show(uncaught))
  }
  process.on('uncaughtException', listener)
  setImmediate(() => process.off('uncaughtException', listener))
}
