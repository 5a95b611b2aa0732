#!/usr/bin/env node
// A Hono application as a CGI script. Run `npm install portico hono` in this directory or a parent,
// preferably one outside the document root.

'use strict'

const { Hono } = require('hono')
const { html } = require('hono/html')

const app = new Hono()

// Links and form targets must begin with the mount point, which is SCRIPT_NAME here.
app.get('/', (c) =>
  c.html(html`<!DOCTYPE html>
<html lang="en">
<title>Hono</title>
<p>Who are you?</p>
<form method="post" action="${encodeURI(c.env.SCRIPT_NAME)}/greet">
<label>Your name <input name="name" autofocus required></label>
<button>Greet</button>
</form>
</html>
`),
)

app.post('/greet', async (c) => {
  const { name } = await c.req.parseBody()
  if (typeof name !== 'string') return c.json({ error: 'The name is missing' }, 400)
  return c.redirect(`${c.env.SCRIPT_NAME}/hello/${encodeURIComponent(name)}`, 303)
})

// Under Portico, `c.env` has everything that the web server sends.
app.get('/hello/:name', (c) => {
  const { SCRIPT_NAME: mount, REMOTE_USER: user } = c.env
  return c.json({ hello: c.req.param('name'), path: c.req.path, mount, user: user || null })
})

module.exports = app

if (require.main === module) {
  const { CGIHandler } = require('portico/cgi')
  void import('portico/fetch').then(({ fromFetch }) => new CGIHandler().run(fromFetch(app)))
}
