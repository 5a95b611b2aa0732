#!/usr/bin/env node
// Everything that an application learns about a request from the web server and the gateway.
//
// That includes cookies and passwords. Use it to set up a server, and remove it afterwards.

'use strict'

const { isUtf8 } = require('node:buffer')
const { inspect } = require('node:util')
const { decodeText, markup, page } = require('./html.cjs')

/** Control characters, and characters that change the direction of the text around them. */
const INVISIBLE = /[\p{Cc}\p{Bidi_Control}]/gu

const escapeCharacter = (character) => `\\u{${character.codePointAt(0).toString(16)}}`
const escapeByte = (byte) => `\\x${byte.charCodeAt(0).toString(16).padStart(2, '0')}`

/** A readable form of a byte string: decoded if it is UTF-8, otherwise with its bytes escaped. */
function readable(value) {
  return isUtf8(Buffer.from(value, 'latin1'))
    ? decodeText(value).replace(INVISIBLE, escapeCharacter)
    : value.replace(/[^\x20-\x7e]/g, escapeByte)
}

/** Shows only the class of the gateway's objects. */
function describe(value) {
  return inspect(value, { depth: Array.isArray(value) ? 0 : -1, breakLength: Infinity })
}

function table(title, keys, show) {
  const rows = keys.map(
    (key) =>
      markup`<tr><th scope="row"><code>${readable(key)}</code></th><td>${show(key)}</td></tr>\n`,
  )
  return markup`<h2>${title}</h2>\n<table>\n` + rows.join('') + '</table>\n'
}

function application(environ, startResponse) {
  const keys = Object.keys(environ).toSorted()
  const variables = keys.filter((key) => !key.includes('.'))
  const extensions = keys.filter((key) => key.includes('.'))
  startResponse('200 OK', [['Content-Type', 'text/html; charset=utf-8']])
  return [
    page('The environ', ''),
    table('From the web server', variables, (key) => readable(environ[key])),
    table('From the gateway', extensions, (key) => describe(environ[key])),
  ]
}

module.exports = application

if (require.main === module) {
  const { CGIHandler } = require('./portico.cjs')
  new CGIHandler().run(application)
}
