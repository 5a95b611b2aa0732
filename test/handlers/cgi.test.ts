import { Buffer } from 'node:buffer'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, constants, existsSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { temporaryFolder } from '../server/child.ts'
import {
  answerOf,
  bundleCGI,
  request,
  REQUEST,
  shell,
  start,
  writeScript,
  type Call,
} from '../support/cgi.ts'

const folder = temporaryFolder()
beforeAll(async () => bundleCGI(folder.path))
afterAll(folder.remove)

const inFolder = (name: string) => join(folder.path, name)
let scripts = 0
const script = (application: string, build?: string) =>
  writeScript(folder.path, `script-${(scripts += 1)}`, application, build)
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
const tell = (keys: string[]) => `(environ, startResponse) => {
  startResponse('200 OK', [])
  return [JSON.stringify(${JSON.stringify(keys)}.map((key) => environ[key]))]
}`
/** 3,000,000 bytes in chunks, then whatever is said. */
const LONG = (then: string) => `async function* (environ, startResponse) {
  startResponse('200 OK', [])
  for (let i = 0; i < 30; i += 1) yield Buffer.alloc(100_000, 'x')
  ${then}
}`
const HEAD = 'Status: 200 OK\r\n\r\n'
const ERROR_PAGE =
  'Status: 500 Internal Server Error\r\nContent-Type: text/plain\r\nContent-Length: 59\r\n\r\n' +
  'A server error occurred.  Please contact the administrator.'

const bodyOf = (answer: { stdout: string }) =>
  answer.stdout.slice(answer.stdout.indexOf('\r\n\r\n') + 4)

describe('a CGI script', () => {
  test('answers with a CGI head and a body, and not a word else', async () => {
    expect(await run(HELLO)).toEqual({
      code: 0,
      stdout:
        'Status: 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\r\nHello, world!\n',
      stderr: '',
    })
  })

  test('starts with an empty environment (fact 285)', async () => {
    const keys = ['REQUEST_METHOD', 'SCRIPT_NAME', 'PATH_INFO', 'SERVER_NAME', 'SERVER_PORT']
    const answer = await run(tell(keys), { env: {} })
    expect(JSON.parse(bodyOf(answer))).toEqual(['GET', '', '', 'localhost', '80'])
  })

  test('runs once, as one process of several (fact 166)', async () => {
    const keys = ['wsgi.run_once', 'wsgi.multiprocess', 'wsgi.multithread', 'portico.gateway']
    expect(JSON.parse(bodyOf(await run(tell(keys))))).toEqual([true, true, false, 'cgi'])
  })

  test('takes nothing from its arguments (facts 171, 284; CVE-2012-1823)', async () => {
    const args = ['--inspect', '-e', '1', 'REQUEST_METHOD=POST']
    const answer = await run(tell(['REQUEST_METHOD']), { args })
    expect([answer.code, bodyOf(answer), answer.stderr]).toEqual([0, '["GET"]', ''])
  })

  test('sees the exact bytes of its environment (fact 282)', async () => {
    const path = script(tell(['PATH_INFO', 'REMOTE_USER', 'QUERY_STRING']))
    const answer = await shell(
      `PATH_INFO="/$(printf '\\200\\377')" REMOTE_USER="$(printf 'caf\\303\\251')" ` +
        `QUERY_STRING='a=b
=c' "$NODE" ${path}`,
    )
    expect(JSON.parse(Buffer.from(bodyOf(answer), 'latin1').toString())).toEqual([
      '/\x80\xff',
      'caf\xc3\xa9',
      'a=b\n=c',
    ])
  })

  test('never sees HTTP_PROXY, nor does what it calls (httpoxy)', async () => {
    const application = `(environ, startResponse) => {
      startResponse('200 OK', [])
      return [JSON.stringify(['HTTP_PROXY' in environ, 'HTTP_PROXY' in process.env])]
    }`
    const env = { ...REQUEST, HTTP_PROXY: 'http://evil.example/' }
    expect(bodyOf(await run(application, { env }))).toBe('[false,false]')
  })

  test('loads no module that Node has not loaded already', async () => {
    const path = script(`new CGIHandler().run(${HELLO})`)
    const list = `require('node:fs').writeSync(2, JSON.stringify(process.moduleLoadList))`
    const modules = async (file: string): Promise<string[]> => {
      const code = `process.on('exit', () => { ${list} })\n${file && `require('${file}')`}`
      const answer = await request(writeScript(folder.path, `modules-${(scripts += 1)}`, code, ''))
      return JSON.parse(answer.stderr) as string[]
    }
    const before = new Set(await modules(''))
    const after = await modules(path)
    expect(after.filter((name) => !before.has(name))).toEqual([])
    for (const name of ['net', 'http', 'crypto', 'zlib', 'child_process', 'tty', 'stream/web']) {
      expect(after).not.toContain(`NativeModule ${name}`)
    }
  })

  test('under IIS cuts the script off the path (wsgiref IISCGIHandler)', async () => {
    const application = `new IISCGIHandler().run(${tell(['SCRIPT_NAME', 'PATH_INFO'])})`
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

describe('the body of a CGI request', () => {
  test('is read from a pipe, up to CONTENT_LENGTH', async () => {
    const env = { ...REQUEST, CONTENT_LENGTH: '200000' }
    const body = 'ab\xff\0'.repeat(50_000)
    const answer = await run(ECHO, { env, body: `${body}and more` })
    expect(bodyOf(answer) === body).toBe(true)
  })

  test('that ends early is a 400, not a short read (fact 244)', async () => {
    const answer = await run(ECHO, { env: { ...REQUEST, CONTENT_LENGTH: '10' }, body: 'short' })
    expect(answer.stdout).toContain('Status: 400 Bad Request')
    expect(answer.stderr).toContain('PORTICO_BODY_CUT_SHORT')
  })

  test('may be missing although stdin stays open (fact 159)', async () => {
    const child = start(script(ECHO), {}, ['pipe', 'pipe', 'pipe'])
    expect(await answerOf(child)).toMatchObject({ code: 0, stderr: '' })
  })

  test('may stay open behind CONTENT_LENGTH (fact 280)', async () => {
    const env = { ...REQUEST, CONTENT_LENGTH: '5' }
    const child = start(script(ECHO), { env }, ['pipe', 'pipe', 'pipe'])
    child.stdin?.write('hello and no end')
    expect(bodyOf(await answerOf(child))).toBe('hello')
  })

  test('need not be read', async () => {
    const env = { ...REQUEST, CONTENT_LENGTH: '1000000' }
    const answer = await run(HELLO, { env, body: 'x'.repeat(1_000_000) })
    expect([answer.code, bodyOf(answer), answer.stderr]).toEqual([0, 'Hello, world!\n', ''])
  })

  test('comes by the socket by which the answer goes, as under mod_cgid (fact 279)', async () => {
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
  const path = inFolder(`socket-${(scripts += 1)}`)
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

describe('the answer of a CGI script', () => {
  test('of 8 MiB arrives whole through a slow pipe (fact 277)', async () => {
    const path = script(`(environ, startResponse) => {
      startResponse('200 OK', [])
      return [Buffer.alloc(8 * 1024 * 1024, 'abcdefgh')]
    }`)
    const { stdout, stderr } = await shell(`"$NODE" ${path} | { sleep 0.2; cat; }`)
    expect(stderr).toBe('')
    expect(bodyOf({ stdout }) === 'abcdefgh'.repeat(1024 * 1024)).toBe(true)
  })

  test('arrives whole and in order through a pipe that does not block', async () => {
    const path = script(`(environ, startResponse) => {
      const write = startResponse('200 OK', [])
      for (let i = 0; i < 20; i += 1) void write(Buffer.alloc(40_000, String(i % 10)))
      return [Buffer.alloc(400_000, 'x')]
    }`)
    const fifo = inFolder('fifo')
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
    const [answer, { stdout }] = await Promise.all([answerOf(child), answerOf(reader)])
    const digits = Array.from({ length: 20 }, (_, i) => String(i % 10).repeat(40_000)).join('')
    expect(bodyOf({ stdout }) === digits + 'x'.repeat(400_000)).toBe(true)
    expect(answer).toEqual({ code: 0, stdout: '', stderr: '' })
  })

  test.each([
    ['in chunks', LONG('')],
    ['in one piece', `(e, s) => { s('200 OK', []); return [Buffer.alloc(3e6)] }`],
    [
      'by write()',
      `(e, s) => { const w = s('200 OK', []); w(Buffer.alloc(3e6)); w('x'); return [] }`,
    ],
  ])('%s is broken off quietly when nobody reads it (fact 281)', async (_, application) => {
    const marker = inFolder(`closed-${(scripts += 1)}`)
    const path = script(`(environ, startResponse) => {
      const body = (${application})(environ, startResponse)
      body.close = () => fs.writeFileSync('${marker}', '')
      return body
    }`)
    const answer = await shell(`{ "$NODE" ${path}; echo "code $?" >&2; } | head -c 1`)
    expect(answer.stderr).toBe('code 0\n')
    expect(existsSync(marker)).toBe(true)
  })

  test('may have nowhere to go', async () => {
    const answer = await shell(`"$NODE" ${script(HELLO)} >&-`)
    expect(answer).toEqual({ code: 0, stdout: '', stderr: '' })
  })

  test('does not need a log', async () => {
    const path = script(`() => { console.log('a'); throw new Error('b') }`)
    const answer = await shell(`"$NODE" ${path} 2>&-`)
    expect(answer).toEqual({ code: 0, stdout: ERROR_PAGE, stderr: '' })
  })

  test('is not mixed with what is printed', async () => {
    const answer = await run(`(environ, startResponse) => {
      console.log('one')
      process.stdout.write('two\\n')
      console.error('three')
      environ['wsgi.errors'].write('four\\n')
      startResponse('200 OK', [])
      return ['x']
    }`)
    expect(answer).toEqual({
      code: 0,
      stdout: 'Status: 200 OK\r\nContent-Length: 1\r\n\r\nx',
      stderr: 'one\ntwo\nthree\nfour\n',
    })
  })

  test('is not mixed with what is printed by a console that was used before', async () => {
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

  test('arrives whole although the script calls process.exit (fact 277)', async () => {
    const answer = await run(LONG('process.exit(0)'))
    expect([answer.code, answer.stderr]).toEqual([0, ''])
    expect(answer.stdout === HEAD + 'x'.repeat(3_000_000)).toBe(true)
  })
})

describe('an error that no handler could catch', () => {
  const sources: [string, string][] = [
    ['an uncaught exception', `setTimeout(() => { throw new Error('astray') }, 1)`],
    ['an unhandled rejection', `Promise.reject(new Error('astray'))`],
    ['an exception that is undefined', `setTimeout(() => { throw undefined }, 1)`],
  ]

  test.each(sources)(
    '%s before the head is a 500, exit code 1 (fact 278)',
    async (what, source) => {
      const answer = await run(`(environ, startResponse) => {
      startResponse('200 OK', [])
      ${source}
      return new Promise(() => setInterval(() => {}, 1000).unref())
    }`)
      expect(answer.stdout).toBe(ERROR_PAGE)
      expect(answer.code).toBe(1)
      if (!what.endsWith('undefined')) expect(answer.stderr).toMatch(/^GET \/: Error: astray\n/)
    },
  )

  test.each(sources)('%s after the head takes away nothing, exit code 1', async (_, source) => {
    const wait = 'await new Promise((resolve) => setTimeout(resolve, 50))'
    const answer = await run(LONG(`${source}; ${wait}; yield 'late'`))
    expect(answer.code).toBe(1)
    expect(answer.stdout === HEAD + 'x'.repeat(3_000_000)).toBe(true)
  })

  test('is answered at once, though the body waits and something runs on', async () => {
    const path = script(
      `async function* (environ, startResponse) {
        startResponse('200 OK', [])
        setInterval(() => {}, 10)
        setTimeout(() => { throw new Error('astray') }, 1)
        await new Promise(() => {})
      }`,
      'hasty',
    )
    const answer = await request(path)
    expect([answer.code, answer.stdout]).toEqual([1, ERROR_PAGE])
  })

  test('after the answer is logged, exit code 1', async () => {
    const answer = await run(`(environ, startResponse) => {
      setTimeout(() => { throw new Error('astray') }, 5)
      return (${HELLO})(environ, startResponse)
    }`)
    expect([answer.code, bodyOf(answer)]).toEqual([1, 'Hello, world!\n'])
    expect(answer.stderr).toMatch(/^Error: astray\n/)
  })

  test('a promise that nobody will ever settle is a 500', async () => {
    for (const application of [
      '() => new Promise(() => {})',
      'async function* (e, s) { s("200 OK", []); await new Promise(() => {}) }',
    ]) {
      const answer = await run(application)
      expect([answer.code, answer.stdout]).toEqual([1, ERROR_PAGE])
      expect(answer.stderr).toContain('The application never responded')
    }
  })

  test('an application that throws is a 500', async () => {
    const answer = await run(`() => { throw new Error('oops') }`)
    expect(answer.stdout).toBe(ERROR_PAGE)
    expect(answer.stderr).toMatch(/^GET \/: Error: oops\n/)
  })
})

test('what a script leaves running keeps neither client nor process', async () => {
  const path = script(
    `(environ, startResponse) => {
      setInterval(() => {}, 10)
      return (${HELLO})(environ, startResponse)
    }`,
    'hasty',
  )
  const child = start(path, {}, ['pipe', 'pipe', 'pipe'])
  const order: string[] = []
  child.stdout?.resume().once('end', () => order.push('end of the answer'))
  child.once('exit', () => order.push('exit'))
  await once(child, 'close')
  expect(order).toEqual(['end of the answer', 'exit'])
  expect(child.exitCode).toBe(0)
})
