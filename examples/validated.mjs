#!/usr/bin/env node
// The validator runs between gateway and application. /wrong violates the contract.
import { run } from 'portico'
import { validator } from 'portico/validate'

function application(environ, startResponse) {
  const type = [['Content-Type', 'text/plain; charset=utf-8']]
  // Browsers would have to guess the type of such a page. The validator responds with a 500 and logs why.
  startResponse('200 OK', environ.PATH_INFO === '/wrong' ? [] : type)
  return ['All is well.\n']
}

run(validator(application))
