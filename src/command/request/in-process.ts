/** Loads the file of an application into this process, for `portico request ./app.js/path`. */
import { loadHosted, whyNotLoaded } from '../../application/load-hosted.ts'
import type { Runnable } from '../../application/to-application.ts'
import { inProcessExchange, type InProcessOptions } from '../../embedded/in-process.ts'
import { ConfigurationError } from '../../errors.ts'
import type { Exchange, Receiver } from '../../testing/exchange.ts'
import type { FlagValues } from '../flags.ts'
import { CURL_EXIT, TransferError } from './exit-codes.ts'

/** Milliseconds in which a file has to offer its application, as in a worker of `portico serve`. */
const LOAD_TIMEOUT = 60_000

/**
 * Imports the file as `portico serve` does: it exports an application, or calls `run()` or `listen()`.
 *
 * @param values the flags; `-m` limits the time for that as well.
 * @throws {TransferError} 7, if it cannot be loaded; 28, if that takes too long.
 */
export async function loadApplication(file: string, values: FlagValues): Promise<Runnable> {
  const limit = values['maxTime'] === undefined ? LOAD_TIMEOUT : Number(values['maxTime']) * 1000
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new TransferError(CURL_EXIT.timeout, `${whyNotLoaded()} (${limit / 1000} s)`))
    }, limit)
    timer.unref() // A file that waits for nothing is noticed at once.
  })
  try {
    const { application, started } = await Promise.race([loadHosted(file), late])
    started({})
    return application
  } catch (error) {
    if (error instanceof TransferError) throw error
    if (error instanceof ConfigurationError) {
      throw new TransferError(CURL_EXIT.notConnected, error.message)
    }
    const { explain } = await import('../../worker/explain.ts')
    const { withSource } = await import('../../worker/with-source.ts')
    const text = withSource(explain(error, file)).trimEnd()
    throw new TransferError(CURL_EXIT.notConnected, `${file} does not load\n${text}`)
  } finally {
    clearTimeout(timer)
  }
}

/** @throws {TransferError} as `loadApplication` does. */
export async function loadInProcess(
  file: string,
  values: FlagValues,
  options: InProcessOptions,
): Promise<Exchange> {
  return unlessIdle(inProcessExchange(await loadApplication(file, values), options))
}

/** Fails when the process has nothing left to wait for: it would end without a word. */
function unlessIdle(exchange: Exchange): Exchange {
  const idle = new Promise<void>((resolve) => process.once('beforeExit', () => resolve()))
  return (request, receiver, signal) => {
    let begun = false
    const watched: Receiver = {
      ...receiver,
      head(head) {
        begun = true
        receiver.head(head)
      },
    }
    const nothingLeft = idle.then(() => {
      const [exit, what] = begun
        ? ([CURL_EXIT.partial, 'aborted: the application has not completed its response'] as const)
        : ([CURL_EXIT.empty, 'empty response: the application has not responded'] as const)
      throw new TransferError(exit, `${what}, and has nothing left to wait for`)
    })
    return Promise.race([exchange(request, watched, signal), nothingLeft])
  }
}
