/** Loads the file of an application into this process, for `portico request ./app.js/path`. */
import { loadHosted } from '../../application/load-hosted.ts'
import { inProcessExchange, type InProcessOptions } from '../../embedded/in-process.ts'
import { ConfigurationError } from '../../errors.ts'
import type { Exchange } from '../../testing/exchange.ts'
import { CURL_EXIT, TransferError } from './exit-codes.ts'

/**
 * Imports the file as `portico serve` does: it exports an application, or calls `run()` or `listen()`.
 *
 * @throws {TransferError} 7, if it cannot be loaded.
 */
export async function loadInProcess(file: string, options: InProcessOptions): Promise<Exchange> {
  try {
    const { application, started } = await loadHosted(file)
    const exchange = inProcessExchange(application, options)
    started({})
    return exchange
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    const isOurs = error instanceof ConfigurationError
    throw new TransferError(CURL_EXIT.notConnected, isOurs ? message : `${file}: ${message}`)
  }
}
