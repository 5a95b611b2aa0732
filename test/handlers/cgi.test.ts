import { Buffer } from 'node:buffer'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, constants, existsSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { temporaryDirectory } from '../server/child.ts'
import {
  responseOf,
  bundleCGI,
  request,
  REQUEST,
  shell,
  start,
  writeScript,
  type Call,
} from '../support/cgi.ts'

const directory = temporaryDirectory()
beforeAll(async () => bundleCGI(directory.path))
afterAll(directory.remove)

const inDirectory = (name: string) => join(directory.path, name)
let scripts = 0
const script = (application: string, build?: string) =>
  writeScript(directory.path, `script-${(scripts += 1)}`, application, build)
const run = async (application: string, call?: Call) => request(script(application), call)

const HELLO = `(environ, startResponse) => {
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  return ['Hello, world!\\n']
}`
const ECHO = `async (environ, startResponse) => {
  const body = await environ['wsgi.input'].read()
  startResponse('200 OK', [])
  return [body]
}`
const report = (keys: string[]) => `(environ, startResponse) => {
  startResponse('200 OK', [])
  return [JSON.stringify(${JSON.stringify(keys)}.map((key) => environ[key]))]
}`
/** 3,000,000 bytes in chunks, then the code `then`. */
const LONG = (then: string) => `async function* (environ, startResponse) {
  startResponse('200 OK', [])
  for (let i = 0; i < 30; i += 1) yield Buffer.alloc(100_000, 'x')
  ${then}
}`
const HEAD = 'Status: 200 OK\r\n\r\n'
const ERROR_PAGE =
  'Status: 500 Internal Server Error\r\nContent-Type: text/plain\r\nContent-Length: 59\r\n\r\n' +
  'A server error occurred.  Please contact the administrator.'

const bodyOf = (response: { stdout: string }) =>
  response.stdout.slice(response.stdout.indexOf('\r\n\r\n') + 4)

const withOptions = (options: string, kind = 'CGIHandler') =>
  run(`new ${kind}(${options}).run(${HELLO})`)

describe('The options of CGIHandler', () => {
  test.each([
    ['{ validat: true }', "CGI: unknown option 'validat'. Did you mean 'validate'?"],
    ['{ listen: ":8000" }', "CGI: unknown option 'listen'. Known names: responseTimeout, "],
    [
      '{ responseTimeout: "5s" }',
      'responseTimeout must be a whole number of milliseconds from 0 to 2147483647',
    ],
    ['{ pathInfo: "asis" }', '(got "asis"). Did you mean \'as-is\'?'],
  ])('%s are refused with a 500, and the log names the fault', async (options, message) => {
    const { code, stdout, stderr } = await withOptions(options)
    expect(stdout).toBe(ERROR_PAGE)
    expect(stderr).toContain(message)
    expect(code).toBe(1)
  })

  test.each(['CGIHandler', 'IISCGIHandler'])(
    'of %s are refused also from a subclass',
    async (kind) => {
      const { stdout, stderr } = await withOptions('{ osEnvirn: {} }', kind)
      expect(stdout).toBe(ERROR_PAGE)
      expect(stderr).toContain("Did you mean 'osEnviron'?")
    },
  )

  test('that are right have their effect', async () => {
    const options = '{ osEnviron: { A: "b" }, responseTimeout: 0, pathInfo: "auto" }'
    const { stdout } = await run(`new CGIHandler(${options}).run(${report(['A'])})`)
    expect(stdout.endsWith('\r\n\r\n["b"]')).toBe(true)
  })
})

describe('A CGI script', () => {
  test('writes a CGI head and a body, and nothing else', async () => {
    expect(await run(HELLO)).toEqual({
      code: 0,
      stdout:
        'Status: 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\r\nHello, world!\n',
      stderr: '',
    })
  })

  test('starts with an empty environment', async () => {
    const keys = ['REQUEST_METHOD', 'SCRIPT_NAME', 'PATH_INFO', 'SERVER_NAME', 'SERVER_PORT']
    const response = await run(report(keys), { env: {} })
    expect(JSON.parse(bodyOf(response))).toEqual(['GET', '', '/', 'localhost', '80'])
  })

  test('has wsgi.run_once and wsgi.multiprocess true', async () => {
    const keys = ['wsgi.run_once', 'wsgi.multiprocess', 'wsgi.multithread', 'portico.gateway']
    expect(JSON.parse(bodyOf(await run(report(keys))))).toEqual([true, true, false, 'cgi'])
  })

  test('ignores its command-line arguments (CVE-2012-1823)', async () => {
    const args = ['--inspect', '-e', '1', 'REQUEST_METHOD=POST']
    const response = await run(report(['REQUEST_METHOD']), { args })
    expect([response.code, bodyOf(response), response.stderr]).toEqual([0, '["GET"]', ''])
  })

  test('sees the exact bytes of its environment', async () => {
    const path = script(report(['PATH_INFO', 'REMOTE_USER', 'QUERY_STRING']))
    const response = await shell(
      `PATH_INFO="/$(printf '\\200\\377')" REMOTE_USER="$(printf 'caf\\303\\251')" ` +
        `QUERY_STRING='a=b
=c' "$NODE" ${path}`,
    )
    expect(JSON.parse(Buffer.from(bodyOf(response), 'latin1').toString())).toEqual([
      '/\x80\xff',
      'caf\xc3\xa9',
      'a=b\n=c',
    ])
  })

  test('has HTTP_PROXY neither in its environ nor in process.env (httpoxy)', async () => {
    const application = `(environ, startResponse) => {
      startResponse('200 OK', [])
      return [JSON.stringify(['HTTP_PROXY' in environ, 'HTTP_PROXY' in process.env])]
    }`
    const env = { ...REQUEST, HTTP_PROXY: 'http://evil.example/' }
    expect(bodyOf(await run(application, { env }))).toBe('[false,false]')
  })

  test('loads no module beyond those that Node loads at its start', async () => {
    const path = script(`new CGIHandler().run(${HELLO})`)
    const list = `require('node:fs').writeSync(2, JSON.stringify(process.moduleLoadList))`
    const modules = async (file: string): Promise<string[]> => {
      const code = `process.on('exit', () => { ${list} })\n${file && `require('${file}')`}`
      const response = await request(
        writeScript(directory.path, `modules-${(scripts += 1)}`, code, ''),
      )
      return JSON.parse(response.stderr) as string[]
    }
    const before = new Set(await modules(''))
    const after = await modules(path)
    expect(after.filter((name) => !before.has(name))).toEqual([])
    for (const name of ['net', 'http', 'crypto', 'zlib', 'child_process', 'tty', 'stream/web']) {
      expect(after).not.toContain(`NativeModule ${name}`)
    }
  })

  test('with IISCGIHandler has a PATH_INFO without SCRIPT_NAME (wsgiref IISCGIHandler)', async () => {
    const application = `new IISCGIHandler().run(${report(['SCRIPT_NAME', 'PATH_INFO'])})`
    for (const [PATH_INFO, path] of [
      ['/app.js/x/y', '/x/y'],
      ['/app.js', ''],
      ['/app.json', '/app.json'],
      ['/x', '/x'],
    ] as const) {
      const env = { ...REQUEST, SCRIPT_NAME: '/app.js', PATH_INFO }
      expect(JSON.parse(bodyOf(await run(application, { env })))).toEqual(['/app.js', path])
    }
  })
})

describe('The body of a CGI request', () => {
  test('is read from a pipe, up to CONTENT_LENGTH', async () => {
    const env = { ...REQUEST, CONTENT_LENGTH: '200000' }
    const body = 'ab\xff\0'.repeat(50_000)
    const response = await run(ECHO, { env, body: `${body}and more` })
    expect(bodyOf(response) === body).toBe(true)
  })

  test('gives a 400, not a short read, if it ends early', async () => {
    const response = await run(ECHO, { env: { ...REQUEST, CONTENT_LENGTH: '10' }, body: 'short' })
    expect(response.stdout).toContain('Status: 400 Bad Request')
    expect(response.stderr).toContain('PORTICO_BODY_CUT_SHORT')
  })

  test('is empty without CONTENT_LENGTH, although stdin stays open', async () => {
    const child = start(script(ECHO), {}, ['pipe', 'pipe', 'pipe'])
    expect(await responseOf(child)).toMatchObject({ code: 0, stderr: '' })
  })

  test('ends at CONTENT_LENGTH, although stdin stays open', async () => {
    const env = { ...REQUEST, CONTENT_LENGTH: '5' }
    const child = start(script(ECHO), { env }, ['pipe', 'pipe', 'pipe'])
    child.stdin?.write('hello and no end')
    expect(bodyOf(await responseOf(child))).toBe('hello')
  })

  test('is read to its end after the response, so that no write of the web server fails', async () => {
    const env = { ...REQUEST, CONTENT_LENGTH: '3000000' }
    const child = start(script(HELLO), { env }, ['pipe', 'pipe', 'pipe'])
    const failed: unknown[] = []
    child.stdin?.on('error', (error) => failed.push(error))
    child.stdin?.end(Buffer.alloc(3_000_000))
    expect(bodyOf(await responseOf(child))).toBe('Hello, world!\n')
    expect(failed).toEqual([])
  })

  const length = 3_000_000
  const inChunks = `for (let i = 0; i < 30; i += 1) yield Buffer.alloc(100_000, 'x')`
  const read = `for await (const chunk of environ['wsgi.input'].chunks()) length += chunk.length`
  test.each([
    [
      'echoes each chunk',
      `(environ, startResponse) => {
        startResponse('200 OK', [])
        return environ['wsgi.input'].chunks()
      }`,
      '\0'.repeat(length),
    ],
    [
      'sends a long response and does not read',
      `(environ, startResponse) => {
        startResponse('200 OK', [])
        return [Buffer.alloc(${length}, 'x')]
      }`,
      'x'.repeat(length),
    ],
    [
      'sends a long response before it reads',
      `async function* (environ, startResponse) {
        startResponse('200 OK', [])
        let length = 0
        ${inChunks}
        ${read}
        yield String(length)
      }`,
      'x'.repeat(length) + length,
    ],
    [
      'reads a chunk, and the rest after a long response',
      `async function* (environ, startResponse) {
        let { length } = await environ['wsgi.input'].read(10)
        startResponse('200 OK', [])
        ${inChunks}
        ${read}
        yield String(length)
      }`,
      'x'.repeat(length) + length,
    ],
  ])(
    'can be sent before the web server reads, as by mod_cgid, to an application that %s',
    async (_, application, expected) => {
      const env = { ...REQUEST, CONTENT_LENGTH: String(length), SERVER_SOFTWARE: 'Apache/2.4.68' }
      const child = start(script(application), { env }, ['pipe', 'pipe', 'pipe'])
      // And stdin stays open.
      await new Promise((sent) => child.stdin!.write(Buffer.alloc(length), sent))
      const response = await responseOf(child)
      expect(response).toMatchObject({ code: 0, stderr: '' })
      expect(bodyOf(response) === expected).toBe(true)
    },
  )

  test('is kept in memory up to 64 MiB before the web server reads a long response', async () => {
    const huge = 2 ** 30
    const application = `async function* (environ, startResponse) {
      startResponse('200 OK', [])
      yield Buffer.alloc(200_000, 'x')
      yield String(process.memoryUsage().arrayBuffers)
    }`
    const env = { ...REQUEST, CONTENT_LENGTH: String(huge), SERVER_SOFTWARE: 'Apache/2.4.68' }
    const zeros = openSync('/dev/zero', 'r')
    const response = await responseOf(start(script(application), { env }, [zeros, 'pipe', 'pipe']))
    closeSync(zeros)
    expect(response).toMatchObject({ code: 0, stderr: '' })
    const kept = Number(bodyOf(response).slice(200_000))
    expect(kept).toBeGreaterThan(60 * 2 ** 20)
    expect(kept).toBeLessThan(90 * 2 ** 20)
  })

  test.each([
    ['does not read', HELLO, ''],
    [
      'reads on',
      `(environ, startResponse) => {
        let length = 0
        const stream = environ['wsgi.input'].stream().on('data', (chunk) => (length += chunk.length))
        stream.on('end', () => fs.writeSync(2, String(length)))
        startResponse('200 OK', [['Content-Type', 'text/plain']])
        return ['Hello, world!\\n']
      }`,
      '10',
    ],
  ])(
    'can arrive after the end of the response of an application that %s',
    async (_, application, log) => {
      const env = { ...REQUEST, CONTENT_LENGTH: '10' }
      const child = start(script(application), { env }, ['pipe', 'pipe', 'pipe'])
      const ended = once(child.stdout!.resume(), 'end')
      const response = responseOf(child)
      child.stdin!.write('12345')
      await ended
      expect(child.exitCode).toBe(null)
      child.stdin!.end('67890')
      expect(await response).toMatchObject({ code: 0, stderr: log })
      expect(bodyOf(await response)).toBe('Hello, world!\n')
    },
  )

  test.each([
    ['Apache/2.4.68 (Debian)', '200 OK', 'a=1'],
    ['Apache', '200 OK', 'a=1'],
    ['nginx/1.22.1', '200 OK', 'a=1'],
    ['busybox httpd/1.35.0', '411 Length Required', undefined],
    ['uWSGI', '411 Length Required', undefined],
    ['', '411 Length Required', undefined],
  ])('that is chunked gives from %j %s', async (SERVER_SOFTWARE, status, expected) => {
    const env = { ...REQUEST, HTTP_TRANSFER_ENCODING: 'chunked', SERVER_SOFTWARE }
    const response = await run(ECHO, { env, body: 'a=1' })
    expect(response.stdout.split('\r\n')[0]).toBe(`Status: ${status}`)
    if (expected !== undefined) expect(bodyOf(response)).toBe(expected)
  })

  test('that is chunked and not decoded gives a 411 although stdin stays open', async () => {
    const env = { ...REQUEST, HTTP_TRANSFER_ENCODING: 'chunked' }
    const child = start(script(ECHO), { env }, ['pipe', 'pipe', 'pipe'])
    child.stdin?.write('3\r\na=1\r\n0\r\n\r\n')
    const response = await responseOf(child)
    expect(response.stdout).toContain('Status: 411 Length Required')
    expect(response.stderr).toContain('chunked')
  })

  test('gives a 500 and a line in the log if stdin cannot be read', async () => {
    const env = { ...REQUEST, CONTENT_LENGTH: '5' }
    const root = openSync('/', 'r')
    const response = await responseOf(start(script(ECHO), { env }, [root, 'pipe', 'pipe']))
    closeSync(root)
    expect(response.stdout).toBe(ERROR_PAGE)
    expect(response.stderr).toContain('Cannot read the request body from file descriptor 0: EISDIR')
  })

  test('can be piped by an application that does not listen for errors', async () => {
    const application = `(environ, startResponse) => {
      const stream = environ['wsgi.input'].stream()
      stream.pipe(new (require('node:stream').PassThrough)())
      return new Promise((resolve) => stream.on('close', () => {
        startResponse('200 OK', [])
        resolve(['closed'])
      }))
    }`
    const env = { ...REQUEST, CONTENT_LENGTH: '100' }
    const response = await run(application, { env, body: 'abc' })
    expect([response.code, bodyOf(response)]).toEqual([0, 'closed'])
  })

  test('can be left unread', async () => {
    const env = { ...REQUEST, CONTENT_LENGTH: '1000000' }
    const response = await run(HELLO, { env, body: 'x'.repeat(1_000_000) })
    expect([response.code, bodyOf(response), response.stderr]).toEqual([0, 'Hello, world!\n', ''])
  })

  test('is read from the socket that takes the response, as under mod_cgid', async () => {
    const [server, client] = await connectedPair()
    const env = { ...REQUEST, CONTENT_LENGTH: '300000' }
    const child = start(script(ECHO), { env }, [server, server, 'pipe'])
    server.destroy()
    const body = 'socket'.repeat(50_000)
    client.write(body)
    const text = await textOf(client)
    expect(bodyOf({ stdout: text }) === body).toBe(true)
    await once(child, 'exit')
    expect(child.exitCode).toBe(0)
  })
})

/** Both ends of a Unix stream socket; the first is not read by this process. */
async function connectedPair(): Promise<[Socket, Socket]> {
  const listening = createServer({ pauseOnConnect: true })
  const path = inDirectory(`socket-${(scripts += 1)}`)
  listening.listen(path)
  await once(listening, 'listening')
  const client = connect(path)
  const accepted = (await once(listening, 'connection')) as [Socket]
  listening.close()
  return [accepted[0], client]
}

async function textOf(stream: AsyncIterable<unknown>): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString('latin1')
}

describe('The response of a CGI script', () => {
  test('arrives complete through a slow pipe, if it has 8 MiB', async () => {
    const path = script(`(environ, startResponse) => {
      startResponse('200 OK', [])
      return [Buffer.alloc(8 * 1024 * 1024, 'abcdefgh')]
    }`)
    const { stdout, stderr } = await shell(`"$NODE" ${path} | { sleep 0.2; cat; }`)
    expect(stderr).toBe('')
    expect(bodyOf({ stdout }) === 'abcdefgh'.repeat(1024 * 1024)).toBe(true)
  })

  test('arrives complete and in order through a pipe that does not block', async () => {
    const path = script(`(environ, startResponse) => {
      const write = startResponse('200 OK', [])
      for (let i = 0; i < 20; i += 1) void write(Buffer.alloc(40_000, String(i % 10)))
      return [Buffer.alloc(400_000, 'x')]
    }`)
    const fifo = inDirectory('fifo')
    execFileSync('mkfifo', [fifo])
    const reading = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK)
    const writing = openSync(fifo, constants.O_WRONLY | constants.O_NONBLOCK)
    // Descriptors up to 2 would be made blocking.
    const child = spawn('sh', ['-c', `exec "${process.execPath}" ${path} >&3`], {
      stdio: ['ignore', 'ignore', 'pipe', writing],
      env: REQUEST,
    })
    const reader = spawn('sh', ['-c', 'sleep 0.3; exec cat'], {
      stdio: [reading, 'pipe', 'ignore'],
    })
    closeSync(reading)
    closeSync(writing)
    const [response, { stdout }] = await Promise.all([responseOf(child), responseOf(reader)])
    const digits = Array.from({ length: 20 }, (_, i) => String(i % 10).repeat(40_000)).join('')
    expect(bodyOf({ stdout }) === digits + 'x'.repeat(400_000)).toBe(true)
    expect(response).toEqual({ code: 0, stdout: '', stderr: '' })
  })

  test.each([
    ['in chunks', LONG('')],
    ['as one chunk', `(e, s) => { s('200 OK', []); return [Buffer.alloc(3e6)] }`],
    [
      'by write()',
      `(e, s) => { const w = s('200 OK', []); w(Buffer.alloc(3e6)); w('x'); return [] }`,
    ],
  ])('sent %s is aborted without an error when its reader is gone', async (_, application) => {
    const marker = inDirectory(`closed-${(scripts += 1)}`)
    const path = script(`(environ, startResponse) => {
      const body = (${application})(environ, startResponse)
      body.close = () => fs.writeFileSync('${marker}', '')
      return body
    }`)
    const response = await shell(`{ "$NODE" ${path}; echo "code $?" >&2; } | head -c 1`)
    expect(response.stderr).toBe('code 0\n')
    expect(existsSync(marker)).toBe(true)
  })

  test('is discarded without an error if descriptor 1 is closed', async () => {
    const response = await shell(`"$NODE" ${script(HELLO)} >&-`)
    expect(response).toEqual({ code: 0, stdout: '', stderr: '' })
  })

  test('does not depend on stderr', async () => {
    const path = script(`() => { console.log('a'); throw new Error('b') }`)
    const response = await shell(`"$NODE" ${path} 2>&-`)
    expect(response).toEqual({ code: 0, stdout: ERROR_PAGE, stderr: '' })
  })

  test('does not contain what is printed', async () => {
    const response = await run(`(environ, startResponse) => {
      console.log('one')
      process.stdout.write('two\\n')
      console.error('three')
      environ['wsgi.errors'].write('four\\n')
      startResponse('200 OK', [])
      return ['x']
    }`)
    expect(response).toEqual({
      code: 0,
      stdout: 'Status: 200 OK\r\nContent-Length: 1\r\n\r\nx',
      stderr: 'one\ntwo\nthree\nfour\n',
    })
  })

  test('does not contain what a console prints that was used before the handler', async () => {
    const path = script(`(environ, startResponse) => {
      console.log('two')
      console.group('three')
      console.info('four')
      startResponse('200 OK', [])
      return ['x']
    }`)
    // What comes before the handler goes where Node sends it, as the start of the head.
    writeFileSync(path, `console.log('X-One: 1')\n${readFileSync(path, 'utf8')}`)
    expect(await shell(`"$NODE" ${path}`)).toEqual({
      code: 0,
      stdout: 'X-One: 1\nStatus: 200 OK\r\nContent-Length: 1\r\n\r\nx',
      stderr: 'two\nthree\n  four\n',
    })
  })

  test.each([
    ['fs.writeSync(1, "log\\n")', 'log\n'],
    ['fs.writeSync(1, Buffer.from("log\\n"), 0, 4)', 'log\n'],
    ['fs.writevSync(1, [Buffer.from("log\\n")])', 'log\n'],
    ['await new Promise((resolve) => fs.write(1, "log\\n", resolve))', 'log\n'],
    ['await require("node:util").promisify(fs.write)(1, "log\\n")', 'log\n'],
    ['fs.writeFileSync(1, "log\\n")', 'log\n'],
    ['fs.appendFileSync(1, "log\\n")', 'log\n'],
    ['await new Promise((resolve) => fs.appendFile(1, "log\\n", resolve))', 'log\n'],
    ['fs.createWriteStream(null, { fd: 1, autoClose: false }).end("log\\n")', 'log\n'],
  ])('does not contain what a logger writes to descriptor 1 by %s', async (code, log) => {
    const response = await run(`async (environ, startResponse) => {
      ${code}
      startResponse('200 OK', [])
      return ['x']
    }`)
    expect(response).toEqual({
      code: 0,
      stdout: 'Status: 200 OK\r\nContent-Length: 1\r\n\r\nx',
      stderr: log,
    })
  })

  test('does not contain errors if stdout and stderr are one pipe, as under mini_httpd', async () => {
    const path = script(`(environ) => {
      environ['wsgi.errors'].write('one\\n')
      console.error('two')
      throw new Error('three')
    }`)
    const { stdout } = await shell(`"$NODE" ${path} 2>&1 | cat`)
    expect(stdout).toBe(ERROR_PAGE)
  })

  test('that cannot be written gives exit code 1 and a line in the log', async () => {
    const response = await shell(`"$NODE" ${script(HELLO)} >/dev/full`)
    expect(response.code).toBe(1)
    expect(response.stderr).toContain('ENOSPC')
  })

  test('arrives complete although the script calls process.exit', async () => {
    const response = await run(LONG('process.exit(0)'))
    expect([response.code, response.stderr]).toEqual([0, ''])
    expect(response.stdout === HEAD + 'x'.repeat(3_000_000)).toBe(true)
  })
})

describe('An error that no handler could catch', () => {
  const sources: [string, string][] = [
    ['an uncaught exception', `setTimeout(() => { throw new Error('astray') }, 1)`],
    ['an unhandled rejection', `Promise.reject(new Error('astray'))`],
    ['an exception that is undefined', `setTimeout(() => { throw undefined }, 1)`],
  ]

  test.each(sources)('(%s) before the head gives a 500 and exit code 1', async (what, source) => {
    const response = await run(`(environ, startResponse) => {
      startResponse('200 OK', [])
      ${source}
      return new Promise(() => setInterval(() => {}, 1000).unref())
    }`)
    expect(response.stdout).toBe(ERROR_PAGE)
    expect(response.code).toBe(1)
    if (!what.endsWith('undefined')) expect(response.stderr).toMatch(/^GET \/: Error: astray\n/)
  })

  test.each(sources)(
    '(%s) after the head removes nothing that was sent, and gives exit code 1',
    async (_, source) => {
      const wait = 'await new Promise((resolve) => setTimeout(resolve, 50))'
      const response = await run(LONG(`${source}; ${wait}; yield 'late'`))
      expect(response.code).toBe(1)
      expect(response.stdout === HEAD + 'x'.repeat(3_000_000)).toBe(true)
    },
  )

  test('gives a 500 at once, although the body waits and a timer runs', async () => {
    const path = script(
      `async function* (environ, startResponse) {
        startResponse('200 OK', [])
        setInterval(() => {}, 10)
        setTimeout(() => { throw new Error('astray') }, 1)
        await new Promise(() => {})
      }`,
      'hasty',
    )
    const response = await request(path)
    expect([response.code, response.stdout]).toEqual([1, ERROR_PAGE])
  })

  test('after the response is logged, and gives exit code 1', async () => {
    const response = await run(`(environ, startResponse) => {
      setTimeout(() => { throw new Error('astray') }, 5)
      return (${HELLO})(environ, startResponse)
    }`)
    expect([response.code, bodyOf(response)]).toEqual([1, 'Hello, world!\n'])
    expect(response.stderr).toMatch(/^Error: astray\n/)
  })

  test('(a promise that is never settled) gives a 500', async () => {
    for (const application of [
      '() => new Promise(() => {})',
      'async function* (e, s) { s("200 OK", []); await new Promise(() => {}) }',
    ]) {
      const response = await run(application)
      expect([response.code, response.stdout]).toEqual([1, ERROR_PAGE])
      expect(response.stderr).toContain('The application never responded')
    }
  })

  test('thrown by the application gives a 500', async () => {
    const response = await run(`() => { throw new Error('oops') }`)
    expect(response.stdout).toBe(ERROR_PAGE)
    expect(response.stderr).toMatch(/^GET \/: Error: oops\n/)
  })
})

const log = (name: string) => `fs.writeSync(2, '${name}\\n')`

describe('SIGTERM, with which a web server ends a CGI script', () => {
  test('aborts portico.signal, closes the body, and lets the script end', async () => {
    const path = script(`async (environ, startResponse) => {
      const { setTimeout: sleep } = require('node:timers/promises')
      environ['portico.signal'].addEventListener('abort', () => ${log('aborted')})
      startResponse('200 OK', [])
      async function* body() {
        try {
          yield 'first'
          await sleep(60_000, undefined, { signal: environ['portico.signal'] })
        } finally {
          await sleep(50)
          ${log('cleaned up')}
        }
      }
      return Object.assign(body(), { close: () => ${log('closed')} })
    }`)
    const child = start(path, {}, ['ignore', 'pipe', 'pipe'])
    child.stdout?.once('data', () => child.kill('SIGTERM'))
    const started = performance.now()
    const response = await responseOf(child)
    expect(response.stderr.split('\n').toSorted()).toEqual(['', 'aborted', 'cleaned up', 'closed'])
    expect(performance.now() - started).toBeLessThan(10_000)
  })

  test('rejects a read of the body, so that temporary files are removed', async () => {
    const path = script(`async (environ, startResponse) => {
      const { setTimeout: sleep } = require('node:timers/promises')
      const write = startResponse('200 OK', [])
      await write('ready')
      try {
        for await (const chunk of environ['wsgi.input'].chunks()) await sleep(20)
      } finally {
        ${log('removed')}
      }
      return []
    }`)
    const env = { ...REQUEST, CONTENT_LENGTH: '1000000' }
    const child = start(path, { env }, ['pipe', 'pipe', 'pipe'])
    child.stdin?.write(Buffer.alloc(60_000)) // And no more: a read would block.
    child.stdout?.once('data', () => setTimeout(() => child.kill('SIGTERM'), 30))
    expect((await responseOf(child)).stderr).toBe('removed\n')
  })

  test('aborts an application that waits before its response', async () => {
    const path = script(`async (environ, startResponse) => {
      const waits = new Promise((resolve) => setTimeout(resolve, 8_000))
      const gone = new Promise((resolve) => environ['portico.signal'].addEventListener('abort', resolve))
      fs.writeSync(2, 'waits, ')
      await Promise.race([waits, gone])
      ${log('aborted')}
      process.exit()
    }`)
    const child = start(path, {}, ['ignore', 'pipe', 'pipe'])
    child.stderr?.once('data', () => setTimeout(() => child.kill('SIGTERM'), 30))
    expect((await responseOf(child)).stderr).toBe('waits, aborted\n')
  })

  test('ends a script that keeps running within 3 s', async () => {
    const path = script(`(environ, startResponse) => {
      setInterval(() => {}, 10)
      void startResponse('200 OK', [])('ready')
      return new Promise(() => {})
    }`)
    const child = start(path, {}, ['ignore', 'pipe', 'pipe'])
    const ended = once(child, 'exit')
    await once(child.stdout!, 'data')
    const started = performance.now()
    child.kill('SIGTERM')
    await ended
    expect(performance.now() - started).toBeLessThan(10_000)
  })

  test('after a complete response lets the body close', async () => {
    const path = script(`(environ, startResponse) => {
      startResponse('200 OK', [['Content-Length', '1']])
      const body = ['x'][Symbol.iterator]()
      return { [Symbol.iterator]: () => body, close: async () => {
        await new Promise((resolve) => setTimeout(resolve, 100))
        ${log('closed')}
      } }
    }`)
    const child = start(path, {}, ['ignore', 'pipe', 'pipe'])
    child.stdout?.once('data', () => child.kill('SIGTERM'))
    expect((await responseOf(child)).stderr).toBe('closed\n')
  })
})

test.each([
  ['A timer that a script leaves running', 'setInterval(() => {}, 10)', ''],
  [
    'A body that never closes, with a timer,',
    'setInterval(() => {}, 10)',
    'close: () => new Promise(() => {}), ',
  ],
  ['A body that never closes', '', 'close: () => new Promise(() => {}), '],
])('%s delays neither the end of the response nor the exit', async (_, before, close) => {
  const path = script(
    `(environ, startResponse) => {
      ${before}
      const body = (${HELLO})(environ, startResponse)
      return { ${close}[Symbol.iterator]: () => body[Symbol.iterator]() }
    }`,
    'hasty',
  )
  const child = start(path, {}, ['pipe', 'pipe', 'pipe'])
  const order: string[] = []
  let logged = ''
  child.stdout?.resume().once('end', () => order.push('end of the response'))
  child.stderr?.on('data', (part) => (logged += String(part)))
  child.once('exit', () => order.push('exit'))
  await once(child, 'close')
  // Without a timer it is the exit that ends the response.
  expect(before === '' ? order.toSorted() : order).toEqual(['end of the response', 'exit'])
  expect([child.exitCode, logged]).toEqual([0, ''])
})
