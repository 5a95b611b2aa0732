#!/usr/bin/env node
// A Koa application, unchanged, behind any gateway. Needs: npm install koa multer
import { createReadStream, realpathSync } from 'node:fs'
import { basename, join } from 'node:path'
import { Readable } from 'node:stream'
import { json as readJson, text as readText } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import Koa from 'koa'
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

export const app = new Koa()
const upload = promisify(multer({ limits: { fileSize: 1_000_000 } }).single('file'))

const routes = {
  'GET /'(ctx) {
    ctx.body = 'Hello from Koa!\n'
  },

  async 'POST /json'(ctx) {
    ctx.status = 201
    ctx.body = await readJson(ctx.req)
  },

  async 'POST /form'(ctx) {
    ctx.body = Object.fromEntries(new URLSearchParams(await readText(ctx.req)))
  },

  'GET /upload'(ctx) {
    ctx.body = uploadPage
  },

  // Express middleware works with Koa's request and response as well.
  async 'POST /upload'(ctx) {
    await upload(ctx.req, ctx.res)
    const { originalname: name, mimetype: type, size } = ctx.req.file
    ctx.body = { name, type, size, note: ctx.req.body.note }
  },

  'GET /signin'(ctx) {
    const user = userOf(ctx.get('cookie'))
    ctx.body = user ? welcomePage(user) : signInPage
  },

  // 303: the browser follows with a GET, so reloading the page does not send the form again.
  async 'POST /signin'(ctx) {
    const { user, password } = Object.fromEntries(new URLSearchParams(await readText(ctx.req)))
    if (isPassword(user, password)) {
      const mount = ctx.req.baseUrl ?? ''
      ctx.set('Set-Cookie', sessionCookie(user, mount))
      ctx.redirect(`${mount}/signin`)
      ctx.status = 303
    } else {
      ctx.status = 403
      ctx.body = refusedPage
    }
  },

  'GET /cookies'(ctx) {
    ctx.cookies.set('first', '1', { httpOnly: true })
    ctx.cookies.set('second', '2', { httpOnly: false })
    ctx.body = { sent: ctx.get('cookie') || null }
  },

  // The browser follows a redirect, so its path includes the mount point.
  'GET /redirect'(ctx) {
    ctx.redirect(`${ctx.req.baseUrl ?? ''}/who/redirected`)
  },

  'GET /stream'(ctx) {
    ctx.type = 'text'
    ctx.body = Readable.from(chunks())
  },

  // Ends after ?count=… events, or when the client disconnects.
  'GET /events'(ctx) {
    ctx.set({ 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' })
    ctx.status = 200
    ctx.flushHeaders()
    ctx.body = Readable.from(events(Number(ctx.query.count ?? Infinity)))
  },

  'GET /fail'() {
    throw new Error('This error is intended')
  },
}

async function* chunks() {
  for (const chunk of ['one\n', 'two\n', 'three\n']) {
    yield chunk
    await sleep(5)
  }
}

async function* events(count) {
  for (let sent = 1; sent <= count; sent += 1) {
    await sleep(5)
    yield `data: ${sent}\n\n`
  }
}

app.use(async (ctx, next) => {
  try {
    await next()
  } catch (error) {
    ctx.status = error.status ?? 500
    ctx.body = { error: error.message }
  }
})

app.use(async (ctx) => {
  const [, section, name] = ctx.path.split('/')
  const route = routes[`${ctx.method} ${ctx.path}`]
  if (route) {
    await route(ctx)
  } else if (section === 'who') {
    // Under Portico, `ctx.req.environ` has everything that the web server sends.
    const user = ctx.req.environ?.REMOTE_USER || null
    const { ip: address, path, query } = ctx
    ctx.body = { name: decodeURIComponent(name), user, address, path, query }
  } else if (section === 'files' && name) {
    ctx.type = 'text/javascript'
    ctx.body = createReadStream(join(import.meta.dirname, basename(name)))
  } else {
    ctx.status = 404
    ctx.body = { error: 'Nothing is here' }
  }
})

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  void import('portico').then(({ run }) => run(app))
}
