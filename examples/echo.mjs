#!/usr/bin/env node
// An application in a file: it responds with the request line, and writes nothing anywhere.
import { realpathSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

export default function echo(environ, startResponse) {
  startResponse('200 OK', [['Content-Type', 'text/plain; charset=utf-8']])
  const { REQUEST_METHOD, SCRIPT_NAME, PATH_INFO, QUERY_STRING } = environ
  return [`${REQUEST_METHOD} ${SCRIPT_NAME}${PATH_INFO}${QUERY_STRING && `?${QUERY_STRING}`}\n`]
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  void import('portico').then(({ run }) => run(echo))
}
