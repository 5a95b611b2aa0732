/**
 * An application for several hosts: everything that a request changes is in the session store.
 *
 * SESSION_SECRET and REDIS_URL are the same on every host.
 */
import { hostname } from 'node:os'
import { Keyv } from 'keyv'
import KeyvRedis from '@keyv/redis'
import { KeyvStore, session } from 'portico/middleware'

const { REDIS_URL = 'redis://127.0.0.1:6379', SESSION_SECRET = '', HOST = hostname() } = process.env

// A connection to a host that has become unreachable does not end by itself: a ping each second finds it, and a new one is made.
const store = new KeyvRedis({
  url: REDIS_URL,
  pingInterval: 1000,
  socket: { connectTimeout: 1000, socketTimeout: 2500, reconnectStrategy: () => 200 },
})
const keyv = new Keyv({ store, namespace: 'fleet' })
keyv.on('error', (error) => console.error('sessions:', error.message))

/** A counter for each visitor: POST /count adds one, GET /count shows it. */
const counter = session(
  async (environ, startResponse) => {
    const { data } = environ['portico.session']
    if (environ.REQUEST_METHOD === 'POST') data.count = (data.count ?? 0) + 1
    startResponse('200 OK', [['Content-Type', 'application/json']])
    return [JSON.stringify({ count: data.count ?? 0, host: HOST })]
  },
  { secret: SESSION_SECRET, store: new KeyvStore(keyv, { timeout: 3000 }) },
)

export default (environ, startResponse) => {
  if (environ.PATH_INFO === '/count') return counter(environ, startResponse)
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  return [`Hello from ${HOST}\n`]
}
