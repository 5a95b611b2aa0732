/** Responses of scripts: documents, redirects, `nph-`, and what is not a response. */
import { Buffer } from 'node:buffer'
import { execFileSync } from 'node:child_process'
import { rmdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { decodePath } from '../../src/environ/decode-path.ts'
import { cgiBin } from '../../src/exports/middleware.ts'
import { valuesOf } from '../../src/response/cgi-response.ts'
import type { Application } from '../../src/types.ts'
import { runCgi } from '../middleware/gateways.ts'
import { addScript, makeScripts, sh } from './scripts.ts'

const directory = makeScripts({
  'hello.sh': sh('printf Hello'),
  'where.sh': sh(
    'printf "%s|%s|%s|%s" "$REQUEST_METHOD" "$SCRIPT_NAME" "$PATH_INFO" "$QUERY_STRING"',
  ),
  'sub/deep.sh': sh('printf "%s|%s" "$SCRIPT_NAME" "$PATH_INFO"; pwd'),
  'data.txt': 'secret',
  '.hidden.sh': sh('printf hidden'),
})
execFileSync('mkfifo', [join(directory, 'pipe')])
const app = cgiBin(directory)

/** Runs a script that prints `output`. */
async function print(output: string, name = 'prints.sh') {
  const bytes = Buffer.from(output, 'latin1')
  const octal = Array.from(bytes, (byte) => `\\${byte.toString(8).padStart(3, '0')}`).join('')
  addScript(directory, name, `#!/bin/sh\nprintf '${octal}'\n`)
  const { status, headers, body, broken, errors } = await runCgi(app, `/${name}`)
  return { status, headers, body: body.toString('latin1'), broken, errors }
}

/** An application to which scripts redirect. */
const page: Application = (environ, startResponse) => {
  const { REQUEST_METHOD, SCRIPT_NAME, PATH_INFO, QUERY_STRING } = environ
  startResponse('200 OK', [])
  return [[REQUEST_METHOD, SCRIPT_NAME, PATH_INFO, QUERY_STRING].join('|')]
}

const PLAIN = ['Content-Type', 'text/plain']

describe('A script sends', () => {
  it.each([
    ['a document', 'Content-Type: text/plain\r\n\r\nHi', '200 OK', [PLAIN], 'Hi'],
    ['a document with LF', 'Content-Type: text/plain\n\nHi', '200 OK', [PLAIN], 'Hi'],
    ['only headers', 'Content-Type: text/plain\n\n', '200 OK', [PLAIN], ''],
    [
      'any bytes',
      'Content-Type: a/b\n\n\x00\xff\r\n',
      '200 OK',
      [['Content-Type', 'a/b']],
      '\x00\xff\r\n',
    ],
    [
      'a status',
      'Status: 404 Gone Fishing\nContent-Type: text/plain\n\nno',
      '404 Gone Fishing',
      [PLAIN],
      'no',
    ],
    [
      'a status without a reason',
      'Status: 404\nContent-Type: text/plain\n\nno',
      '404 Not Found',
      [PLAIN],
      'no',
    ],
    ['a status without a body', 'Status: 204\n\n', '204 No Content', [], ''],
    [
      'several headers of one name, and hop-by-hop headers, which are dropped',
      'Set-Cookie: a=1\nConnection: close\nSet-Cookie: b=2\nKeep-Alive: 5\nContent-Type: text/plain\n\n',
      '200 OK',
      [['Set-Cookie', 'a=1'], ['Set-Cookie', 'b=2'], PLAIN],
      '',
    ],
    [
      'Content-Type and Location more than once, of which the last one counts',
      'Location: /first\nContent-Type: text/html\nlocation: http://foo.com/\nX: y\ncontent-type: text/plain\n\n',
      '302 Found',
      [
        ['location', 'http://foo.com/'],
        ['X', 'y'],
        ['content-type', 'text/plain'],
      ],
      '',
    ],
    [
      'a redirect for the client',
      'Location: http://foo.com/\n\n',
      '302 Found',
      [['Location', 'http://foo.com/']],
      '',
    ],
    [
      'a redirect for the client with a document',
      'Status: 301 Moved\nLocation: /there\nContent-Type: text/plain\n\nthere',
      '301 Moved',
      [['Location', '/there'], PLAIN],
      'there',
    ],
    [
      'a redirect to a path outside of the mount point, which the client follows',
      'Location: relative/path\n\n',
      '302 Found',
      [['Location', 'relative/path']],
      '',
    ],
  ])('%s', async (_, output, status, headers, body) => {
    const sent = await print(output)
    const known = sent.headers.filter(([name]) => name !== 'Content-Length')
    expect({ ...sent, headers: known }).toEqual({
      status,
      headers,
      body,
      broken: false,
      errors: '',
    })
  })

  it.each([
    [
      'its own status line',
      'HTTP/1.1 201 Made\r\nContent-Type: text/plain\r\n\r\nHi',
      '201 Made',
      'Hi',
    ],
    ['a 304', 'HTTP/1.0 304 Not Modified\r\nETag: "a"\r\n\r\n', '304 Not Modified', ''],
    ['the response of any other script', 'Content-Type: text/plain\n\nHi', '200 OK', 'Hi'],
  ])('as nph-: %s', async (_, output, status, body) => {
    expect(await print(output, 'nph-prints.sh')).toMatchObject({ status, body, errors: '' })
  })
})

describe('The response is a 500, and the log says why, if a script sends', () => {
  const END =
    ' A response begins with a header such as Content-Type: text/html, and an empty line\n'
  it.each([
    ['nothing', '', 'malformed CGI response: it is empty; it ended with exit code 0.' + END],
    [
      'an empty head',
      '\n',
      'malformed CGI response: it has neither Content-Type nor Location nor Status.' + END,
    ],
    [
      'no Content-Type',
      'X: y\n\nHi',
      'malformed CGI response: it has neither Content-Type nor Location nor Status.' + END,
    ],
    ['no header', 'Hello\n', 'malformed CGI response: "Hello" is not a header.' + END],
    [
      'no header and no line',
      'Hello',
      'malformed CGI response: "Hello" is not a header; it ended with exit code 0.' + END,
    ],
    [
      'a head without an end',
      'Content-Type: a/b\n',
      'malformed CGI response: the head does not end; it ended with exit code 0.' + END,
    ],
    [
      'two statuses',
      'Status: 200 OK\nStatus: 404 No\n\n',
      'malformed CGI response: Status appears more than once.' + END,
    ],
    [
      'binary data',
      '\x7fELF\x00\n\n',
      String.raw`malformed CGI response: "\u007fELF\u0000" is not a header.` + END,
    ],
    [
      'a bad length',
      'Content-Type: a/b\nContent-Length: 5 5\n\n',
      'Content-Length: 5 5 is not a number of bytes\n',
    ],
    [
      'two lengths',
      'Content-Length: 1\nContent-Length: 2\nContent-Type: a/b\n\n',
      'Content-Length: 1, 2 is not a number of bytes\n',
    ],
    [
      'a status before the response',
      'Status: 100 Continue\n\n',
      'Status 100 Continue is not that of a response\n',
    ],
    [
      'chunks',
      'Transfer-Encoding: chunked\nContent-Type: a/b\n\n0\n\n',
      "it sends Transfer-Encoding, which is the web server's. Send the body as it is\n",
    ],
  ])('%s', async (_, output, reason) => {
    const { status, errors, body } = await print(output)
    expect([status, errors]).toEqual([
      '500 Internal Server Error',
      `GET /prints.sh: PORTICO_SCRIPT: ${join(directory, 'prints.sh')}: ${reason}`,
    ])
    expect(body).toBe('Internal Server Error\n')
  })

  it('a wrong status line as nph-, which is a 502', async () => {
    const { status, errors } = await print('HTTP/1.1 30 Moved\r\n\r\n', 'nph-prints.sh')
    expect(status).toBe('502 Bad Gateway')
    expect(errors).toContain('the status line is "HTTP/1.1 30 Moved"')
  })

  it('a head of more than 64 KiB', async () => {
    addScript(directory, 'head.sh', "#!/bin/sh\nyes 'X: y'\n")
    const { status, errors } = await runCgi(app, '/head.sh')
    expect([status, errors]).toEqual([
      '500 Internal Server Error',
      expect.stringContaining('the head has more than 65536 bytes.'),
    ])
  })

  it('endless text without a newline', async () => {
    addScript(directory, 'endless.sh', "#!/bin/sh\nyes | tr -d '\\n'\n")
    const { status, errors } = await runCgi(app, '/endless.sh')
    expect(status).toBe('500 Internal Server Error')
    expect(errors).toContain('the head has more than 65536 bytes; "yyyyyyyy')
  })
})

describe('A path', () => {
  it.each([
    ['/where.sh', 'GET|/where.sh||'],
    ['/where.sh/extra/path?a=b?c=d', 'GET|/where.sh|/extra/path|a=b?c=d'],
    ['/where.sh/', 'GET|/where.sh|/|'],
    ['/where.sh?k=aa%2F%2Fbb&//q//p//=//a//b//', 'GET|/where.sh||k=aa%2F%2Fbb&//q//p//=//a//b//'],
    ['/sub/../where.sh', 'GET|/where.sh||'],
    ['/nowhere/../where.sh/a/../b', 'GET|/where.sh|/b|'],
    ['/where.sh/a%20b%3Fc', 'GET|/where.sh|/a b?c|'],
    ['/where.sh?indexed+query', 'GET|/where.sh||indexed+query'],
  ])('%s finds its script', async (target, expected) => {
    expect((await runCgi(app, target)).body.toString()).toBe(expected)
  })

  it('in a subdirectory finds its script, which runs there', async () => {
    const { body } = await runCgi(app, '/sub/deep.sh/x')
    expect(body.toString()).toBe(`/sub/deep.sh|/x${join(directory, 'sub')}\n`)
  })

  it('below a mount point has the mount point in SCRIPT_NAME', async () => {
    const { body } = await runCgi(app, '/where.sh/x', { SCRIPT_NAME: '/cgi-bin' })
    expect(body.toString()).toBe('GET|/cgi-bin/where.sh|/x|')
  })

  it.each([
    ['', '/', '"<DIR>" is a directory'],
    ['a directory', '/sub', '"<DIR>/sub" is a directory'],
    ['a directory with a slash', '/sub/', '"<DIR>/sub" is a directory'],
    ['a missing script', '/nothing.sh', '"<DIR>/nothing.sh" does not exist'],
    ['spaces after the name', '/where.sh%20%20%20', '"<DIR>/where.sh   " does not exist'],
    ['a line break', '/a%0aGET /b: forged', '"<DIR>/a\\u000aGET " does not exist'],
    ['bytes that are not UTF-8', '/%ff%1b[2J', '"<DIR>/\\ufffd\\u001b[2J" does not exist'],
    [
      'a file in place of a directory',
      '/sub/deep.sh/../../nothing.sh',
      '"<DIR>/nothing.sh" does not exist',
    ],
    ['a hidden file', '/.hidden.sh', 'the name ".hidden.sh" begins with a dot'],
    ['a named pipe', '/pipe', '"<DIR>/pipe" is not a regular file'],
    ['a path above the directory', '/../../bin/sh', 'the path leads out of the directory'],
    [
      'an encoded path above the directory',
      '/%2e%2e/%2e%2e/%2e%2e/%2e%2e/bin/sh',
      'the path leads out of the directory',
    ],
    [
      'many slashes, and a missing script',
      '///////////nocgi.py/../cgi-bin/nothere.sh',
      '"<DIR>/cgi-bin" does not exist',
    ],
    [
      'a name that is too long',
      `/${'x'.repeat(600)}`,
      /: 404, because "\S{512}\.\.\." does not exist\n$/,
    ],
  ])('to %s is a 404, and the log says why', async (_, target, reason) => {
    const info = { PATH_INFO: decodePath(target) }
    const { status, body, errors } = await runCgi(app, { target: '/' }, info)
    expect([status, body.toString()]).toEqual(['404 Not Found', 'Not Found\n'])
    if (typeof reason !== 'string') expect(errors).toMatch(reason)
    else {
      expect(errors.slice(errors.indexOf(': 404'))).toBe(
        `: 404, because ${reason.replace('<DIR>', directory)}\n`,
      )
    }
    expect(errors.split('\n').length).toBe(2)
  })

  it('to a script of a directory that was removed is a 404, and the log names the directory', async () => {
    const removed = makeScripts({})
    const application = cgiBin(removed)
    rmdirSync(removed)
    const { status, errors } = await runCgi(application, '/x.sh')
    expect([status, errors]).toEqual([
      '404 Not Found',
      `GET /x.sh: 404, because the directory ${removed} does not exist\n`,
    ])
  })

  it('out of the directory through a symbolic link is a 403', async () => {
    symlinkSync('/bin/ls', join(directory, 'ls'))
    symlinkSync('/bin', join(directory, 'bin'))
    for (const target of ['/ls', '/bin/ls']) {
      const { status, errors } = await runCgi(app, target)
      expect(status).toBe('403 Forbidden')
      expect(errors).toMatch(/ls is a symbolic link to \/\S*bin\/ls, which is outside of the dir/)
    }
  })

  it('through a symbolic link inside the directory finds its script', async () => {
    symlinkSync('where.sh', join(directory, 'link.sh'))
    expect((await runCgi(app, '/link.sh')).body.toString()).toBe('GET|/link.sh||')
  })
})

/** A script that redirects. */
const at = (path: string) => `#!/bin/sh\necho 'Location: ${path}'\necho\n`

const setting = (name: string, path: string) =>
  at(path).replace('\n', `\necho 'Set-Cookie: ${name}=1'\n`)

async function cookies(to: Application): Promise<string[]> {
  return valuesOf((await runCgi(to, '/login.sh')).headers, 'Set-Cookie')
}

describe('A local redirect', () => {
  it.each([
    [
      'to a script of the directory is its response to a GET',
      '/cgi-bin/where.sh/p%20q?r=s',
      'GET|/cgi-bin/where.sh|/p q|r=s',
    ],
    [
      'with dot segments is to the script that they lead to',
      '/elsewhere/../cgi-bin/sub/./../where.sh/p',
      'GET|/cgi-bin/where.sh|/p|',
    ],
    [
      'to a missing script is a 404',
      '/cgi-bin/nothing',
      'Not Found\n',
      `GET /cgi-bin/nothing: 404, because "${directory}/nothing" does not exist\n`,
    ],
  ])('%s', async (_, location, expected, logged = '') => {
    addScript(directory, 'local.sh', at(location))
    const request = { method: 'POST', target: '/local.sh?x=y', body: 'body' }
    const { body, errors } = await runCgi(app, request, {
      SCRIPT_NAME: '/cgi-bin',
      PATH_INFO: '/local.sh',
    })
    expect([body.toString(), errors]).toEqual([expected, logged])
  })

  it('has the first request in REDIRECT_URL and REDIRECT_QUERY_STRING', async () => {
    addScript(directory, 'local.sh', at('/shows.sh'))
    addScript(
      directory,
      'shows.sh',
      sh('printf "$REDIRECT_URL?$REDIRECT_QUERY_STRING $CONTENT_LENGTH"; cat'),
    )
    const request = { method: 'POST', target: '/local.sh/i?x=y', body: 'body' }
    expect((await runCgi(app, request)).body.toString()).toBe('/local.sh/i?x=y ')
  })

  it('keeps the cookies of each script on the way', async () => {
    addScript(directory, 'login.sh', setting('a', '/local.sh'))
    addScript(directory, 'local.sh', setting('b', '/cookie.sh'))
    addScript(
      directory,
      'cookie.sh',
      "#!/bin/sh\nprintf 'Set-Cookie: c=1\\nContent-Type: text/plain\\n\\n'\n",
    )
    expect(await cookies(app)).toEqual(['a=1', 'b=1', 'c=1'])
    addScript(directory, 'local.sh', setting('b', '/nothing'))
    expect(await cookies(app)).toEqual(['a=1', 'b=1'])
    expect(await cookies(cgiBin(directory, { redirects: page }))).toEqual(['a=1', 'b=1'])
  })

  it('outside of the mount point is one for the client', async () => {
    addScript(directory, 'local.sh', at('/page'))
    const { status, headers } = await runCgi(app, '/local.sh', {
      SCRIPT_NAME: '/cgi-bin',
      PATH_INFO: '/local.sh',
    })
    expect([status, headers]).toEqual([
      '302 Found',
      expect.arrayContaining([['Location', '/page']]),
    ])
  })

  it('outside of the mount point goes to the application of the option redirects', async () => {
    addScript(directory, 'local.sh', at('/page?q'))
    const both = cgiBin(directory, { redirects: page })
    const at2 = { SCRIPT_NAME: '/cgi-bin', PATH_INFO: '/local.sh' }
    expect((await runCgi(both, '/local.sh', at2)).body.toString()).toBe('GET||/page|q')
    addScript(directory, 'local.sh', at('/cgi-bin/no-script'))
    expect((await runCgi(both, '/local.sh', at2)).body.toString()).toBe('GET||/cgi-bin/no-script|')
  })

  it('that never ends is a 500', async () => {
    addScript(directory, 'local.sh', at('/local.sh'))
    const { status, errors } = await runCgi(app, '/local.sh')
    expect(status).toBe('500 Internal Server Error')
    expect(errors).toContain('The scripts redirect to each other more than 10 times')
  })
})
