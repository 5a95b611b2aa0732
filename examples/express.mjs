#!/usr/bin/env node
// An Express application, unchanged, behind any gateway. Needs: npm install express multer
import { realpathSync } from 'node:fs'
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import express from 'express'
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

export const app = express()
const upload = multer({ limits: { fileSize: 1_000_000 } })

app.get('/', (req, res) => {
  res.type('text').send('Hello from Express!\n')
})

// Under Portico, `req.environ` has everything that the web server sends.
app.get('/who/:name', (req, res) => {
  res.json({
    name: req.params.name,
    user: req.environ?.REMOTE_USER || null,
    address: req.ip,
    path: req.path,
    query: req.query,
  })
})

app.post('/json', express.json(), (req, res) => {
  res.status(201).json(req.body)
})

app.post('/form', express.urlencoded({ extended: false }), (req, res) => {
  res.json(req.body)
})

app.get('/upload', (req, res) => {
  res.send(uploadPage)
})

app.post('/upload', upload.single('file'), (req, res) => {
  const { originalname: name, mimetype: type, size } = req.file
  res.json({ name, type, size, note: req.body.note })
})

app.get('/signin', (req, res) => {
  const user = userOf(req.get('cookie'))
  res.send(user ? welcomePage(user) : signInPage)
})

// 303: the browser follows with a GET, so reloading the page does not send the form again.
app.post('/signin', express.urlencoded({ extended: false }), (req, res) => {
  const { user, password } = req.body ?? {}
  if (isPassword(user, password)) {
    res.set('Set-Cookie', sessionCookie(user, req.baseUrl)).redirect(303, `${req.baseUrl}/signin`)
  } else {
    res.status(403).send(refusedPage)
  }
})

// A directory without a trailing slash gives a redirect that includes the mount point.
app.use('/files', express.static(import.meta.dirname))

app.get('/cookies', (req, res) => {
  res.cookie('first', '1', { httpOnly: true })
  res.cookie('second', '2')
  res.json({ sent: req.get('cookie') ?? null })
})

// The browser follows a redirect, so its path includes the mount point.
app.get('/redirect', (req, res) => {
  res.redirect(`${req.baseUrl}/who/redirected`)
})

app.get('/stream', (req, res) => {
  res.type('text')
  Readable.from(chunks()).pipe(res)
})

async function* chunks() {
  for (const chunk of ['one\n', 'two\n', 'three\n']) {
    yield chunk
    await sleep(5)
  }
}

// Ends after ?count=… events, or when the client disconnects.
app.get('/events', (req, res) => {
  res.set({ 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' }).flushHeaders()
  const count = Number(req.query.count ?? Infinity)
  let sent = 0
  const timer = setInterval(() => {
    if (sent < count) res.write(`data: ${++sent}\n\n`)
    else res.end()
  }, 5)
  res.on('close', () => clearInterval(timer))
})

app.get('/fail', () => {
  throw new Error('This error is intended')
})

app.use((req, res) => {
  res.status(404).json({ error: 'Nothing is here' })
})

// eslint-disable-next-line no-unused-vars -- Express recognises an error handler by its four parameters.
app.use((error, req, res, next) => {
  res.status(error.status ?? 500).json({ error: error.message })
})

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  void import('portico').then(({ run }) => run(app))
}
