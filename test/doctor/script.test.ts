/** The doctor on scripts and sockets that are broken on purpose, one fault each. */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, describe, expect, it, test } from 'vitest'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import { HTTPHandler } from '../../handlers/http.ts'
import { SCGIHandler } from '../../handlers/scgi.ts'
import { main } from '../../src/command/main.ts'
import type { Application } from '../../src/types.ts'

const directory = mkdtempSync(join(tmpdir(), 'portico-doctor-'))
chmodSync(directory, 0o755)
afterAll(() => rmSync(directory, { recursive: true }))

const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close()
})

interface Report {
  failures: number
  findings: { level: string; check: string; message: string; fix?: string }[]
}

async function doctor(...args: string[]): Promise<{ code: number; report: Report }> {
  let out = ''
  const code = await main(['doctor', '--json', ...args], {
    out: (text) => (out += text),
    err: () => {},
  })
  return { code, report: JSON.parse(out) as Report }
}

let count = 0
function script(text: string, { mode = 0o755, name = 'x.cgi', manifest = '{}' } = {}): string {
  const parent = join(directory, String(count++))
  mkdirSync(parent)
  writeFileSync(join(parent, 'package.json'), manifest)
  const file = join(parent, name)
  writeFileSync(file, text)
  chmodSync(file, mode)
  return file
}

const SHEBANG = `#!${process.execPath}\n`
const GOOD = `#!${process.execPath}\nconsole.log('Content-Type: text/plain\\n\\nhello')\n`

test('portico doctor finds nothing wrong with a script that works', async () => {
  const { code, report } = await doctor(script(GOOD))
  expect(report.findings.filter(({ level }) => level === 'failure')).toEqual([])
  expect(code).toBe(0)
})

/** A directory with a program that says that it is Node 16. */
function oldNode(): string {
  const parent = join(directory, 'old')
  mkdirSync(parent, { recursive: true })
  writeFileSync(join(parent, 'node'), '#!/bin/sh\necho v16.20.2\n', { mode: 0o755 })
  return parent
}

describe('portico doctor names the fault of a script:', () => {
  it.each<[fault: string, text: string, options: object, check: string, message: RegExp]>([
    ['not executable', GOOD, { mode: 0o644 }, 'mode', /not executable/],
    ['writable for others', GOOD, { mode: 0o777 }, 'mode', /others may write/],
    ['no shebang', 'import()\n', {}, 'shebang', /not #!/],
    ['a carriage return', `#!${process.execPath}\r\n`, {}, 'shebang', /carriage return/],
    ['a byte order mark', `\ufeff${GOOD}`, {}, 'shebang', /byte order mark/],
    ['a long interpreter', `#!/${'n'.repeat(300)}\n`, {}, 'shebang', /too long for the kernel/],
    ['a relative interpreter', '#!node\n', {}, 'shebang', /not an absolute path/],
    ['an interpreter that is not there', '#!/opt/none/node\n', {}, 'shebang', /does not exist/],
    ['env of a program outside the PATH', '#!/usr/bin/env no-such-node\n', {}, 'shebang', /PATH/],
    ['an old Node', '#!OLD/node\n', {}, 'node', /is Node 16\.20; Portico needs 20\.19/],
    [
      'a word before its headers',
      `${SHEBANG}console.log('listening')\n`,
      {},
      'output',
      /"listening" before/,
    ],
    [
      'no empty line after its headers',
      `${SHEBANG}console.log('Status: 200 OK')`,
      {},
      'output',
      /no empty line/,
    ],
    [
      'no Content-Type',
      `${SHEBANG}console.log('X-A: b\\n\\nhello')`,
      {},
      'output',
      /neither Content-Type/,
    ],
    [
      'a package that is not there',
      `${SHEBANG}require('no-such')`,
      {},
      'run',
      /Cannot find module 'no-such'/,
    ],
    ['an error', `${SHEBANG}throw new TypeError('broken')`, {}, 'run', /TypeError: broken/],
    ['no response', SHEBANG, {}, 'run', /without a response: exit code 0/],
    ['a 500', `${SHEBANG}console.log('Status: 500 No\\n\\n')`, {}, 'run', /responds with a 500/],
    ['a module above it', GOOD, { manifest: '{"type":"module"}' }, 'module', /"type": "module"/],
    ['a package.json that is not JSON', GOOD, { manifest: '{' }, 'module', /package\.json/],
  ])('%s', async (_, text, options, check, message) => {
    const { code, report } = await doctor(script(text.replace('OLD', oldNode()), options))
    const failures = report.findings.filter(({ level }) => level === 'failure')
    expect(failures).toEqual([
      expect.objectContaining({ check, message: expect.stringMatching(message) }),
    ])
    expect(code).toBe(1)
  })
})

describe('portico doctor shows the fix for', () => {
  const syntax = 'const a = 1\nconst b = ;\nexport default a\n'
  it.each([
    [
      'an ES module in a .cgi file',
      'hello.cgi',
      `${SHEBANG}import 'node:fs'\n`,
      /outside a module|Unknown file extension/,
      /^mv (\S+)hello\.cgi \1hello\.mjs # or use require/,
    ],
    [
      'a script that throws',
      'throws.cgi',
      `${SHEBANG}throw new TypeError('broken')\n`,
      /TypeError: broken/,
      /^correct \/\S+throws\.cgi:2: throw new TypeError\('broken'\)$/,
    ],
    [
      'a module with a syntax error',
      'bad.mjs',
      syntax,
      /cannot be loaded: SyntaxError: Unexpected token ';'$/,
      /^correct \/\S+bad\.mjs:2: const b = ;$/,
    ],
    [
      'a module whose package is not in package.json',
      'needs.mjs',
      `import '@scope/none/sub'\n`,
      /^\/\S+needs\.mjs:1 imports the package '@scope\/none', which is not installed$/,
      /^npm install @scope\/none # in \//,
    ],
    [
      'a module with a wrong path',
      'path.mjs',
      `import './none.mjs'\n`,
      /Cannot find module '\/\S+none\.mjs'/,
      /^correct the path \/\S+none\.mjs, or create the file$/,
    ],
    [
      'a module without an application',
      'library.mjs',
      'export const helper = 1\n',
      /^\/\S+library\.mjs exports no application.* \(exported: helper\)$/,
      /^correct the application$/,
    ],
    [
      'an application that throws',
      'fails.mjs',
      `export default () => {\n  throw new Error('boom')\n}\n`,
      /responds to a GET of \/ with a 500: GET \/: Error: boom$/,
      /^correct \/\S+fails\.mjs:2: throw new Error\('boom'\)$/,
    ],
    [
      'a function that creates an application',
      'creates.mjs',
      'export default function create() { return (environ, startResponse) => [] }\n',
      /with a 500: .*A function that creates an application is not one/,
      /^correct the application$/,
    ],
  ])('%s', async (_, name, text, message, fix) => {
    const home = mkdtempSync(join(directory, 'fix-'))
    chmodSync(home, 0o755)
    writeFileSync(join(home, 'package.json'), '{}')
    const file = join(home, name)
    writeFileSync(file, text, { mode: name.endsWith('.cgi') ? 0o755 : 0o644 })
    const start = performance.now()
    const { code, report } = await doctor(file)
    // It does not wait for a response of a process that has ended.
    expect(performance.now() - start).toBeLessThan(9_000)
    expect(report.findings.filter(({ level }) => level === 'failure')).toEqual([
      {
        level: 'failure',
        check: expect.stringMatching(/^(?:run|application)$/) as string,
        message: expect.stringMatching(message) as string,
        fix: expect.stringMatching(fix) as string,
      },
    ])
    expect(code).toBe(1)
  })

  it('a package that package.json has, and that is not installed', async () => {
    const home = mkdtempSync(join(directory, 'listed-'))
    writeFileSync(join(home, 'package.json'), '{"dependencies":{"none-such":"1"}}')
    writeFileSync(join(home, 'app.mjs'), "import 'none-such'\n")
    const { report } = await doctor(join(home, 'app.mjs'))
    expect(report.findings[0]).toMatchObject({ fix: `npm install # in ${home}` })
    writeFileSync(join(home, 'package-lock.json'), '{}')
    const locked = await doctor(join(home, 'app.mjs'))
    expect(locked.report.findings[0]).toMatchObject({ fix: `npm ci # in ${home}` })
  })
})

test('portico doctor sends the application of a module one request', async () => {
  const file = join(directory, 'application.mjs')
  writeFileSync(
    file,
    "export default (environ, startResponse) => { startResponse('404 Not Found', []); return [] }\n",
  )
  const { code, report } = await doctor(file)
  expect(report.findings).toEqual([
    {
      level: 'ok',
      check: 'application',
      message: `${file} loads, and responds to a GET of / with a 404`,
    },
  ])
  expect(code).toBe(0)
})

test('the command that portico doctor shows for a carriage return fixes the script', async () => {
  const file = script(GOOD.replaceAll('\n', '\r\n'))
  const { report } = await doctor(file)
  execFileSync('sh', ['-c', report.findings.find(({ check }) => check === 'shebang')!.fix!])
  expect((await doctor(file)).code).toBe(0)
})

const hello: Application = (_environ, startResponse) => {
  startResponse('200 OK', [])
  return ['hello']
}

describe('portico doctor finds the protocol of a socket:', () => {
  it.each([
    ['fastcgi', FastCGIHandler],
    ['scgi', SCGIHandler],
    ['http', HTTPHandler],
  ] as const)('%s', async (gateway, Handler) => {
    const path = join(directory, `${gateway}.sock`)
    const server = await new Handler({ listen: `unix:${path}`, mode: 0o666 }).run(hello)
    closers.push(() => server.close())
    const { code, report } = await doctor(`unix:${path}`, '--gateway', gateway)
    expect(report.findings.find(({ check }) => check === 'protocol')).toMatchObject({
      level: 'ok',
      message: `the process speaks ${gateway}`,
    })
    expect(code).toBe(0)

    const other = gateway === 'http' ? 'fastcgi' : 'http'
    const wrong = await doctor(`unix:${path}`, '--gateway', other)
    expect(wrong.report.findings.find(({ check }) => check === 'protocol')).toMatchObject({
      level: 'failure',
      message: `the process speaks ${gateway}, and the web server expects ${other}`,
    })
    expect(wrong.code).toBe(1)
  })
})

describe('portico doctor names the fault of a socket:', () => {
  it('the file is not there', async () => {
    const { report } = await doctor(`unix:${join(directory, 'none.sock')}`)
    expect(report.findings).toMatchObject([
      { level: 'failure', check: 'socket', message: expect.stringContaining('does not exist') },
    ])
  })

  it('its directory is not there', async () => {
    const { report } = await doctor(`unix:${join(directory, 'gone/deep/x.sock')}`)
    expect(report.findings[0]).toMatchObject({
      message: `the directory ${join(directory, 'gone')} does not exist`,
      fix: `install -d ${join(directory, 'gone')}`,
    })
  })

  it('it is a file', async () => {
    const path = join(directory, 'file.sock')
    writeFileSync(path, '')
    const { report } = await doctor(`unix:${path}`)
    expect(report.findings[0]).toMatchObject({
      level: 'failure',
      message: `${path} is not a socket`,
    })
  })

  it('its process has been killed', async () => {
    const path = join(directory, 'stale.sock')
    const child = spawn(process.execPath, [
      '-e',
      `require('net').createServer().listen(${JSON.stringify(path)}, () => console.log(1))`,
    ])
    await once(child.stdout, 'data')
    child.kill('SIGKILL')
    await once(child, 'exit')
    const { report } = await doctor(`unix:${path}`)
    expect(report.findings.at(-1)).toMatchObject({
      check: 'listening',
      message: `nothing listens on ${path}: the process has ended`,
    })
  })

  it('no process listens on a port', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as { port: number }
    server.close()
    await once(server, 'close')
    const { code, report } = await doctor(`127.0.0.1:${port}`)
    expect(report.findings[0]).toMatchObject({ check: 'listening', level: 'failure' })
    expect(code).toBe(1)
  })

  it('the process does not respond', async () => {
    const path = join(directory, 'silent.sock')
    const server = createServer(() => {}).listen(path)
    closers.push(() => server.close())
    await once(server, 'listening')
    const { report } = await doctor(`unix:${path}`, '--user', 'root')
    expect(report.findings.at(-1)).toMatchObject({
      check: 'protocol',
      message: expect.stringContaining('does not respond'),
    })
  })

  it.skipIf(process.getuid?.() !== 0)(
    'its mode, and a directory that the user cannot enter',
    async () => {
      const parent = join(directory, 'closed')
      mkdirSync(parent)
      const path = join(parent, 'app.sock')
      const server = await new FastCGIHandler({ listen: `unix:${path}`, mode: 0o600 }).run(hello)
      closers.push(() => server.close())
      const mode = await doctor(`unix:${path}`, '--user', 'www-data')
      expect(mode.report.findings[1]).toMatchObject({
        level: 'failure',
        check: 'access',
        message: expect.stringContaining('www-data has no write permission'),
      })
      chmodSync(parent, 0o700)
      const entry = await doctor(`unix:${path}`, '--user', 'www-data')
      expect(entry.report.findings[1]).toMatchObject({
        message: `www-data cannot enter ${parent}, so the web server cannot reach the socket`,
        fix: `chmod o+x ${parent}`,
      })
    },
  )
})
