#!/usr/bin/env node
// Asks for a name and greets it: how to read the body of a request, and how to refuse one.

'use strict'

const { markup, page } = require('./html.cjs')

/** In bytes: enough for any name, and too little to fill the memory. */
const MAX_BODY = 8192

const FORM_TYPE = /^application\/x-www-form-urlencoded\s*(;|$)/i

const FORM = `<form method="post">
<label>Your name <input name="name" autofocus required></label>
<button>Greet</button>
</form>
`

async function greet(environ) {
  if (!FORM_TYPE.test(environ.CONTENT_TYPE ?? '')) {
    return ['415 Unsupported Media Type', '<p>This page accepts only forms.</p>\n' + FORM]
  }
  // One byte more than is allowed distinguishes a body that is too large from one that fits.
  const body = await environ['wsgi.input'].read(MAX_BODY + 1)
  if (body.length > MAX_BODY) {
    return ['413 Content Too Large', '<p>The name is too long.</p>\n' + FORM]
  }
  const name = new URLSearchParams(body.toString()).get('name')?.trim()
  if (!name) return ['400 Bad Request', '<p>The name is missing.</p>\n' + FORM]
  return ['200 OK', markup`<p>Hello, ${name}!</p>\n`]
}

async function respond(environ) {
  switch (environ.REQUEST_METHOD) {
    case 'GET':
    case 'HEAD':
      return ['200 OK', FORM]
    case 'POST':
      return greet(environ)
    default:
      return [
        '405 Method Not Allowed',
        '<p>This page accepts GET, HEAD and POST.</p>\n' + FORM,
        ['Allow', 'GET, HEAD, POST'],
      ]
  }
}

async function application(environ, startResponse) {
  const [status, content, ...headers] = await respond(environ)
  startResponse(status, [['Content-Type', 'text/html; charset=utf-8'], ...headers])
  return [page('Who is there?', content)]
}

module.exports = application

if (require.main === module) {
  const { CGIHandler } = require('./portico.cjs')
  new CGIHandler().run(application)
}
