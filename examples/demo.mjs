#!/usr/bin/env node
// The first page of Portico: the request of your browser, through every gateway. The scripts of
// cgi-bin are mounted below it.
import { once } from 'node:events'
import { realpathSync } from 'node:fs'
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import { fileURLToPath } from 'node:url'

const require = createRequire(import.meta.url)
const { link, markup, page } = require('../cgi-bin/html.cjs')

const TOOLS = new Map([
  ['base64', [require('../cgi-bin/base64.cgi'), 'encodes a text in Base64']],
  ['environ', [require('../cgi-bin/environ.cgi'), 'shows the environ of its request']],
  ['form', [require('../cgi-bin/form.cgi'), 'takes a form with a file']],
  ['hello', [require('../cgi-bin/hello.cgi'), 'says hello']],
])

const ECHO = fileURLToPath(new URL('echo.mjs', import.meta.url))

const NAMES = { http: 'HTTP', cgi: 'CGI', fastcgi: 'FastCGI', scgi: 'SCGI' }

const STYLE = `<style>
  body { max-width: 75rem }
  table { border-collapse: collapse; width: 100% }
  th, td { border-top: 1px solid #ccc; padding: 0.2rem 0.6rem 0.2rem 0 }
  thead th { font-weight: bold }
  tr.differs { background: #fff3c4 }
</style>
`

const INTRODUCTION = `<p>Portico runs one Node application behind any web server: as a CGI script, as a
FastCGI or SCGI process, and as an HTTP server.
The application sees the same request everywhere, as the tables below show.</p>
`

/** The request that the browser has just made, for the other gateways. */
function requestOf(environ) {
  const headers = []
  for (const [name, value] of Object.entries(environ)) {
    if (!name.startsWith('HTTP_') || typeof value !== 'string') continue
    const words = name.slice('HTTP_'.length).toLowerCase().split('_')
    headers.push([words.map((word) => word[0].toUpperCase() + word.slice(1)).join('-'), value])
  }
  return { method: environ.REQUEST_METHOD, target: environ.REQUEST_URI ?? '/', headers }
}

function table(caption, gateways, rows) {
  const cells = (values) =>
    values.map((value) => (value === undefined ? '<td>–' : markup`<td>${value}`)).join('')
  const lines = rows.map(({ name, values, differs }) => {
    const row = differs ? '<tr class="differs">' : '<tr>'
    return `${row}${markup`<th scope="row">${name}`}${cells(values)}\n`
  })
  const heads = gateways.map((gateway) => markup`<th scope="col">${NAMES[gateway]}`).join('')
  return (
    markup`<h2>${caption}</h2>\n` +
    `<table>\n<thead><tr><th scope="col">${heads}\n<tbody>\n${lines.join('')}</table>\n`
  )
}

function tools(environ) {
  const items = [...TOOLS].map(
    ([name, [, does]]) => markup`<li><a href="${link(environ, `/${name}`)}">${name}</a> ${does}\n`,
  )
  return `<h2>Small tools</h2>\n<p>Each is one file in cgi-bin.</p>\n<ul>\n${items.join('')}</ul>\n`
}

async function* front(environ, startResponse) {
  const { compareGateways, throughAllGateways } = await import('portico/testing')
  startResponse('200 OK', [['Content-Type', 'text/html; charset=utf-8']])
  yield page('Portico', STYLE + INTRODUCTION)
  const isHttp = environ['portico.gateway'] === 'http'
  const request = requestOf(environ)
  // Over HTTP the first column is this very request; the others repeat it.
  const passed = await throughAllGateways(ECHO, request, isHttp ? { http: environ } : {})
  const { gateways, environs } = compareGateways(passed)
  const [same, different] = [false, true].map((differs) =>
    environs.filter((row) => row.differs === differs),
  )
  yield markup`<p>Your browser has just sent <code>${request.method} ${request.target}</code>. This
is its environ through HTTP, CGI, FastCGI and SCGI: ${String(same.length)} of ${String(environs.length)}
keys are the same.</p>\n`
  yield table('What differs', gateways, different)
  yield table('What is the same', gateways, same)
  yield tools(environ)
}

function notFound(environ, startResponse) {
  startResponse('404 Not Found', [['Content-Type', 'text/html; charset=utf-8']])
  return [page('Portico', '<p>There is no such page.</p>\n'), tools(environ)]
}

/** Moves the name of a tool from the path to the mount point, as a server would. */
export function application(environ, startResponse) {
  const { PATH_INFO: path } = environ
  if (path === '' || path === '/') return front(environ, startResponse)
  if (path === '/favicon.ico') {
    startResponse('204 No Content', [])
    return []
  }
  const name = path.split('/', 2)[1]
  const [mounted] = TOOLS.get(name) ?? [notFound]
  if (mounted !== notFound) {
    environ.SCRIPT_NAME += `/${name}`
    environ.PATH_INFO = path.slice(name.length + 1)
  }
  return mounted(environ, startResponse)
}

/** By hand, if the default port is in use, it takes the next free one, as `portico serve` does. */
async function start({ run }) {
  const isByHand =
    process.stderr.isTTY && !process.env.PORTICO_LISTEN && !process.env.PORTICO_GATEWAY
  const port = isByHand ? await freePort(8000) : 8000
  return run(application, port === 8000 ? {} : { listen: `:${port}` })
}

/** The first port from `port` on that no other program uses. */
async function freePort(port) {
  const server = createServer()
  try {
    await once(server.listen(port), 'listening')
    return port
  } catch (error) {
    if (error.code !== 'EADDRINUSE') throw error
    return freePort(port + 1)
  } finally {
    server.close()
  }
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  void import('portico').then(start)
}
