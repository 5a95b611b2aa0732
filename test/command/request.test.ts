/** `portico request`, run as a user runs it, against the real handlers. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import { HTTPHandler } from '../../handlers/http.ts'
import { SCGIHandler } from '../../handlers/scgi.ts'
import { load } from '../../src/application/load.ts'

/** The command is the one that `npm run build` makes, from 'dist/'. */
const BIN = resolve('bin/portico.cjs')
const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string }
const FILE = resolve('test/fixtures/request-application.mjs')

let directory: string
const servers: { close(): unknown }[] = []
const at: Record<string, string> = {}

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'portico-request-test-'))
  const app = await load(FILE)
  const fastcgi = `unix:${join(directory, 'fastcgi.sock')}` as const
  const servings = [
    await new FastCGIHandler({ listen: fastcgi }).run(app),
    await new FastCGIHandler({ listen: '127.0.0.1:0' }).run(app),
    await new SCGIHandler({ listen: '127.0.0.1:0' }).run(app),
    await new HTTPHandler({ listen: '127.0.0.1:0' }).run(app),
  ]
  servers.push(...servings)
  const [, tcp, scgi, http] = servings.map(({ address }) =>
    'port' in address ? `127.0.0.1:${address.port}` : '',
  )
  const script = join(directory, 'echo.cgi')
  writeFileSync(
    script,
    `#!${process.execPath}
import('${resolve('dist/src/exports/cgi.js')}').then(({ CGIHandler }) =>
  import('${FILE}').then((app) => new CGIHandler().run(app.default)))
`,
  )
  chmodSync(script, 0o755)
  // Here, because the tests run at the same time.
  writeFileSync(join(directory, 'lines'), 'one\ntwo\n')
  writeFileSync(join(directory, 'throws.mjs'), "throw new Error('at the top')\n")
  const waits = 'setInterval(() => {}, 1000)\nawait new Promise(() => {})\n'
  writeFileSync(join(directory, 'waits.mjs'), waits)
  Object.assign(at, {
    fastcgi: `fastcgi://${fastcgi}:`,
    'fastcgi without the colon': `fastcgi://${fastcgi}`,
    'fastcgi over TCP': `fastcgi://${tcp}`,
    scgi: `scgi://${scgi}`,
    http: `http://${http}`,
    'http without a scheme': http,
    cgi: `cgi:${script}`,
    app: FILE,
  })
})
afterAll(async () => {
  for (const server of servers) await server.close()
  rmSync(directory, { recursive: true, force: true })
})

interface Ran {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

async function run(args: readonly string[], input?: string): Promise<Ran> {
  const child = spawn(process.execPath, [BIN, 'request', ...args], {
    cwd: directory,
    stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
  })
  child.stdin?.end(input)
  const ran = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]!.setEncoding('latin1').on('data', (text: string) => (ran[name] += text))
  }
  await once(child, 'close')
  return { code: child.exitCode, ...ran }
}

/** '{fastcgi}/a' → 'fastcgi://unix:…:/a' */
function filled(args: readonly string[]): string[] {
  return args.map((arg) => arg.replace(/^\{([A-Za-z ]+)\}/, (_, name: string) => at[name]!))
}

const FORM = 'application/x-www-form-urlencoded'

describe.concurrent('portico request', () => {
  it.each([
    'fastcgi',
    'fastcgi without the colon',
    'fastcgi over TCP',
    'scgi',
    'http',
    'http without a scheme',
    'cgi',
    'app',
  ])('prints the body of the response: %s', async (target) => {
    const ran = await run(filled([`{${target}}/a%20b?c=d`, '-X', 'POST', '-d', 'hello']))
    const mount = target === 'cgi' ? '/cgi-bin/echo.cgi' : ''
    expect(ran).toEqual({ code: 0, stdout: `POST ${mount}|/a b?c=d ${FORM} hello\n`, stderr: '' })
  })

  it.each<[what: string, args: string[], stdout: string]>([
    ['-X chooses the method', ['{fastcgi}/echo', '-XPUT'], 'PUT |/echo? - \n'],
    [
      'several -d are joined',
      ['{fastcgi}/', '-d', 'a=1', '-d', 'b=2'],
      `POST |/? ${FORM} a=1&b=2\n`,
    ],
    ['-d @FILE drops newlines', ['{scgi}/', '-d', '@lines'], `POST |/? ${FORM} onetwo\n`],
    [
      '--data-binary @FILE keeps them',
      ['{scgi}/', '--data-binary', '@lines'],
      `POST |/? ${FORM} one\ntwo\n\n`,
    ],
    [
      '--data-raw takes @ as it is',
      ['{http}/', '--data-raw', '@lines'],
      `POST |/? ${FORM} @lines\n`,
    ],
    [
      '--data-urlencode encodes',
      ['{http}/', '--data-urlencode', 'a=b c&é'],
      `POST |/? ${FORM} a=b%20c%26%C3%A9\n`,
    ],
    ['--json sends JSON', ['{http}/', '--json', '{"a":1}'], 'POST |/? application/json {"a":1}\n'],
    ['-G puts the data into the query', ['{app}/x?y', '-G', '-d', 'a=1'], 'GET |/x?y&a=1 - \n'],
    ['-T sends a file by PUT', ['{fastcgi}/', '-T', 'lines'], 'PUT |/? - one\ntwo\n\n'],
    [
      '-I sends HEAD',
      ['{fastcgi}/', '-I'],
      'Status: 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\n',
    ],
    [
      '-i prints the head of FastCGI',
      ['{fastcgi}/cut?', '-i', '-s'],
      'Status: 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n\r\nabc',
    ],
    ['--mount is SCRIPT_NAME', ['{fastcgi}/echo', '--mount', '/app'], 'GET /app|/echo? - \n'],
    ['-L follows 303 with GET', ['{scgi}/see-other', '-L', '-d', 'x'], 'GET |/echo?after - \n'],
    [
      '-L stays below --mount',
      ['{fastcgi}/see-other', '-L', '--mount', '/app'],
      'GET /app|/echo?after - \n',
    ],
    ['-L repeats a body for 307', ['{app}/same', '-L', '-d', 'x'], `POST |/echo?again ${FORM} x\n`],
    ['-L stays on the host', ['{http}/elsewhere', '-L'], 'elsewhere\n'],
    ['-f lets a 200 pass', ['{fastcgi}/echo', '-f'], 'GET |/echo? - \n'],
    ['a fragment is not sent', ['{http}/echo#part'], 'GET |/echo? - \n'],
    [
      'bytes are printed as they are',
      ['{fastcgi}/bytes'],
      String.fromCharCode(...Array.from({ length: 256 }, (_, code) => code)),
    ],
  ])('%s', async (_, args, stdout) => {
    expect(await run(filled(args))).toMatchObject({ stdout })
  })

  it.each<[what: string, args: string[], expected: object]>([
    ['-H adds a header', ['-H', 'X-A: é b'], { HTTP_X_A: 'Ã© b' }],
    ['-H replaces a usual header', ['-H', 'Accept: a/b'], { HTTP_ACCEPT: 'a/b' }],
    [
      '-H with Host sets the name',
      ['-H', 'Host: a.example:81'],
      { SERVER_NAME: 'a.example', SERVER_PORT: '81' },
    ],
    ['-u sends Authorization', ['-u', 'a:b'], { HTTP_AUTHORIZATION: 'Basic YTpi' }],
    ['-A sends User-Agent', ['-A', 'me'], { HTTP_USER_AGENT: 'me' }],
    ['it has a User-Agent of its own', [], { HTTP_USER_AGENT: `portico/${version}` }],
    ['-e sends Referer', ['-e', 'http://r/'], { HTTP_REFERER: 'http://r/' }],
    ['-b sends Cookie', ['-b', 'a=1; b=2'], { HTTP_COOKIE: 'a=1; b=2' }],
    ['--param sets a variable', ['--param', 'REMOTE_USER=ada'], { REMOTE_USER: 'ada' }],
    ['--param replaces a variable', ['--param', 'REMOTE_ADDR=::1'], { REMOTE_ADDR: '::1' }],
    ['--as nginx', ['--as', 'nginx'], { SERVER_SOFTWARE: 'nginx/1.22.1', REDIRECT_STATUS: '200' }],
    ['--as apache', ['--as', 'apache'], { SERVER_SIGNATURE: '', SCRIPT_NAME: '' }],
    ['--role authorizer', ['--role', 'authorizer'], { FCGI_ROLE: 'AUTHORIZER' }],
  ])('%s', async (_, args, expected) => {
    const { stdout } = await run(filled(['{fastcgi}/environ', ...args]))
    expect(JSON.parse(Buffer.from(stdout, 'latin1').toString())).toMatchObject(expected)
  })

  it("-H 'Name:', -A '' and --param NAME leave a header or variable out", async () => {
    const args = ['-H', 'Accept:', '-A', '', '--param', 'REMOTE_PORT']
    const { stdout } = await run(filled(['{fastcgi}/environ', ...args]))
    const environ = JSON.parse(stdout) as object
    expect(environ).not.toHaveProperty('HTTP_ACCEPT')
    expect(environ).not.toHaveProperty('HTTP_USER_AGENT')
    expect(environ).not.toHaveProperty('REMOTE_PORT')
  })

  it.each<[what: string, args: string[], code: number, stderr: RegExp]>([
    ['22 for a 404 with -f', ['{app}/log', '-f'], 22, /\(22\) the status is 404 Not Found\n$/],
    ['22 with the body', ['{fastcgi}/log', '--fail-with-body'], 22, /\(22\)/],
    ['0 for a 404 without -f', ['{fastcgi}/log'], 0, /^stderr: first line\nstderr: second line\n$/],
    ['18 for an aborted response', ['{fastcgi}/cut'], 18, /\(18\) aborted: /],
    ['18 for a truncated body', ['{http}/cut'], 18, /\(18\) aborted: /],
    [
      '18 for a script that fails',
      ['{cgi}/cut'],
      18,
      /\(18\) aborted: the script ended with exit code 1/,
    ],
    [
      '6 for an unknown host',
      ['http://name.invalid/'],
      6,
      /\(6\) name\.invalid:80 cannot be reached: getaddrinfo E/,
    ],
    [
      '7 without a server',
      ['fastcgi://127.0.0.1:1/'],
      7,
      /\(7\) .* is not served: nothing listens there/,
    ],
    [
      '7 without a socket',
      ['fastcgi://unix:/nowhere:/'],
      7,
      /\(7\) unix:\/nowhere \(FastCGI\) does not exist: /,
    ],
    [
      '28 after --max-time',
      ['{fastcgi}/slow', '-m', '0.5'],
      28,
      /\(28\) no complete response within 0.5 s/,
    ],
    ['28 over HTTP', ['{http}/slow', '-m', '0.5'], 28, /\(28\)/],
    ['28 for a script', ['{cgi}/slow', '-m', '1'], 28, /\(28\)/],
    ['28 in process', ['{app}/slow', '-m', '0.5'], 28, /\(28\)/],
    [
      '28 while a file loads',
      ['./waits.mjs', '-m', '0.5'],
      28,
      /\(28\) .*waits.mjs is still loading/,
    ],
    [
      '47 for a loop',
      ['{scgi}/loop', '-L', '--max-redirs', '2'],
      47,
      /\(47\) more than 2 redirects/,
    ],
    ['26 for a missing file', ['{http}/', '-d', '@nowhere'], 26, /\(26\) nowhere cannot be read/],
    [
      '23 for an output that cannot be written',
      ['{http}/', '-o', '/nowhere/x'],
      23,
      /\(23\) \/nowhere\/x/,
    ],
    [
      '23 for a full disk',
      ['{http}/', '-o', '/dev/full'],
      23,
      /\(23\) \/dev\/full cannot be written \(ENOSPC\)/,
    ],
    [
      '7 for a file that throws',
      ['./throws.mjs'],
      7,
      /\(7\) .*throws\.mjs does not load\nError: at the top\n {4}at file:\S+throws\.mjs:1:7\n/,
    ],
    ['nothing on stderr with -s', ['fastcgi://127.0.0.1:1/', '-s'], 7, /^$/],
    [
      'the message with -sS',
      ['fastcgi://127.0.0.1:1/', '-sS'],
      7,
      /127.0.0.1:1 \(FastCGI\) is not served/,
    ],
  ])('exits with %s', async (_, args, code, stderr) => {
    const ran = await run(filled(args))
    expect(ran.stderr).toMatch(stderr)
    expect(ran.code).toBe(code)
    if (args.includes('--fail-with-body')) expect(ran.stdout).toBe('not here\n')
    else if (args.includes('-f')) expect(ran.stdout).toBe('')
  })

  it.each<[args: string[], line: string]>([
    [['htp://x/'], 'unknown scheme "htp". Did you mean \'http\'?'],
    [['fastcgi://localhost/'], 'fastcgi://localhost needs a port: fastcgi://localhost:9000/'],
    [['https://localhost/'], 'https:// is not supported'],
    [['http://x/', '--as', 'nginx'], 'request: --as is for gateways with variables'],
    [['http://x/', '--as', 'ngnix'], "Did you mean 'nginx'?"],
    [['{scgi}/', '--as', 'caddy'], 'Caddy does not speak SCGI; these do: nginx, apache, lighttpd'],
    [['{scgi}/', '--role', 'authorizer'], 'request: --role is for fastcgi://'],
    [['{cgi}/', '--record-dump'], 'request: --record-dump is for fastcgi:// and scgi://'],
    [
      ['{http}/', '-m', 'soon'],
      "request: --max-time takes seconds, such as 10 or 0.5 (got 'soon')",
    ],
    [['{http}/', '-H', 'nonsense'], 'request: -H takes \'Name: value\' (got "nonsense")'],
    [['{http}/', '-d', 'a', '-F', 'b=c'], 'request: -d, -F and -T exclude each other'],
    [['{http}/', '-c', '2'], 'request: -c is for --repeat N'],
    [['{http}/', '--all'], 'request: --all takes the file of an application'],
    [['{http}/', '--dta', 'x'], "Did you mean '--data'?"],
  ])('refuses %j in one line, with exit code 2', async (args, line) => {
    const { code, stderr } = await run(filled(args))
    expect(stderr).toContain(line)
    expect(stderr.split('\n')).toHaveLength(2)
    expect(code).toBe(2)
  })

  it('-o writes the body to a file, -v shows what was sent and received', async () => {
    const { stdout, stderr } = await run(filled(['{fastcgi}/echo', '-v', '-o', 'out.txt']))
    expect(stdout).toBe('')
    expect(readFileSync(join(directory, 'out.txt'), 'utf8')).toBe('GET |/echo? - \n')
    for (const line of ['> REQUEST_METHOD=GET', '< Status: 200 OK', '* 15 bytes in ']) {
      expect(stderr).toContain(line)
    }
    expect((await run(filled(['{http}/echo', '-v']))).stderr).toContain(
      '> GET /echo HTTP/1.1\n> Host: ',
    )
  })

  it('-o has the last response of a chain that -L followed', async () => {
    await run(filled(['{fastcgi}/see-other', '-L', '-o', 'last.txt']))
    expect(readFileSync(join(directory, 'last.txt'), 'utf8')).toBe('GET |/echo?after - \n')
  })

  it('-F sends multipart/form-data with files', async () => {
    writeFileSync(join(directory, 'note.txt'), 'text of the file')
    const args = ['-F', 'a=b', '-F', 'f=@note.txt;type=x/y;filename=n', '-F', 'i=<note.txt']
    args.push('-F', 'j={"a":";"};type=application/json')
    const { stdout } = await run(filled(['{fastcgi}/', ...args]))
    expect(stdout).toMatch(/^POST \|\/\? multipart\/form-data; boundary=/)
    expect(stdout).toContain('name="a"\r\n\r\nb\r\n')
    expect(stdout).toContain(
      'name="f"; filename="n"\r\nContent-Type: x/y\r\n\r\ntext of the file\r\n',
    )
    expect(stdout).toContain('name="i"\r\n\r\ntext of the file\r\n')
    expect(stdout).toContain('name="j"\r\nContent-Type: application/json\r\n\r\n{"a":";"}\r\n')
  })

  it('--data-binary @- sends stdin', async () => {
    const { stdout } = await run(filled(['{scgi}/', '--data-binary', '@-']), 'from\nstdin')
    expect(stdout).toBe(`POST |/? ${FORM} from\nstdin\n`)
  })

  it('--record-dump shows each FastCGI record, and the bytes of SCGI', async () => {
    const { stderr } = await run(filled(['{fastcgi}/', '--record-dump', '-d', 'hello']))
    const records = [...stderr.matchAll(/^([<>] \w+) id 1/gm)].map(([, name]) => name)
    expect(records).toEqual([
      '> BEGIN_REQUEST',
      '> PARAMS',
      '> PARAMS',
      '> STDIN',
      '> STDIN',
      '< STDOUT',
      '< STDOUT',
      '< END_REQUEST',
    ])
    expect(stderr).toContain('> STDIN id 1, 5 bytes, padding ')
    expect(stderr).toContain('  000000  68 65 6c 6c 6f')
    const scgi = await run(filled(['{scgi}/', '--record-dump']))
    expect(scgi.stderr).toMatch(/^> \d+ bytes\n {2}000000 {2}/)
  })

  it('prints a chunk when it comes', async () => {
    const child = spawn(process.execPath, [BIN, 'request', ...filled(['{fastcgi}/slow'])])
    const [chunk] = (await once(child.stdout, 'data')) as [Buffer]
    expect(chunk.toString()).toBe('first ')
    child.kill()
    await once(child, 'close')
  })

  it('--repeat counts the responses and prints times', async () => {
    const { code, stdout } = await run(filled(['{fastcgi}/echo', '--repeat', '20', '-c', '4']))
    expect(code).toBe(0)
    expect(stdout).toMatch(
      /^20 requests in [\d.]+ s, 4 at a time: \d+ requests\/s, 300 bytes of bodies\n/,
    )
    expect(stdout).toMatch(/\nms: min [\d.]+, 50 % [\d.]+, 90 % [\d.]+, 99 % [\d.]+, max [\d.]+\n/)
    expect(stdout).toMatch(/\n {5}20 {2}200 OK\n$/)
    const failing = await run(filled(['{fastcgi}/log', '--repeat', '2', '-f']))
    expect(failing.code).toBe(22)
    expect(failing.stdout).toContain('      2  the status is 404 Not Found\n')
  })

  it('--validate reports what breaks the contract', async () => {
    expect((await run(filled(['{app}/broken', '--validate', '-f']))).code).toBe(22)
    expect(await run(filled(['{app}/broken', '-f']))).toMatchObject({ stdout: 'no Content-Type\n' })
  })

  it.each([
    [
      'listen()',
      `import http from 'node:http'
http.createServer((req, res) => res.end('listens: ' + req.url + '\\n')).listen(80)\n`,
    ],
    [
      'listen(), and prints',
      `import http from 'node:http'
console.log('to stderr')
http.createServer((req, res) => res.end('listens: ' + req.url + '\\n')).listen(0)\n`,
    ],
    [
      'run()',
      `import { run } from '${resolve('dist/src/exports/index.js')}'
run((environ, startResponse) => {
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  return ['runs: ' + environ.PATH_INFO + '\\n']
})\n`,
    ],
  ])('sends a request to a file that calls %s', async (what, source) => {
    const file = join(directory, `calls-${what.slice(0, 3)}${what.length}.mjs`)
    writeFileSync(file, source)
    const { code, stdout } = await run([`${file}/a`])
    expect(stdout).toMatch(/^(?:listens|runs): \/a\n$/)
    expect(code).toBe(0)
    const all = await run(['--all', `${file}/a`])
    expect(all.stdout).toMatch(/^Response: the same through all gateways\n/)
    expect(all.code).toBe(0)
  })

  it.each([
    ['not responded', 52, `export default () => new Promise(() => {})`],
    [
      'not completed its response',
      18,
      `export default async function* (environ, startResponse) {
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  yield 'begun'
  await new Promise(() => {})
}`,
    ],
  ])(
    'an application that has %s and waits for nothing is exit code %i',
    async (what, code, source) => {
      const file = join(directory, `idle-${code}.mjs`)
      writeFileSync(file, source)
      const ended = await run([file])
      expect(ended.stderr).toContain(
        `the application has ${what}, and has nothing left to wait for\n`,
      )
      expect(ended.code).toBe(code)
    },
  )

  it.each([
    [
      'a syntax error',
      'const x = = 5\n',
      /broken-\d+\.mjs:1\nconst x = = 5\n +\^\n\nSyntaxError: Unexpected token '='\n$/,
    ],
    [
      'an error of the file',
      '// one\nundefined.two\n',
      /\nTypeError: Cannot read properties of undefined \(reading 'two'\)\n {4}at file:\S+broken-\d+\.mjs:2:11\n\n {2}\S+broken-\d+\.mjs:2\n {4}1 \| \/\/ one\n {2}> 2 \| undefined\.two\n {4}3 \|\n$/,
    ],
  ])('shows %s with its line, and exits with 7', async (_, source, stderr) => {
    const file = join(directory, `broken-${source.length}.mjs`)
    writeFileSync(file, source)
    const ran = await run([`${file}/path`])
    expect(ran.stderr).toMatch(stderr)
    expect(ran.stderr).toContain(`portico: (7) ${file} does not load\n`)
    expect(ran.code).toBe(7)
  })

  it('loads TypeScript, or says what is missing', async () => {
    const file = join(directory, 'typed.ts')
    writeFileSync(
      file,
      `export default (environ: Record<string, unknown>, startResponse: Function): string[] => {
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  return ['typed ', String(environ['PATH_INFO'])]
}\n`,
    )
    const ran = await run([`${file}/a`])
    if ((process.features as { typescript?: unknown }).typescript) {
      expect(ran).toMatchObject({ code: 0, stdout: 'typed /a' })
    } else {
      expect(ran.stderr).toContain('is TypeScript, which Node')
      expect(ran.code).toBe(7)
    }
  })

  const REFUSED = String.fromCharCode(1, 3, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0)
  it.each<[what: string, bytes: string | null, schemes: string[], code: number, stderr: RegExp]>([
    ['52 for an empty response', '', ['fastcgi', 'scgi', 'http'], 52, /The response is empty\n$/],
    ['52 for a refused request', REFUSED, ['fastcgi'], 52, /it is overloaded/],
    ['56 for a reset', null, ['fastcgi', 'scgi', 'http'], 56, /\(56\) .*(?:ECONNRESET|EPIPE)/],
    ['8 for HTTP', 'HTTP/1.1 200 OK\r\n\r\n', ['fastcgi', 'scgi'], 8, /\(8\) /],
    ['8 for half a head', 'Status: 200 OK\r\n', ['scgi'], 8, /the head does not end/],
    ['18 for half a head', 'HTTP/1.1 200 OK\r\n', ['http'], 18, /ended inside the head/],
  ])('exits with %s', async (_, bytes, schemes, code, stderr) => {
    const authority = await serving(bytes)
    for (const scheme of schemes) {
      const ran = await run([`${scheme}://${authority}/`])
      expect({ scheme, ...ran }).toMatchObject({ scheme, code, stdout: '' })
      expect(ran.stderr).toMatch(stderr)
    }
  })

  it.each([
    ['fastcgi', 'scgi', 8, /\(8\) The server speaks FastCGI: use fastcgi:\/\/ instead of scgi:/],
    ['fastcgi', 'http', 8, /\(8\) The server speaks FastCGI: use fastcgi:\/\/ instead of http:/],
    ['scgi', 'fastcgi', 52, /\(52\) The response is empty/],
  ])(
    'A server of %s that is asked over %s ends with the reason',
    async (server, scheme, code, stderr) => {
      const ran = await run([at[server]!.replace(/^\w+/, scheme) + '/'])
      expect(ran.stderr).toMatch(stderr)
      expect(ran.code).toBe(code)
    },
  )

  it('--all compares the response and the environ through all gateways', async () => {
    const { code, stdout } = await run(['--all', `${FILE}/echo?x`, '-d', 'hello'])
    expect(stdout).toContain('Response: the same through all gateways\n  status: 200 OK\n')
    expect(stdout).toContain(`  body: POST |/echo?x ${FORM} hello\\n\n`)
    expect(stdout).toContain('* portico.gateway\n    http     http\n    cgi      cgi\n')
    expect(stdout).toMatch(/^Environ: \d+ of \d+ keys differ \(\*\); -v shows all$/m)
    expect(stdout).not.toContain('PATH_INFO')
    expect(code).toBe(0)
    const all = await run(['--all', '-v', `${FILE}/echo?x`])
    expect(all.stdout).toMatch(/^ {2}PATH_INFO: \/echo$/m)
    expect(all.stdout).toMatch(/^\* portico\.gateway$/m)
    writeFileSync(
      join(directory, 'differs.mjs'),
      `export default (environ, startResponse) => {
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  return [environ['portico.gateway'] + (environ.PATH_INFO === '/pid' ? process.pid : '')]
}\n`,
    )
    expect((await run(['--all', './differs.mjs/pid'])).stdout).toContain('Response: not the same\n')
    const differs = await run(['--all', './differs.mjs'])
    expect(differs.stdout).toContain(
      'Response: the same, except for the name of the gateway in it\n',
    )
    expect(differs.stdout).toContain('* body\n    http     http\n    cgi      cgi\n')
    expect(differs.code).toBe(1)
  })
})

/** A server that responds to the first bytes with these and ends the connection, or resets it. */
async function serving(bytes: string | null): Promise<string> {
  const server: Server = createServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', () => {
      if (bytes === null) socket.resetAndDestroy()
      else socket.end(bytes, 'latin1')
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  servers.push(server)
  const address = server.address()
  return `127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`
}
