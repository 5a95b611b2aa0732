#!/usr/bin/env node
// An Express application as a CGI script. It needs `npm install portico express` in this
// directory or a parent, preferably one outside the document root.

'use strict'

const express = require('express')

const app = express()

// Links and form targets must begin with the mount point, which is `req.baseUrl` here.
app.get('/', (req, res) => {
  res.type('html').send(`<!DOCTYPE html>
<html lang="en">
<title>Express</title>
<p>Who are you?</p>
<form method="post" action="${encodeURI(req.baseUrl)}/greet">
<label>Your name <input name="name" autofocus required></label>
<button>Greet</button>
</form>
</html>
`)
})

app.post('/greet', express.urlencoded({ extended: false }), (req, res) => {
  const { name } = req.body ?? {}
  if (typeof name !== 'string') res.status(400).json({ error: 'The name is missing' })
  else res.redirect(303, `${req.baseUrl}/hello/${encodeURIComponent(name)}`)
})

app.get('/hello/:name', (req, res) => {
  // Under Portico, `req.environ` has everything that the web server sends.
  const { params, path, baseUrl: mount, environ } = req
  res.json({ hello: params.name, path, mount, user: environ.REMOTE_USER || null })
})

module.exports = app

if (require.main === module) {
  const { CGIHandler } = require('portico/cgi')
  void import('portico/node').then(({ fromNode }) => new CGIHandler().run(fromNode(app)))
}
