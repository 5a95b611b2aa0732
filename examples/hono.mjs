#!/usr/bin/env node
// A Hono application, unchanged, behind any gateway. Needs: npm install hono
import { createReadStream, realpathSync } from 'node:fs'
import { basename, join } from 'node:path'
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Hono } from 'hono'
import { setCookie } from 'hono/cookie'
import { stream, streamSSE } from 'hono/streaming'
import {
  isPassword,
  refusedPage,
  sessionCookie,
  signInPage,
  uploadPage,
  userOf,
  welcomePage,
} from './account.mjs'

export const app = new Hono()

app.get('/', (c) => c.text('Hello from Hono!\n'))

// Under Portico, `c.env` has everything that the web server sends.
app.get('/who/:name', (c) =>
  c.json({
    name: c.req.param('name'),
    user: c.env?.REMOTE_USER || null,
    address: c.env?.REMOTE_ADDR ?? null,
    path: new URL(c.req.url).pathname,
    query: c.req.query(),
  }),
)

app.post('/json', async (c) => c.json(await c.req.json(), 201))

app.post('/form', async (c) => c.json(await c.req.parseBody()))

app.get('/upload', (c) => c.html(uploadPage))

app.post('/upload', async (c) => {
  const { file, note } = await c.req.parseBody()
  return c.json({ name: file.name, type: file.type, size: file.size, note })
})

app.get('/signin', (c) => {
  const user = userOf(c.req.header('cookie'))
  return c.html(user ? welcomePage(user) : signInPage)
})

// 303: the browser follows with a GET, so reloading the page does not send the form again.
app.post('/signin', async (c) => {
  const { user, password } = await c.req.parseBody()
  if (!isPassword(user, password)) return c.html(refusedPage, 403)
  const mount = c.env?.SCRIPT_NAME ?? ''
  c.header('Set-Cookie', sessionCookie(user, mount))
  return c.redirect(`${mount}/signin`, 303)
})

app.get('/files/:name', (c) => {
  const file = createReadStream(join(import.meta.dirname, basename(c.req.param('name'))))
  c.header('Content-Type', 'text/javascript; charset=utf-8')
  return c.body(Readable.toWeb(file))
})

app.get('/cookies', (c) => {
  setCookie(c, 'first', '1', { httpOnly: true })
  setCookie(c, 'second', '2')
  return c.json({ sent: c.req.header('cookie') ?? null })
})

// The browser follows a redirect, so its path includes the mount point.
app.get('/redirect', (c) => c.redirect(`${c.env?.SCRIPT_NAME ?? ''}/who/redirected`))

app.get('/stream', (c) => {
  c.header('Content-Type', 'text/plain; charset=utf-8')
  return stream(c, async (out) => {
    for (const chunk of ['one\n', 'two\n', 'three\n']) {
      await out.write(chunk)
      await sleep(5)
    }
  })
})

// Ends after ?count=… events, or when the client disconnects.
app.get('/events', (c) => {
  c.header('Cache-Control', 'no-store')
  return streamSSE(c, async (out) => {
    const count = Number(c.req.query('count') ?? Infinity)
    for (let sent = 1; sent <= count && !out.aborted; sent += 1) {
      await sleep(5)
      await out.writeSSE({ data: String(sent) })
    }
  })
})

app.get('/fail', () => {
  throw new Error('This error is intended')
})

app.notFound((c) => c.json({ error: 'Nothing is here' }, 404))

app.onError((error, c) => c.json({ error: error.message }, 500))

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  void import('portico').then(({ run }) => run(app))
}
