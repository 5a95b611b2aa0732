/**
 * Makes every `http.Server` of a process respond through a gateway of Portico. Loaded into the
 * processes of a framework's test suite with `node --import`; `run.mjs` sets the environment.
 *
 * The server that a test creates still accepts the connections. What it would emit as 'request'
 * goes through the gateway, and comes back to its listeners as the request of the bridge.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import { mkdtempSync, rmSync, writeSync } from 'node:fs'
import http from 'node:http'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FastCGIHandler } from '../../dist/src/exports/fastcgi.js'
import { HTTPHandler } from '../../dist/src/exports/http.js'
import { fromNode } from '../../dist/src/exports/node.js'
import { forward } from './fastcgi-front.mjs'

const { SUITE_GATEWAY: mode, SUITE_DIRECTORY: shared, SUITE_NGINX_PORT: nginxPort } = process.env

if (mode !== undefined && mode !== 'plain') install()

function install() {
  const directory = shared ?? mkdtempSync(join(tmpdir(), 'portico-suite-'))
  if (shared === undefined) process.on('exit', () => rmSync(directory, { recursive: true }))
  let requests = 0
  process.on('exit', () => {
    const file = Number(process.env.SUITE_COUNT_FD ?? 0)
    if (file > 0) writeSync(file, `${requests}\n`)
  })
  /** Servers that belong to a gateway, and must not be redirected themselves. */
  const own = new AsyncLocalStorage()
  const isOwn = Symbol('own')
  const listen = Reflect.get(net.Server.prototype, 'listen')
  net.Server.prototype.listen = function (...args) {
    if (own.getStore()) {
      this[isOwn] = true
      this.unref()
    } else if (this instanceof http.Server && this.listenerCount('request') > 0) {
      // Some tests wait for a few milliseconds only after their first request.
      this.once('listening', () => void gatewayOf(this))
    }
    return listen.apply(this, args)
  }

  /** A server does not know the connections that go through a gateway, so it cannot close idle ones. */
  const running = new WeakMap()
  const close = Reflect.get(http.Server.prototype, 'close')
  http.Server.prototype.close = function (...args) {
    if (mode === 'http') void running.get(this)?.close()
    return close.apply(this, args)
  }

  const gateways = new WeakMap()
  let lastId = 0
  /** The gateway in front of a server: a promise of where it listens. */
  function gatewayOf(server) {
    let gateway = gateways.get(server)
    if (gateway === undefined) {
      lastId += 1
      // nginx finds the socket by a port number of the PROXY protocol.
      const id = ((process.pid * 64 + lastId) % 65_000) + 1
      const path = join(directory, `${id}.sock`)
      const Handler = mode === 'http' ? HTTPHandler : FastCGIHandler
      const listenOn = mode === 'http' ? '127.0.0.1:0' : `unix:${path}`
      gateway = own.run(true, async () => {
        const options = { listen: listenOn, ...(mode === 'nginx' && { mode: 0o666 }) }
        const application = mode === 'http' ? server : fromNode(server)
        const started = await new Handler(options).run(application)
        running.set(server, started)
        server.once('close', () => {
          gateways.delete(server) // It may listen again.
          running.delete(server)
          void started.close()
        })
        return { id, path, port: started.address.port }
      })
      gateways.set(server, gateway)
    }
    return gateway
  }

  const EVENTS = new Set(['request', 'checkContinue', 'checkExpectation'])
  const emit = Reflect.get(http.Server.prototype, 'emit')
  http.Server.prototype.emit = function (event, ...args) {
    if (this[isOwn] || own.getStore()) return emit.call(this, event, ...args)
    if (mode === 'fcgi' && EVENTS.has(event) && args[0].environ === undefined) {
      requests += 1
      gatewayOf(this).then(({ path }) => forward(args[0], args[1], path))
      return true
    }
    if (mode !== 'fcgi' && event === 'connection') {
      requests += 1
      void pass(this, args[0])
      return true
    }
    return emit.call(this, event, ...args)
  }

  /** Passes on all bytes of a connection. */
  async function pass(server, socket) {
    socket.on('error', () => {})
    socket.pause()
    const { id, port } = await gatewayOf(server)
    const peer = net.connect({ port: mode === 'nginx' ? nginxPort : port, allowHalfOpen: true })
    if (mode === 'nginx') {
      const { remoteAddress = '127.0.0.1', remotePort = 1 } = socket
      const address = remoteAddress.replace('::ffff:', '')
      const kind = address.includes(':') ? 'TCP6 ::1 ::1' : 'TCP4 127.0.0.1 127.0.0.1'
      peer.write(`PROXY ${kind} ${remotePort} ${id}\r\n`)
    }
    peer.on('error', () => socket.destroy())
    peer.on('close', () => socket.destroySoon())
    socket.on('close', () => peer.destroy())
    server.once('close', () => peer.destroy())
    socket.allowHalfOpen = true
    socket.pipe(peer)
    peer.pipe(socket)
  }
}
