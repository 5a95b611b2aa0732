/** Loads the file of an application into this process, for `portico request ./app.js/path`. */
import { loadHosted } from '../../application/load-hosted.ts'
import type { Runnable } from '../../application/to-application.ts'
import { inProcessExchange, type InProcessOptions } from '../../embedded/in-process.ts'
import { ConfigurationError } from '../../errors.ts'
import type { Exchange, Receiver } from '../../testing/exchange.ts'
import { CURL_EXIT, TransferError } from './exit-codes.ts'

/**
 * Imports the file as `portico serve` does: it exports an application, or calls `run()` or `listen()`.
 *
 * @throws {TransferError} 7, if it cannot be loaded.
 */
export async function loadApplication(file: string): Promise<Runnable> {
  try {
    const { application, started } = await loadHosted(file)
    started({})
    return application
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    const isOurs = error instanceof ConfigurationError
    throw new TransferError(CURL_EXIT.notConnected, isOurs ? message : `${file}: ${message}`)
  }
}

/** @throws {TransferError} as `loadApplication` does. */
export async function loadInProcess(file: string, options: InProcessOptions): Promise<Exchange> {
  return unlessIdle(inProcessExchange(await loadApplication(file), options))
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
