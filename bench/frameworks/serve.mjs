/**
 * A process that serves a framework's hello and 64 KiB: `node serve.mjs FRAMEWORK GATEWAY LISTEN…`.
 * FRAMEWORK is 'express' or 'hono'; GATEWAY is 'fastcgi' of Portico's build, 'node' for what the
 * framework's own manual says, which listens on all the paths and ports that it is given, or
 * 'globals' for the same where the global Response stays Node's own, which Hono's server replaces.
 */
import { Buffer } from 'node:buffer'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'

const BLOCK = Buffer.alloc(65_536, 'portico ')
const BYTES_TYPE = 'application/octet-stream'

const [framework, gateway, ...listen] = process.argv.slice(2)
// Not import: this one is found through NODE_PATH, too.
const require = createRequire(import.meta.url)

const frameworks = {
  express() {
    const express = require('express')
    const app = express()
    app.get('/hello', (request, response) => response.type('text').send('Hello, world!\n'))
    app.get('/64k', (request, response) => response.type(BYTES_TYPE).send(BLOCK))
    return { app, listener: () => app }
  },
  hono() {
    const { Hono } = require('hono')
    const app = new Hono()
    app.get('/hello', (c) => c.text('Hello, world!\n'))
    app.get('/64k', (c) => c.body(BLOCK, 200, { 'Content-Type': BYTES_TYPE }))
    const overrideGlobalObjects = gateway !== 'globals'
    const listener = () =>
      require('@hono/node-server').getRequestListener(app.fetch, { overrideGlobalObjects })
    return { app, listener }
  },
}

const { app, listener } = frameworks[framework]()
if (gateway === 'light') {
  const { installLightFetch } = await import('../../dist/src/fetch.js')
  installLightFetch()
}
if (gateway === 'fastcgi' || gateway === 'light') {
  const { FastCGIHandler } = await import('../../dist/handlers/fastcgi.js')
  await new FastCGIHandler({ listen: `unix:${listen[0]}` }).run(app)
} else {
  for (const place of listen) {
    if (place.startsWith('/')) createServer(listener()).listen(place)
    else createServer(listener()).listen(Number(place), '127.0.0.1')
  }
}
