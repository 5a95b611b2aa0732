#!/usr/bin/env node
// A generator is an application: its chunks are sent one by one, as fast as the client reads them.
import { run } from 'portico'

function* countdown(environ, startResponse) {
  startResponse('200 OK', [['Content-Type', 'text/plain; charset=utf-8']])
  for (let n = 10; n > 0; n--) yield `${n}\n`
  yield 'Lift-off!\n'
}

run(countdown)
