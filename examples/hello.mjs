#!/usr/bin/env node
import { run } from 'portico'

function hello(environ, startResponse) {
  startResponse('200 OK', [['Content-Type', 'text/plain; charset=utf-8']])
  return ['Hello, world!\n']
}

run(hello)
