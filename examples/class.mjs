#!/usr/bin/env node
// A class is an application: it is constructed for each request, iterated, and closed at the end.
import { run } from 'portico'

class Letters {
  #environ

  constructor(environ, startResponse) {
    this.#environ = environ
    startResponse('200 OK', [['Content-Type', 'text/plain; charset=utf-8']])
  }

  *[Symbol.iterator]() {
    for (const letter of 'portico') yield `${letter}\n`
  }

  close() {
    this.#environ['wsgi.errors'].write('All letters are delivered.\n')
  }
}

run(Letters)
