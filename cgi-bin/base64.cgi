#!/usr/bin/env node
// A tool with two pages: `/` asks for a text, `/encode?mystring=…` shows it in base64.

'use strict'

const { decodeText, link, markup, page } = require('./html.cjs')

function front(environ) {
  return [
    '200 OK',
    markup`<form action="${link(environ, '/encode')}">
<label>Text <input name="mystring" autofocus></label>
<button>Encode</button>
</form>
`,
  ]
}

function encode(environ) {
  const text = new URLSearchParams(decodeText(environ.QUERY_STRING)).get('mystring')
  if (text === null) return ['400 Bad Request', '<p>The parameter mystring is missing.</p>\n']
  return [
    '200 OK',
    markup`<p>The text <code>${text}</code> in base64 is</p>
<p><code>${Buffer.from(text).toString('base64')}</code></p>
`,
  ]
}

const PAGES = new Map([
  ['', front],
  ['/', front],
  ['/encode', encode],
])

function respond(environ) {
  const show = PAGES.get(environ.PATH_INFO)
  if (!show) return ['404 Not Found', '<p>There is no such page.</p>\n']
  if (!['GET', 'HEAD'].includes(environ.REQUEST_METHOD)) {
    return ['400 Bad Request', '<p>This page accepts only GET and HEAD.</p>\n']
  }
  return show(environ)
}

function application(environ, startResponse) {
  const [status, content] = respond(environ)
  startResponse(status, [['Content-Type', 'text/html; charset=utf-8']])
  return [page('Base64', content), markup`<p><a href="${link(environ, '/')}">Start again</a></p>\n`]
}

module.exports = application

if (require.main === module) {
  const { CGIHandler } = require('./portico.cjs')
  new CGIHandler().run(application)
}
