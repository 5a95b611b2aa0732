/**
 * Serves a framework's hello and 64 KiB: `node serve.mjs FRAMEWORK GATEWAY SOCKET`.
 *
 * FRAMEWORK is 'express', 'koa', 'fastify' or 'hono'. GATEWAY is 'own' for the framework's own
 * `listen()`, or 'fastcgi' or 'http' for that handler of Portico's build. '-light' after it replaces
 * the global Request and Response by lighter classes: @hono/node-server does so by default, Portico
 * only after `installLightFetch()`.
 */
import { Buffer } from 'node:buffer'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'

const BLOCK = Buffer.alloc(65_536, 'portico ')
const BYTES_TYPE = 'application/octet-stream'

const [framework, way, socket] = process.argv.slice(2)
const [gateway, light] = way.split('-')
// `require` also finds packages in NODE_PATH.
const require = createRequire(import.meta.url)

/** Each makes an application, and starts its own server on the socket. */
const frameworks = {
  express() {
    const express = require('express')
    const app = express()
    app.get('/hello', (request, response) => response.type('text').send('Hello, world!\n'))
    app.get('/64k', (request, response) => response.type(BYTES_TYPE).send(BLOCK))
    return { app, listen: () => app.listen(socket) }
  },
  koa() {
    const Koa = require('koa')
    const app = new Koa()
    app.use((context) => {
      const isHello = context.path === '/hello'
      context.type = isHello ? 'text' : BYTES_TYPE
      context.body = isHello ? 'Hello, world!\n' : BLOCK
    })
    return { app, listen: () => app.listen(socket) }
  },
  fastify() {
    const app = require('fastify')()
    app.get('/hello', (request, reply) => reply.type('text/plain').send('Hello, world!\n'))
    app.get('/64k', (request, reply) => reply.type(BYTES_TYPE).send(BLOCK))
    return { app, listen: () => app.listen({ path: socket }) }
  },
  hono() {
    const { Hono } = require('hono')
    const app = new Hono()
    app.get('/hello', (c) => c.text('Hello, world!\n'))
    app.get('/64k', (c) => c.body(BLOCK, 200, { 'Content-Type': BYTES_TYPE }))
    const { getRequestListener } = require('@hono/node-server')
    const settings = { overrideGlobalObjects: light !== undefined }
    return {
      app,
      listen: () => createServer(getRequestListener(app.fetch, settings)).listen(socket),
    }
  },
}

const { app, listen } = frameworks[framework]()
if (gateway === 'own') {
  await listen()
} else {
  if (light) (await import('../../dist/src/exports/fetch.js')).installLightFetch()
  const { FastCGIHandler } = await import('../../dist/handlers/fastcgi.js')
  const { HTTPHandler } = await import('../../dist/handlers/http.js')
  const Handler = gateway === 'http' ? HTTPHandler : FastCGIHandler
  await new Handler({ listen: `unix:${socket}` }).run(app)
}
