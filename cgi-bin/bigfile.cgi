#!/usr/bin/env node
// Sends a file of any size block by block: PORTICO_BIGFILE, or by default Node's own executable, which
// always exists and has about 100 MB.

'use strict'

const fs = require('node:fs')

/** In bytes. Large enough for few system calls, small enough for many slow clients. */
const BLOCK_SIZE = 65536

/** An open file: with `read(size)` for a gateway's wsgi.file_wrapper, iterable elsewhere. */
class File {
  #fd

  constructor(path) {
    this.#fd = fs.openSync(path)
  }

  get size() {
    return fs.fstatSync(this.#fd).size
  }

  /** At most `size` bytes; an empty Buffer at the end of the file. */
  read(size) {
    const block = Buffer.allocUnsafe(size)
    return block.subarray(0, fs.readSync(this.#fd, block))
  }

  *[Symbol.iterator]() {
    for (let block; (block = this.read(BLOCK_SIZE)).length > 0;) yield block
  }

  close() {
    fs.closeSync(this.#fd)
  }
}

function application(environ, startResponse) {
  const file = new File(process.env.PORTICO_BIGFILE || process.execPath)
  const FileWrapper = environ['wsgi.file_wrapper']
  startResponse('200 OK', [
    ['Content-Type', 'application/octet-stream'],
    ['Content-Length', String(file.size)],
  ])
  return FileWrapper ? new FileWrapper(file, BLOCK_SIZE) : file
}

module.exports = application

if (require.main === module) {
  const { CGIHandler } = require('./portico.cjs')
  new CGIHandler().run(application)
}
