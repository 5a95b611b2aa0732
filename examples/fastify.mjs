#!/usr/bin/env node
// A Fastify application, unchanged, behind any gateway. Needs: npm install fastify multer
import { createReadStream, realpathSync } from 'node:fs'
import { basename, join } from 'node:path'
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import Fastify from 'fastify'
import multer from 'multer'
import {
  isPassword,
  refusedPage,
  sessionCookie,
  signInPage,
  uploadPage,
  userOf,
  welcomePage,
} from './account.mjs'

export const app = Fastify()
const upload = promisify(multer({ limits: { fileSize: 1_000_000 } }).single('file'))

const form = 'application/x-www-form-urlencoded'
app.addContentTypeParser(form, { parseAs: 'string' }, async (request, body) =>
  Object.fromEntries(new URLSearchParams(body)),
)
// The route for uploads reads the body.
app.addContentTypeParser('multipart/form-data', async () => undefined)

app.get('/', async (request, reply) => {
  reply.type('text/plain; charset=utf-8')
  return 'Hello from Fastify!\n'
})

// Under Portico, `request.raw.environ` has everything that the web server sends.
app.get('/who/:name', (request, reply) => {
  reply.send({
    name: request.params.name,
    user: request.raw.environ?.REMOTE_USER || null,
    address: request.ip,
    path: request.url.split('?')[0],
    query: request.query,
  })
})

app.post('/json', async (request, reply) => {
  reply.code(201)
  return request.body
})

app.post('/form', (request, reply) => reply.send(request.body))

const html = 'text/html; charset=utf-8'

app.get('/upload', (request, reply) => reply.type(html).send(uploadPage))

// Express middleware works with Fastify's raw request and response as well.
app.post('/upload', async ({ raw }, reply) => {
  await upload(raw, reply.raw)
  const { originalname: name, mimetype: type, size } = raw.file
  return { name, type, size, note: raw.body.note }
})

app.get('/signin', (request, reply) => {
  const user = userOf(request.headers.cookie)
  reply.type(html).send(user ? welcomePage(user) : signInPage)
})

// 303: the browser follows with a GET, so reloading the page does not send the form again.
app.post('/signin', (request, reply) => {
  const { user, password } = request.body ?? {}
  if (isPassword(user, password)) {
    const mount = request.raw.baseUrl ?? ''
    reply.header('Set-Cookie', sessionCookie(user, mount)).redirect(`${mount}/signin`, 303)
  } else {
    reply.code(403).type(html).send(refusedPage)
  }
})

app.get('/files/:name', async (request, reply) => {
  reply.type('text/javascript; charset=utf-8')
  return createReadStream(join(import.meta.dirname, basename(request.params.name)))
})

app.get('/cookies', async (request, reply) => {
  reply.header('Set-Cookie', ['first=1; Path=/; HttpOnly', 'second=2; Path=/'])
  return { sent: request.headers.cookie ?? null }
})

// The browser follows a redirect, so its path includes the mount point.
app.get('/redirect', async (request, reply) =>
  reply.redirect(`${request.raw.baseUrl ?? ''}/who/redirected`),
)

app.get('/stream', async (request, reply) => {
  reply.type('text/plain; charset=utf-8')
  return Readable.from(chunks())
})

async function* chunks() {
  for (const chunk of ['one\n', 'two\n', 'three\n']) {
    yield chunk
    await sleep(5)
  }
}

// Ends after ?count=… events, or when the client disconnects.
app.get('/events', async (request, reply) => {
  reply.headers({ 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' })
  return Readable.from(events(Number(request.query.count ?? Infinity)))
})

async function* events(count) {
  for (let sent = 1; sent <= count; sent += 1) {
    await sleep(5)
    yield `data: ${sent}\n\n`
  }
}

app.get('/fail', async () => {
  throw new Error('This error is intended')
})

app.setNotFoundHandler(async (request, reply) => {
  reply.code(404)
  return { error: 'Nothing is here' }
})

app.setErrorHandler(async (error, request, reply) => {
  reply.code(error.statusCode ?? 500)
  return { error: error.message }
})

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  void import('portico').then(({ run }) => run(app))
}
