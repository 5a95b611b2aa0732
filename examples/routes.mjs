#!/usr/bin/env node
// Routes by hand: a small application only needs a table of methods, patterns and functions.
import { realpathSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const notes = new Map([['1', 'Buy milk']])

function text(startResponse, status, body, headers = []) {
  startResponse(status, [['Content-Type', 'text/plain; charset=utf-8'], ...headers])
  return [`${body}\n`]
}

function list(environ, startResponse) {
  return text(startResponse, '200 OK', [...notes].map(([id, note]) => `${id}: ${note}`).join('\n'))
}

async function add(environ, startResponse) {
  const note = String(await environ['wsgi.input'].read(1000))
  const id = String(notes.size + 1)
  notes.set(id, note)
  const location = `${encodeURI(Buffer.from(environ.SCRIPT_NAME, 'latin1').toString())}/notes/${id}`
  return text(startResponse, '201 Created', location, [['Location', location]])
}

function show(environ, startResponse, { id }) {
  const note = notes.get(id)
  return note === undefined ? notFound(environ, startResponse) : text(startResponse, '200 OK', note)
}

function notFound(environ, startResponse) {
  return text(startResponse, '404 Not Found', 'There is nothing here.')
}

const routes = [
  ['GET', /^\/notes$/, list],
  ['POST', /^\/notes$/, add],
  ['GET', /^\/notes\/(?<id>\d{1,9})$/, show],
]

export function application(environ, startResponse) {
  const { PATH_INFO, REQUEST_METHOD } = environ
  const method = REQUEST_METHOD === 'HEAD' ? 'GET' : REQUEST_METHOD
  const here = routes.filter(([, pattern]) => pattern.test(PATH_INFO))
  if (here.length === 0) return notFound(environ, startResponse)
  const route = here.find(([allowed]) => allowed === method)
  if (!route) {
    const allow = here.map(([allowed]) => allowed).join(', ')
    return text(startResponse, '405 Method Not Allowed', `Only ${allow}.`, [['Allow', allow]])
  }
  const [, pattern, handler] = route
  return handler(environ, startResponse, pattern.exec(PATH_INFO).groups ?? {})
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  void import('portico').then(({ run }) => run(application))
}
