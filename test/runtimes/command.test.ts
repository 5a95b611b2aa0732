/** What the command does on Bun and Deno, and what scripts print there. */
import { spawnSync } from 'node:child_process'
import { copyFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { temporaryDirectory } from '../server/child.ts'
import { bun, deno, type TestedRuntime } from '../support/runtimes.ts'

const directory = temporaryDirectory()
afterAll(directory.remove)

const COMMAND = resolve('bin/portico.cjs')
/** Milliseconds after which a command counts as hanging. */
const TIMEOUT = 25_000

beforeAll(() => {
  const write = (name: string, text: string) => writeFileSync(join(directory.path, name), text)
  copyFileSync('cgi-bin/portico.cjs', join(directory.path, 'portico.cjs'))
  write('package.json', '{ "type": "commonjs" }')
  write(
    'app.mjs',
    `export default (environ, startResponse) => {
       startResponse('200 OK', [['Content-Type', 'text/plain']])
       return [environ['portico.gateway'] + ' ' + environ.PATH_INFO + '\\n']
     }`,
  )
  for (const [name, application] of Object.entries(APPLICATIONS)) {
    write(
      `${name}.cgi`,
      `const { CGIHandler } = require('./portico.cjs')
       new CGIHandler().run(${application})`,
    )
  }
})

const APPLICATIONS = {
  prints: `(environ, startResponse) => {
    console.log('one %s', 1)
    process.stdout.write('two\\n')
    console.error('three')
    console.group('four')
    console.table([{ a: 1 }])
    console.groupEnd()
    require('node:fs').writeSync(1, 'five\\n')
    environ['wsgi.errors'].write('six\\n')
    startResponse('200 OK', [])
    return ['x']
  }`,
  native: `async (environ, startResponse) => {
    await Bun.write(Bun.stdout, 'one\\n')
    Bun.spawnSync(['echo', 'two'], { stdio: ['ignore', 'inherit', 'inherit'] })
    startResponse('200 OK', [])
    return ['x'.repeat(100_000)]
  }`,
  rejects: `(environ, startResponse) => {
    Promise.reject(new Error('astray'))
    return new Promise(() => setInterval(() => {}, 1000).unref())
  }`,
  hangs: '() => new Promise(() => {})',
  bytes: `(environ, startResponse) => {
    startResponse('200 OK', [])
    return [Buffer.from(environ.HTTP_X_BYTES, 'latin1').toString('hex')]
  }`,
  leaves: `(environ, startResponse) => {
    process.on('exit', () => {
      require('node:fs').writeSync(2, performance.now() < 20000 ? 'ended by itself' : 'late')
    })
    setTimeout(() => {}, ${process.platform === 'linux' ? 500 : 0})
    startResponse('200 OK', [])
    return ['x']
  }`,
}

function run(
  { command }: TestedRuntime,
  args: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
) {
  const [program, ...first] = command
  const { status, stdout, stderr } = spawnSync(program!, [...first, ...args], {
    cwd: directory.path,
    encoding: 'latin1',
    timeout: TIMEOUT,
    env,
  })
  return { status, stdout, stderr }
}

/** Runs a script as a web server does. */
function request(runtime: TestedRuntime, name: keyof typeof APPLICATIONS) {
  const env = { PATH: process.env['PATH'], HOME: process.env['HOME'] }
  return run(runtime, [`${name}.cgi`], {
    ...env,
    GATEWAY_INTERFACE: 'CGI/1.1',
    REQUEST_METHOD: 'GET',
    SERVER_SOFTWARE: 'Apache',
  })
}

const PAGE = `Status: 500 Internal Server Error\r\nContent-Type: text/plain\r\nContent-Length: 59\r\n\r\nA server error occurred.  Please contact the administrator.`

describe.each([bun, deno])('On $name', (runtime) => {
  describe.skipIf(!runtime.available)(`the command and scripts${runtime.hint}`, () => {
    it.each([
      [['--version'], /^\d+\.\d+\.\d+\n$/],
      [['request', 'app.mjs/a/b'], /^http \/a\/b\n$/],
      [['request', '--help'], /^Usage: portico request/],
    ])('portico %j works', (args, expected) => {
      const { status, stdout, stderr } = run(runtime, [COMMAND, ...args])
      expect([status, stderr]).toEqual([0, ''])
      expect(stdout).toMatch(expected)
    })

    it.each([
      ['serve', 'app.mjs'],
      ['serve', 'app.mjs', '--dev'],
      ['serve', 'app.mjs', '--workers', '2'],
      ['serve', 'app.mjs', '--listen', 'fd:0'],
    ])('portico %s %s %s %s is refused with one line', (...args) => {
      const { status, stdout, stderr } = run(runtime, [COMMAND, ...args.filter(Boolean)])
      expect([status, stdout]).toEqual([1, ''])
      expect(stderr).toMatch(/^portico: serve needs Node, .* end FILE with run\(application\).*\n$/)
    })

    it('portico.cjs --code-cache is refused with one line', () => {
      expect(run(runtime, ['portico.cjs', '--code-cache'], { PATH: process.env['PATH'] })).toEqual({
        status: 1,
        stdout: '',
        stderr: 'A code cache is for Node; Bun and Deno start without one\n',
      })
    })

    it('a CGI script that prints in every way sends only its response', () => {
      const { status, stdout, stderr } = request(runtime, 'prints')
      expect([status, stdout]).toEqual([0, 'Status: 200 OK\r\nContent-Length: 1\r\n\r\nx'])
      const lines = stderr.split('\n')
      expect(lines.filter((line) => /^[a-z]/.test(line))).toEqual([
        'one 1',
        'two',
        'three',
        'four',
        'five',
        'six',
      ])
    })

    it.runIf(runtime === bun && process.platform === 'linux')(
      'what a CGI script and its processes print by functions of Bun goes to the log',
      () => {
        const { status, stdout, stderr } = request(runtime, 'native')
        const head = 'Status: 200 OK\r\nContent-Length: 100000\r\n\r\n'
        expect([status, stdout, stderr]).toEqual([0, head + 'x'.repeat(100_000), 'one\ntwo\n'])
      },
    )

    it.runIf(runtime === bun)(
      'a CGI script that prints sends only its response where Bun cannot move descriptors',
      () => {
        const script = `Object.defineProperty(process, 'platform', { value: 'freebsd' })
          require('./prints.cgi')`
        writeFileSync(join(directory.path, 'elsewhere.cgi'), script)
        const env = { PATH: process.env['PATH'], GATEWAY_INTERFACE: 'CGI/1.1' }
        const { stdout, stderr } = run(runtime, ['elsewhere.cgi'], {
          ...env,
          REQUEST_METHOD: 'GET',
        })
        expect(stdout).toBe('Status: 200 OK\r\nContent-Length: 1\r\n\r\nx')
        expect(stderr).toMatch(/^one 1\ntwo\nthree\nfour\n[^]*five\nsix\n$/)
      },
    )

    it.each(['rejects', 'hangs'] as const)('a CGI script that %s gets a 500', (name) => {
      const { status, stdout } = request(runtime, name)
      expect([status, stdout]).toEqual([1, PAGE])
    })

    it('a CGI script that leaves a timer running ends by itself', () => {
      const { status, stdout, stderr } = request(runtime, 'leaves')
      expect([status, stdout, stderr]).toEqual([
        0,
        'Status: 200 OK\r\nContent-Length: 1\r\n\r\nx',
        'ended by itself',
      ])
    })

    it('a CGI script gets a variable that is not UTF-8', () => {
      const [program, ...first] = runtime.command
      const shell = `HTTP_X_BYTES=$(printf 'a\\377\\200z') exec "$@"`
      const args = ['-c', shell, 'sh', program!, ...first, 'bytes.cgi']
      const { stdout } = spawnSync('sh', args, { cwd: directory.path, encoding: 'latin1' })
      expect(stdout).toContain('\r\n\r\n61ff807a')
    })
  })
})
