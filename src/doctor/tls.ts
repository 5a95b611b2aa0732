/** Whether a port speaks TLS. */
import { connect } from 'node:tls'

/** How long the handshake may take, in ms. */
const TIMEOUT = 2_000

export function speaksTls({ hostname, port }: URL): Promise<boolean> {
  const host = hostname.replace(/^\[|\]$/g, '')
  const servername = /^[\d.]+$|:/.test(host) ? '' : host
  const socket = connect({ host, port: Number(port || 80), servername, rejectUnauthorized: false })
  return new Promise((resolve) => {
    const finish = (speaks: boolean): void => {
      socket.destroy()
      resolve(speaks)
    }
    socket.setTimeout(TIMEOUT, () => finish(false))
    socket.once('secureConnect', () => finish(true))
    // An alert, for example about the name, is TLS as well.
    socket.on('error', ({ message }) => finish(/alert/i.test(message)))
  })
}
