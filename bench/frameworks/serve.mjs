/**
 * A process that serves a framework's hello and 64 KiB: `node serve.mjs FRAMEWORK GATEWAY LISTEN…`.
 * FRAMEWORK is 'express' or 'hono'; GATEWAY is 'fastcgi' of Portico's build or 'node' for what the
 * framework's own manual says, which listens on all the paths and ports that it is given. Hono's
 * server replaces the global Request and Response by lighter ones, as `installLightFetch` of Portico
 * does if it is called: the same two with '-light' and without '-light' tell what that gains.
 */
import { Buffer } from 'node:buffer'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'

const BLOCK = Buffer.alloc(65_536, 'portico ')
const BYTES_TYPE = 'application/octet-stream'

const [framework, way, ...listen] = process.argv.slice(2)
const [gateway, light = false] = way.split('-')
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
    const overrideGlobalObjects = Boolean(light)
    const listener = () =>
      require('@hono/node-server').getRequestListener(app.fetch, { overrideGlobalObjects })
    return { app, listener }
  },
}

const { app, listener } = frameworks[framework]()
if (gateway === 'fastcgi') {
  if (light) (await import('../../dist/src/fetch.js')).installLightFetch()
  const { FastCGIHandler } = await import('../../dist/handlers/fastcgi.js')
  await new FastCGIHandler({ listen: `unix:${listen[0]}` }).run(app)
} else {
  for (const place of listen) {
    if (place.startsWith('/')) createServer(listener()).listen(place)
    else createServer(listener()).listen(Number(place), '127.0.0.1')
  }
}
