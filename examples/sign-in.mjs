#!/usr/bin/env node
// Signing in and out with a form: ada, with the password lovelace.
import { randomBytes, scryptSync, timingSafeEqual } from 'node:crypto'
import { realpathSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { escapeHtml, parseQs } from 'portico/forms'
import { bodyLimit, session } from 'portico/middleware'

/** A password is stored as a salt and the hash that scrypt makes from both. */
function hashed(password, salt = randomBytes(16)) {
  return { salt, hash: scryptSync(password, salt, 32) }
}

const users = new Map([['ada', hashed('lovelace')]])
/** Compared if the user does not exist, so that the response time does not reveal who does. */
const dummy = hashed(randomBytes(16))

function isPassword(user, password) {
  const { salt, hash } = users.get(user) ?? dummy
  return timingSafeEqual(hash, hashed(password, salt).hash) && users.has(user)
}

function page(startResponse, status, content) {
  startResponse(status, [
    ['Content-Type', 'text/html; charset=utf-8'],
    ['Cache-Control', 'no-store'],
  ])
  return [`<!DOCTYPE html>\n<html lang="en">\n<title>Sign in</title>\n${content}</html>\n`]
}

/** 303: the client follows with a GET, so reloading the page does not send the form again. */
function back(environ, startResponse) {
  const headers = [
    ['Content-Type', 'text/plain; charset=utf-8'],
    ['Location', `${encodeURI(Buffer.from(environ.SCRIPT_NAME, 'latin1').toString())}/`],
  ]
  startResponse('303 See Other', headers)
  return ['See there.\n']
}

const FORM = `<form method="post">
<label>Name <input name="user" autocomplete="username" required></label>
<label>Password <input name="password" type="password" autocomplete="current-password"></label>
<button>Sign in</button>
</form>
`

async function signIn(environ, startResponse) {
  const current = environ['portico.session']
  if (environ.REQUEST_METHOD === 'POST') {
    const body = await environ['wsgi.input'].read()
    const form = parseQs(body.toString('latin1'))
    if ('out' in form) {
      current.destroy()
      return back(environ, startResponse)
    }
    const [user = ''] = form.user ?? []
    const [password = ''] = form.password ?? []
    if (!isPassword(user, password)) {
      return page(
        startResponse,
        '403 Forbidden',
        `<p>The name or the password is wrong.</p>\n${FORM}`,
      )
    }
    // Anyone who knew the old session id must not be signed in with it.
    current.regenerate()
    current.data.user = user
    return back(environ, startResponse)
  }
  const { user } = current.data
  if (user === undefined) return page(startResponse, '200 OK', FORM)
  return page(
    startResponse,
    '200 OK',
    `<p>Hello, ${escapeHtml(user)}!</p>\n<form method="post"><button name="out" value="now">Sign out</button></form>\n`,
  )
}

// A CGI script needs SESSION_SECRET: each request is a process, and would have its own secret.
const secret = process.env.SESSION_SECRET ?? randomBytes(32).toString('hex')
export const application = bodyLimit(session(signIn, { secret }), 10_000)

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  void import('portico').then(({ run }) => run(application))
}
