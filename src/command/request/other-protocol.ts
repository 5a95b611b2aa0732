/** Finds out why a response is empty: the server may speak another protocol than the target says. */
import { GATEWAYS } from '../../gateways.ts'
import { EmptyResponse } from '../../testing/failures.ts'
import type { Exchange } from '../../testing/exchange.ts'
import { CURL_EXIT, TransferError } from './exit-codes.ts'
import type { RequestedTarget } from './target.ts'

/** Milliseconds for each probe. A server that speaks the protocol responds at once. */
const PROBE_TIME = 1_000

/** The protocols whose servers respond to a probe. One of SCGI only closes the connection. */
const PROBED = ['fastcgi', 'http'] as const

/** `exchange`, whose error after an empty response names the protocol that the server speaks. */
export function namingProtocol(exchange: Exchange, target: RequestedTarget): Exchange {
  if (!('address' in target)) return exchange
  const { kind } = target
  return async (...args) => {
    try {
      return await exchange(...args)
    } catch (error) {
      if (!(error instanceof EmptyResponse)) throw error
      const { probe } = await import('../ping.ts')
      for (const other of PROBED) {
        if (other === kind) continue
        if ((await probe({ ...target, kind: other, path: '/' }, PROBE_TIME)) !== null) continue
        const message = `The server speaks ${GATEWAYS[other].label}: use ${other}:// instead of ${kind}://`
        throw new TransferError(CURL_EXIT.weirdReply, message)
      }
      throw error
    }
  }
}
