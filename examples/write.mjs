#!/usr/bin/env node
// startResponse() returns a function that sends: for code that would rather push than be pulled.
import { run } from 'portico'

async function squares(environ, startResponse) {
  const write = startResponse('200 OK', [['Content-Type', 'text/plain; charset=utf-8']])
  for (let n = 1; n <= 10; n++) await write(`${n} × ${n} = ${n * n}\n`)
  return []
}

run(squares)
