/** `portico serve` runs every kind of application, in whatever way its file offers it. */
import { afterAll, describe, expect, test } from 'vitest'
import { portico, project } from './portico.ts'

const HELLO = `startResponse('200 OK', [['Content-Type', 'text/plain']])`

/** Each responds with `hello`, or the query's `say`. */
const KINDS: Readonly<Record<string, string>> = {
  'function.mjs': `export default (environ, startResponse) => { ${HELLO}; return ['hello'] }`,
  'generator.mjs': `export default function* app(environ, startResponse) { ${HELLO}; yield 'hello' }`,
  'class.mjs': `export default class App {
    constructor(environ, startResponse) { this.startResponse = startResponse }
    *[Symbol.iterator]() { const { startResponse } = this; ${HELLO}; yield 'hello' }
  }`,
  'named.mjs': `export const app = (environ, startResponse) => { ${HELLO}; return ['hello'] }`,
  'commonjs.cjs': `module.exports = (environ, startResponse) => { ${HELLO}; return ['hello'] }`,
  'promise.cjs': `module.exports = (async () => (environ, startResponse) => { ${HELLO}; return ['hello'] })()`,
  'listener.mjs': `export default (req, res) => res.end('hello')`,
  'fetch.mjs': `export default { port: 3000, fetch: () => new Response('hello') }`,
  'hono.mjs': `import { Hono } from 'hono'
    export default new Hono().get('/', (c) => c.text('hello'))`,
  'hono-serve.mjs': `import { serve } from '@hono/node-server'
    import { Hono } from 'hono'
    const app = new Hono().get('/', (c) => c.text('hello'))
    serve({ fetch: app.fetch, port: 3000 })
    export default app`,
  'koa.mjs': `import Koa from 'koa'
    export default new Koa().use((ctx) => { ctx.body = 'hello' })`,
  'koa-listen.mjs': `import Koa from 'koa'
    new Koa().use((ctx) => { ctx.body = 'hello' }).listen(3000)`,
  'express.cjs': `const app = require('express')()
    app.get('/', (req, res) => res.type('text').send('hello'))
    if (require.main === module) app.listen(3000)
    module.exports = app`,
  'express-listen.mjs': `import express from 'express'
    const app = express()
    app.get('/', (req, res) => res.type('text').send('hello'))
    const server = app.listen(3000, () => console.log('listening', server.listening, server.address().port > 0))`,
  'express-late.mjs': `import express from 'express'
    const app = express()
    app.get('/', (req, res) => res.type('text').send('hello'))
    setTimeout(() => app.listen(3000), 50)`,
  'fastify.mjs': `import Fastify from 'fastify'
    const app = Fastify()
    app.get('/', async () => 'hello')
    console.log('listening', await app.listen({ port: 3000 }))`,
  'server.mjs': `import { createServer } from 'node:http'
    import { once } from 'node:events'
    const server = createServer((req, res) => res.end('hello')).listen({ port: 3000, host: '::1' })
    await once(server, 'listening')
    console.log('listening', server.listening)`,
  'metrics.mjs': `import { createServer } from 'node:http'
    const metrics = createServer((req, res) => res.end('metrics')).listen(0, '127.0.0.1', async () => {
      console.log('metrics', await (await fetch('http://127.0.0.1:' + metrics.address().port)).text())
    })
    export default (environ, startResponse) => { ${HELLO}; return ['hello'] }`,
  'run.mjs': `import { run } from 'portico'
    const server = await run((environ, startResponse) => { ${HELLO}; return ['hello'] }, { idleTimeout: 5000 })
    console.log('listening', typeof server.close)`,
  'run.cjs': `import('portico').then(({ run }) =>
    run((environ, startResponse) => { ${HELLO}; return ['hello'] }))`,
}

const directory = project(KINDS)
afterAll(() => directory.remove())

describe('portico serve runs', () => {
  test.concurrent.each(Object.keys(KINDS))('%s over HTTP', async (file) => {
    const running = portico(['serve', file, '--dev', '--listen', '127.0.0.1:0'], {
      cwd: directory.path,
    })
    try {
      const response = await fetch(await running.url())
      expect({ text: await response.text(), status: response.status }).toEqual({
        text: 'hello',
        status: 200,
      })
      if (KINDS[file]!.includes("'listening'")) await running.printed(/^listening \S/m)
      if (file === 'metrics.mjs') await running.printed(/^metrics metrics$/m)
    } finally {
      expect(await running.stop()).toBe(130)
    }
  })
})

describe('A file that offers no application', () => {
  test.each([
    [
      'export const port = 3000',
      /exports no application, and calls neither run\(\) nor listen\(\).*\(exported: port\)/s,
    ],
    ["throw new Error('no database')", /Error: no database/],
    ["setTimeout(() => { throw new Error('too late') }, 20)", /Error: too late/],
  ])('shows why as a page: %s', async (text, message) => {
    directory.write('none.mjs', text)
    const running = portico(['none.mjs', '--dev', '--listen', ':0'], { cwd: directory.path })
    try {
      const response = await fetch(await running.url())
      expect(response.status).toBe(500)
      expect(await response.text()).toMatch(message)
      await running.printed(/does not load: waiting for a change/)
    } finally {
      await running.stop()
    }
  })
})
