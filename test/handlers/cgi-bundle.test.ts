/** The CommonJS build of the CGI handler, as it is published, together with ES modules of the package. */
import { copyFileSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { temporaryDirectory } from '../server/child.ts'
import { request, REQUEST, writeScript } from '../support/cgi.ts'

const directory = temporaryDirectory()
beforeAll(() => {
  mkdirSync(join(directory.path, 'node_modules'))
  symlinkSync(resolve('.'), join(directory.path, 'node_modules/portico'))
  copyFileSync('cgi-bin/portico.cjs', join(directory.path, 'portico.cjs'))
})
afterAll(directory.remove)

const FORM = 'name=value&other=value'
const env = {
  ...REQUEST,
  REQUEST_METHOD: 'POST',
  CONTENT_TYPE: 'application/x-www-form-urlencoded',
  HTTP_TRANSFER_ENCODING: 'chunked',
  SERVER_SOFTWARE: 'Apache/2.4.62',
}
let scripts = 0

describe.each(['./portico.cjs', 'portico/cgi'])('%s with ES modules of the package', (from) => {
  test.each([
    [
      'a form over its limit',
      '413 Content Too Large',
      `const { FieldStorage } = await import('portico/forms')
       await FieldStorage.parse(environ, { maxNumFields: 1 })`,
    ],
    [
      'a chunked body over bodyLimit',
      '413 Content Too Large',
      `const { bodyLimit } = await import('portico/middleware')
       return bodyLimit(app, 4)(environ, startResponse)`,
    ],
    [
      'an incomplete multipart body',
      '400 Bad Request',
      `const { FieldStorage } = await import('portico/forms')
       await FieldStorage.parse({ ...environ, CONTENT_TYPE: 'multipart/form-data; boundary=x' })`,
    ],
  ])('%s is a %s, without a stack trace in the log', async (_, status, code) => {
    const script = `const { CGIHandler } = require('${from}')
      async function app(environ, startResponse) {
        await environ['wsgi.input'].read()
        startResponse('200 OK', [])
        return []
      }
      new CGIHandler().run(async (environ, startResponse) => { ${code} })`
    const path = writeScript(directory.path, `both-${(scripts += 1)}`, script, '')
    const response = await request(path, { env, body: FORM })
    expect(response.stdout.split('\r\n')[0]).toBe(`Status: ${status}`)
    expect(response.stderr).toMatch(/^POST \/: PORTICO_\w+: .*\n$/)
  })
})

test('A stack trace from portico.cjs names functions and lines that can be read', async () => {
  const application = `(environ, startResponse) => {
    startResponse('200 OK', [])
    startResponse('200 OK', [])
  }`
  const { stderr } = await request(writeScript(directory.path, 'twice', application))
  const [, method, line] = /at CGIHandler\.(\w+) \(.*portico\.cjs:(\d+):\d+\)/.exec(stderr) ?? []
  expect(method).toBe('startResponse')
  const source = readFileSync('cgi-bin/portico.cjs', 'utf8').split('\n')[Number(line) - 1]
  expect(source).toContain('Headers already set!')
})
