#!/usr/bin/env node
// The scripts of cgi-bin as one application: the base64 tool, with the others mounted below it.
import { realpathSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

const require = createRequire(import.meta.url)
const base64 = require('../cgi-bin/base64.cgi')
const { link, markup } = require('../cgi-bin/html.cjs')

const MOUNTS = new Map([
  ['environ', require('../cgi-bin/environ.cgi')],
  ['form', require('../cgi-bin/form.cgi')],
  ['hello', require('../cgi-bin/hello.cgi')],
])

/** Middleware is a function too: here, one that adds to what another returns. */
function* withLinks(environ, startResponse) {
  yield* base64(environ, startResponse)
  yield '<h2>Also here</h2>\n<ul>\n'
  for (const name of MOUNTS.keys()) {
    yield markup`<li><a href="${link(environ, `/${name}`)}">${name}</a></li>\n`
  }
  yield '</ul>\n'
}

/** Moves the name of what is mounted there from the path to the mount point, as a server would. */
export function application(environ, startResponse) {
  const name = environ.PATH_INFO.split('/', 2)[1]
  const mounted = MOUNTS.get(name)
  if (!mounted) return withLinks(environ, startResponse)
  environ.SCRIPT_NAME += `/${name}`
  environ.PATH_INFO = environ.PATH_INFO.slice(name.length + 1)
  return mounted(environ, startResponse)
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  void import('portico').then(({ run }) => run(application))
}
