/** `portico serve` for development, as a developer uses it. */
import { once } from 'node:events'
import { chmodSync, existsSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { Agent, get } from 'node:http'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { describe, expect, it, test } from 'vitest'
import { fastcgiClient, httpClient } from '../../src/exports/testing.ts'
import { eachTest, portico, PTY, textOf, type Portico } from './portico.ts'

const page = (text: string, type = 'text/html') =>
  `export default (environ, startResponse) => {
    startResponse('200 OK', [['Content-Type', '${type}']])
    return ['${text}']
  }`

const { cleanups, setUp, start } = eachTest({ args: ['serve', '--dev'], stop: 'SIGKILL' })

/** What a browser gets from an event stream until it ends. */
function openStream(
  url: string,
): Promise<{ readonly first: string; readonly ended: Promise<void> }> {
  return new Promise((resolve, reject) => {
    get(url, { agent: new Agent() }, (response) => {
      const ended = once(response, 'close').then(() => undefined)
      response.setEncoding('utf8').once('data', (first: string) => resolve({ first, ended }))
    }).on('error', reject)
  })
}

describe('In development', () => {
  it('says in the first line where it listens, how long it took, and how many files it watches', async () => {
    const { path } = setUp({
      'app.mjs': `import './other.mjs'; ${page('one', 'text/plain')}`,
      'other.mjs': '',
      'package.json': '{}',
    })
    const running = start(['--listen', ':0'], { cwd: path })
    const [line] = await running.printed(/.*\n/)
    expect(line).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/ ready in \d+ ms · watching 3 files\n$/)
    expect(await running.stop()).toBe(130)
    expect(running.output).toBe(line)
  })

  it('refuses no connection while the application is replaced after a change', async () => {
    const { path, write } = setUp({ 'app.mjs': page('version 0', 'text/plain') })
    const running = start(['app.mjs', '--listen', ':0'], { cwd: path })
    const url = await running.url()
    const seen = new Set([await textOf(url)])
    for (let version = 1; version <= 3; version += 1) {
      write('app.mjs', page(`version ${version}`, 'text/plain'))
      // No request fails: `textOf` rejects if one does.
      await expect
        .poll(
          async () => {
            const text = await textOf(url)
            seen.add(text)
            return text
          },
          { interval: 5 },
        )
        .toBe(`version ${version}`)
    }
    expect([...seen]).toEqual(['version 0', 'version 1', 'version 2', 'version 3'])
  })

  it('shows a syntax error with its line, and serves again after the next save', async () => {
    const { path, write } = setUp({ 'app.mjs': page('works'), 'part.mjs': '' })
    const running = start(['--listen', ':0'], { cwd: path })
    const url = await running.url()
    write('app.mjs', `import './part.mjs'\n${page('works')}`)
    await running.printed(/app\.mjs changed: ready in/)
    write('part.mjs', '\nconst x = = 5\n')
    await running.printed(/part\.mjs changed: does not load: waiting for a change/)
    const response = await fetch(url, { headers: { Accept: 'text/html' } })
    expect(response.status).toBe(500)
    const text = await response.text()
    expect(text).toMatch(/part\.mjs:2\n/)
    expect(text).toContain('const x = = 5')
    // The page reloads itself as soon as the file loads.
    expect(text).toContain('<script src="/.portico/live.js"></script>')
    expect(response.headers.get('content-security-policy')).toContain("connect-src 'self'")
    expect(running.output).toContain('const x = = 5')
    write('part.mjs', '')
    await expect.poll(() => textOf(url)).toContain('works')
  })

  it('logs an error of loading once, also if requests come over a Unix socket', async () => {
    const { path } = setUp({ 'app.mjs': 'const x = = 5\n' })
    const address = { path: join(path, 'app.sock') }
    const running = start(['--listen', `unix:${address.path}`], { cwd: path })
    await running.printed(/does not load: waiting for a change/)
    for (let i = 0; i < 2; i += 1) {
      const response = await httpClient(address).request({ target: '/' })
      expect([response.status, Buffer.from(response.body).toString()]).toEqual([
        '500 Internal Server Error',
        'The application does not load. The terminal of portico serve shows the error.\n',
      ])
    }
    expect(await running.stop()).toBe(130)
    expect(running.output.split('SyntaxError')).toHaveLength(2)
  })

  it('shows the lines around an error of the file itself', async () => {
    const { path } = setUp({ 'app.mjs': '// one\n// two\nundefined.three\n// four\n' })
    const running = start(['--listen', ':0'], { cwd: path })
    const text = await textOf(await running.url())
    expect(text).toContain("TypeError: Cannot read properties of undefined (reading 'three')")
    expect(text).toContain('    2 | // two\n  > 3 | undefined.three\n    4 | // four\n')
    expect(text).not.toMatch(/node:internal|load-hosted|child\.cjs/)
  })

  it('checks the application, unless --no-validate is given, and shows errors to this machine only', async () => {
    const { path } = setUp({
      'app.mjs': `export default (environ, startResponse) => {
        if (environ.PATH_INFO === '/throw') throw new Error('of a request')
        startResponse('200 OK', [])
        return ['page']
      }`,
    })
    const socket = join(path, 'app.sock')
    const listen = ['--listen', ':0', '--listen', `fastcgi://unix:${socket}`]
    const running = start(listen, { cwd: path })
    const url = await running.url()
    expect(await textOf(url)).toContain('No Content-Type header found')
    expect(await textOf(`${url}throw`)).toContain('Error: of a request')
    for (const [address, shown] of [
      ['127.0.0.1', 'Error: of a request'],
      ['192.0.2.1', 'A server error occurred'],
    ] as const) {
      const flags = ['--param', `REMOTE_ADDR=${address}`, '-o', 'body']
      await portico(['request', `fastcgi://unix:${socket}:/throw`, ...flags], { cwd: path }).ended
      const body = readFileSync(join(path, 'body'), 'utf8')
      expect(body).toContain(shown)
      expect(body.includes('of a request')).toBe(address === '127.0.0.1')
    }
    await running.stop()
    const unchecked = start(['--no-validate', '--listen', ':0'], { cwd: path })
    expect(await textOf(await unchecked.url())).toBe('page')
  })

  it.each([
    ['import', 'app.mjs', `import './later.mjs'\n${page('works')}`, 'later.mjs', ''],
    [
      'require',
      'app.cjs',
      `module.exports = require('./later')`,
      'later.js',
      `module.exports = (environ, startResponse) => { startResponse('200 OK', [['Content-Type', 'text/plain']]); return ['works'] }`,
    ],
  ])(
    'starts when the file that %s does not find is created',
    async (_, file, text, later, content) => {
      const { path, write } = setUp({ [file]: text })
      const running = start([file, '--listen', ':0'], { cwd: path })
      const url = await running.url()
      expect(await textOf(url)).toContain('Cannot find module')
      write(later, content)
      await expect.poll(() => textOf(url)).toContain('works')
    },
  )

  it('starts again after a change of a file that blocks it while it loads', async () => {
    const { path, write } = setUp({
      'app.cjs': `require('node:fs').writeFileSync(__dirname + '/blocked', '')
        require('./part.cjs')
        module.exports = require('./page.cjs')`,
      'page.cjs': page('works').replace('export default', 'module.exports ='),
      'part.cjs': 'while (true);',
    })
    const running = start(['app.cjs', '--listen', ':0'], { cwd: path })
    await expect.poll(() => existsSync(join(path, 'blocked'))).toBe(true)
    write('part.cjs', '')
    expect(await textOf(await running.url())).toContain('works')
  })

  it('polls the files with --poll', async () => {
    const { path, write } = setUp({ 'app.mjs': page('one') })
    const running = start(['--poll', '--listen', ':0'], { cwd: path })
    const url = await running.url()
    write('app.mjs', page('another'))
    await expect.poll(() => textOf(url)).toContain('another')
  })

  it('starts the application again when it has ended, and shows the error of one that ends at once', async () => {
    const { path, write } = setUp({
      'app.mjs': `setTimeout(() => { throw new Error('at once') }, 5); ${page('works')}`,
    })
    const running = start(['--listen', ':0'], { cwd: path })
    const url = await running.url()
    await expect.poll(() => textOf(url).catch(() => '')).toContain('Error: at once')
    write('app.mjs', page('works'))
    await expect.poll(() => textOf(url)).toContain('works')
  })

  it('takes the next free port if none was asked for, and complains about one that was', async () => {
    const { path } = setUp({ 'app.mjs': page('one') })
    const first = start([], { cwd: path })
    const second = start([], { cwd: path })
    const urls = [await first.url(), await second.url()]
    expect(new Set(urls).size).toBe(2)
    const holder = createServer().listen(0, '127.0.0.1')
    await once(holder, 'listening')
    cleanups.push(() => holder.close())
    const { port } = holder.address() as AddressInfo
    const third = start(['--listen', `:${port}`], { cwd: path })
    expect(await third.ended).toBe(1)
    expect(third.output).toMatch(
      /^portico: --listen: ':\d+': in use by another process \(EADDRINUSE\)\. .* another port: --listen :\d+\n$/,
    )
    expect(third.output).toContain(`: --listen :${port + 1}\n`)
  })

  it('serves over several gateways at once', async () => {
    const { path } = setUp({ 'app.mjs': page('one') })
    const socket = join(path, 'app.sock')
    const running = start(['--listen', ':0', '--listen', `fastcgi://unix:${socket}`], { cwd: path })
    await running.printed(new RegExp(`FastCGI on unix:${socket} `))
    const { body } = await fastcgiClient({ path: socket }).request({ target: '/' })
    expect(body.toString()).toContain('one')
    expect(await textOf(await running.url())).toContain('one')
    await running.stop()
    expect(() => rmSync(socket)).toThrow('ENOENT')
  })
})

describe('Live reload', () => {
  test.each([
    ['an application', 'app.mjs', page('<p>page</p>')],
    [
      'Express',
      'app.mjs',
      `import express from 'express'
      const app = express()
      app.get('/', (req, res) => res.send('<p>page</p>'))
      export default app`,
    ],
    [
      'a streaming http.Server',
      'app.mjs',
      `import { createServer } from 'node:http'
      createServer((req, res) => {
        res.writeHead(200, { 'Content-Type': 'text/html', 'Content-Length': 11 })
        res.write('<p>pa')
        setTimeout(() => res.end('ge</p>'), 10)
      }).listen(3000)`,
    ],
    [
      'a generator',
      'app.mjs',
      `export default async function* app(environ, startResponse) {
        startResponse('200 OK', [['Content-Type', 'text/html']])
        yield '<p>page</p>'
      }`,
    ],
  ])('%s: a page gets the script, whose stream names the process', async (_, file, text) => {
    const { path, write } = setUp({ [file]: text })
    const running = start(['--listen', ':0'], { cwd: path })
    const url = await running.url()
    expect(await textOf(url)).toBe('<p>page</p><script src="/.portico/live.js"></script>\n')
    const script = await fetch(`${url}.portico/live.js`)
    expect(script.headers.get('content-type')).toBe('text/javascript; charset=utf-8')
    expect(await script.text()).toContain('EventSource')
    const before = await openStream(`${url}.portico/live`)
    expect(before.first).toMatch(/^retry: \d+\ndata: [\d-]+\n\n$/)
    write(file, `${text}\n`)
    await before.ended
    // A stream that the old process still accepted has no name, and ends.
    await expect
      .poll(async () => (await openStream(`${url}.portico/live`)).first)
      .toMatch(/^retry: \d+\ndata: /)
    expect((await openStream(`${url}.portico/live`)).first).not.toBe(before.first)
  })

  test.each([
    ['text that is not HTML', "[['Content-Type', 'text/plain']]"],
    ['encoded HTML', "[['Content-Type', 'text/html'], ['Content-Encoding', 'br']]"],
    [
      'HTML whose policy demands a nonce',
      `[['Content-Type', 'text/html'], ['Content-Security-Policy', "script-src 'nonce-abc'"]]`,
    ],
  ])('%s stays as it is', async (_, headers) => {
    const { path } = setUp({
      'app.mjs': `export default (environ, startResponse) => { startResponse('200 OK', ${headers}); return ['page'] }`,
    })
    const running = start(['--listen', ':0'], { cwd: path })
    const { port } = new URL(await running.url())
    const { body } = await raw(Number(port))
    expect(body).toBe('page')
  })

  test('--no-live leaves every page as it is', async () => {
    const { path } = setUp({ 'app.mjs': page('page') })
    const running = start(['--no-live', '--listen', ':0'], { cwd: path })
    expect(await textOf(await running.url())).toBe('page')
  })
})

/** Fetch would decode the body. */
async function raw(port: number): Promise<{ readonly body: string }> {
  return new Promise((resolve, reject) => {
    get({ port, host: '127.0.0.1', agent: new Agent() }, (response) => {
      let body = ''
      response.setEncoding('latin1').on('data', (text: string) => (body += text))
      response.once('end', () => resolve({ body }))
    }).on('error', reject)
  })
}

/** A pattern in which ESC[ begins a control sequence. */
const coloured = (text: string) => new RegExp(text.replaceAll('ESC[', '\\x1b\\['))

/** On a terminal, without colours. */
function onTerminal(path: string, env: NodeJS.ProcessEnv = {}): Portico {
  const running = portico(['app.mjs', '--listen', ':0'], {
    cwd: path,
    program: PTY,
    env: { TERM: 'xterm', NO_COLOR: '1', ...env },
  })
  cleanups.push(() => running.stop('SIGKILL'))
  return running
}

describe('On a terminal', () => {
  it('serves for development, logs in colour, and ends at Ctrl-C', async () => {
    const { path } = setUp({ 'app.mjs': page('one') })
    const running = portico(['app.mjs', '--listen', ':0'], {
      cwd: path,
      program: PTY,
      env: { TERM: 'xterm', NO_COLOR: '' },
    })
    cleanups.push(() => running.stop('SIGKILL'))
    const [, url = ''] = await running.printed(coloured('ESC[1m(http:\\S+/)ESC[22m ready in'))
    await textOf(url)
    await running.printed(coloured('ESC[32m200ESC[39m GET / '))
    running.child.stdin!.write('\x03')
    expect(await running.ended).toBe(130)
  })

  it('uses no colours if NO_COLOR is set', async () => {
    const { path } = setUp({ 'app.mjs': page('one') })
    const running = portico(['app.mjs', '--listen', ':0'], {
      cwd: path,
      program: PTY,
      env: { TERM: 'xterm', NO_COLOR: '1' },
    })
    cleanups.push(() => running.stop('SIGKILL'))
    await textOf(await running.url())
    await running.printed(/^200 GET \/ /m)
    expect(running.output).not.toContain('\x1b')
    running.child.stdin!.write('\x03')
    expect(await running.ended).toBe(130)
  })

  it('takes keys: h shows them, r restarts the application, q ends with code 0', async () => {
    const { path } = setUp({ 'app.mjs': page('one') })
    const running = onTerminal(path)
    const url = await running.url()
    await running.printed(/ · watching \d+ files · h \+ Enter shows the keys\r\n/)
    running.child.stdin!.write('h\n')
    await running.printed(
      /  r \+ Enter  restart the application\r\n  o \+ Enter .*\r\n  q \+ Enter  quit\r\n  h \+ Enter .*\r\n/,
    )
    const stream = await openStream(`${url}.portico/live`)
    running.child.stdin!.write('r\n')
    await running.printed(/Restart: ready in \d+ ms\r\n/)
    await stream.ended
    expect(await textOf(url)).toContain('one')
    running.child.stdin!.write('q\n')
    expect(await running.ended).toBe(0)
  })

  it('opens the URL with o, or says what is missing', async () => {
    const { path, write } = setUp({ 'app.mjs': page('one'), 'bin/empty': '' })
    const bin = join(path, 'bin')
    // The terminal's own program.
    symlinkSync('/usr/bin/python3', join(bin, 'python3'))
    const running = onTerminal(path, { PATH: bin })
    const url = await running.url()
    running.child.stdin!.write('o\n')
    await running.printed(/xdg-open cannot be started\. Open http:\S+ yourself/)
    write('bin/xdg-open', `#!/bin/sh\necho "$1" > "${path}/opened"\n`)
    chmodSync(join(bin, 'xdg-open'), 0o755)
    running.child.stdin!.write('o\n')
    await expect
      .poll(() => readFileSync(join(path, 'opened'), { encoding: 'utf8', flag: 'a+' }))
      .toBe(`${url}\n`)
  })

  it('passes other lines to the application', async () => {
    const { path } = setUp({
      'app.mjs': `process.stdin.on('data', (text) => console.log('application got ' + text))
        ${page('one')}`,
    })
    const running = onTerminal(path)
    await running.url()
    running.child.stdin!.write('hello\n')
    await running.printed(/application got hello/)
  })

  it('reads no keys if its stdin is not a terminal', async () => {
    const { path } = setUp({ 'app.mjs': page('one') })
    const running = start(['--listen', ':0'], { cwd: path })
    await running.url()
    running.child.stdin!.write('q\n')
    expect(await textOf(await running.url())).toContain('one')
    expect(running.output).not.toContain('Enter')
  })
})
