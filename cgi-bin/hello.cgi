#!/usr/bin/env node
// The smallest application: it sends a status and headers, and returns the body in chunks.

'use strict'

function application(environ, startResponse) {
  startResponse('200 OK', [['Content-Type', 'text/plain; charset=utf-8']])
  return ['Hello, world!\n']
}

module.exports = application

if (require.main === module) {
  const { CGIHandler } = require('./portico.cjs')
  new CGIHandler().run(application)
}
