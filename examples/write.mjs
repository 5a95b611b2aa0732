#!/usr/bin/env node
// startResponse() returns write(), for code that pushes chunks instead of returning a body.
import { run } from 'portico'

async function squares(environ, startResponse) {
  const write = startResponse('200 OK', [['Content-Type', 'text/plain; charset=utf-8']])
  for (let n = 1; n <= 10; n++) await write(`${n} × ${n} = ${n * n}\n`)
  return []
}

run(squares)
