#!/usr/bin/env node
// Hashes an upload of any size without keeping it in memory: curl --data-binary @FILE URL
import { createHash } from 'node:crypto'
import { run } from 'portico'

async function upload(environ, startResponse) {
  const hash = createHash('sha256')
  let size = 0
  for await (const chunk of environ['wsgi.input'].chunks()) {
    hash.update(chunk)
    size += chunk.length
  }
  startResponse('200 OK', [['Content-Type', 'text/plain; charset=utf-8']])
  return [`${size} bytes\nsha256 ${hash.digest('hex')}\n`]
}

run(upload)
