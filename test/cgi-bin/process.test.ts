/** Scripts as processes: their environment, their body, their limits, and how they end. */
import { Buffer } from 'node:buffer'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import { HTTPHandler } from '../../handlers/http.ts'
import { cgiBin, mount } from '../../src/exports/middleware.ts'
import { encodeText } from '../../src/environ/environ.ts'
import { fastcgiClient, httpClient } from '../../src/exports/testing.ts'
import type { GatewayServer } from '../../src/server/gateway-server.ts'
import { addressOf } from '../fixtures/gateways.ts'
import { runCgi } from '../middleware/gateways.ts'
import { isAlive } from '../server/child.ts'
import { addScript, makeScripts, sh } from './scripts.ts'

const directory = makeScripts({
  'env.sh': sh('env -0 | sort -z'),
  'cat.sh': sh('cat'),
  'length.sh': sh('printf "$CONTENT_LENGTH "; wc -c'),
})
const app = cgiBin(directory)

/** Starts a server, and stops it after `use`. */
async function serving<T>(
  application: ReturnType<typeof cgiBin>,
  use: (server: GatewayServer, port: number) => Promise<T>,
): Promise<T> {
  const server = await new HTTPHandler({ listen: '127.0.0.1:0' }).run(application)
  const { address } = server
  try {
    return await use(server, address.kind === 'tcp' ? address.port : 0)
  } finally {
    await server.close({ timeout: 0 })
  }
}

/** The environment that a script gets. */
const variables = async (
  request: Parameters<typeof runCgi>[1],
  options: Parameters<typeof cgiBin>[1] = {},
  more = {},
): Promise<Record<string, string>> => {
  const { body } = await runCgi(cgiBin(directory, { ...options }), request, more)
  const entries = body.toString('latin1').split('\0').filter(Boolean)
  return Object.fromEntries(entries.map((entry) => entry.split(/=(.*)/s).slice(0, 2)))
}

describe('The environment of a script', () => {
  it('has the variables of RFC 3875, those of Apache, PATH and TZ, and no others', async () => {
    const found = await variables(
      {
        method: 'POST',
        target: '/env.sh/p%20q/r?x=%20y',
        headers: [
          ['Host', 'example.com:80'],
          ['Cookie', 'a=1'],
          ['Cookie', 'b=2'],
          ['Accept', 'text/html'],
          ['Accept', 'text/plain'],
          ['Proxy', 'evil:80'],
          ['xx-yy123', 'z'],
          ['Blank', ''],
          ['Content-Type', 'a/b'],
          ['Transfer-Encoding', 'chunked'],
        ],
        body: 'abc',
      },
      {},
      {
        SERVER_NAME: 'example.com',
        REMOTE_ADDR: '2000::3000',
        REMOTE_PORT: '12345',
        LD_PRELOAD: 'x.so',
        HTTP_PROXY: 'evil',
        'a.b': 'c',
        BASH_ENV: 'evil',
        PERL5OPT: '-d',
        UNIQUE_ID: 'u',
        SSL_CIPHER: 's',
      },
    )
    // Shells set these.
    for (const name of ['PWD', 'OLDPWD', 'SHLVL', '_']) delete found[name]
    delete found['TZ']
    expect(found).toEqual({
      CONTENT_LENGTH: '3',
      CONTENT_TYPE: 'a/b',
      DOCUMENT_ROOT: directory,
      GATEWAY_INTERFACE: 'CGI/1.1',
      HTTP_ACCEPT: 'text/html, text/plain',
      HTTP_BLANK: '',
      HTTP_COOKIE: 'a=1; b=2',
      HTTP_HOST: 'example.com:80',
      HTTP_XX_YY123: 'z',
      PATH: process.env['PATH'],
      PATH_INFO: '/p q/r',
      PATH_TRANSLATED: `${directory}/p q/r`,
      QUERY_STRING: 'x=%20y',
      REDIRECT_STATUS: '200',
      REMOTE_ADDR: '2000::3000',
      REMOTE_HOST: '2000::3000',
      REMOTE_PORT: '12345',
      REQUEST_METHOD: 'POST',
      REQUEST_URI: '/env.sh/p%20q/r?x=%20y',
      SCRIPT_FILENAME: join(directory, 'env.sh'),
      SCRIPT_NAME: '/env.sh',
      SERVER_NAME: 'example.com',
      SERVER_PORT: '80',
      SERVER_PROTOCOL: 'HTTP/1.1',
      SERVER_SOFTWARE: 'portico-testing',
      SSL_CIPHER: 's',
      UNIQUE_ID: 'u',
    })
    expect(process.env['QUERY_STRING']).toBe(undefined)
  })

  it('has the variables of the options env and inherit, and their own root', async () => {
    const options = {
      env: { GREETING: 'Grüße', SERVER_NAME: 'mine' },
      inherit: ['HOME', 'APP_ENV', 'NOT_THERE'],
      documentRoot: '/srv/www/',
      cwd: '/',
    }
    const found = await variables('/env.sh/x', options, { APP_ENV: 'prod', DOCUMENT_ROOT: '/else' })
    expect(found).toMatchObject({
      GREETING: encodeText('Grüße'),
      SERVER_NAME: 'mine',
      HOME: process.env['HOME'],
      APP_ENV: 'prod',
      DOCUMENT_ROOT: '/srv/www/',
      PATH_TRANSLATED: '/srv/www/x',
      PWD: '/',
    })
    expect(found).not.toHaveProperty('NOT_THERE')
  })

  it('has bytes that are not UTF-8 as they are', async () => {
    const found = await variables({
      target: '/env.sh/%ff%fe\'"$(id)%0a',
      headers: [['X-Bytes', 'a\xe9z']],
    })
    expect(found).toMatchObject({ PATH_INFO: '/\xff\xfe\'"$(id)\n', HTTP_X_BYTES: 'a\xe9z' })
    expect(found).not.toHaveProperty('SHLVL')
  })

  it('has the password of the client only if the server has not checked it', async () => {
    const request = {
      target: '/env.sh',
      headers: [['Authorization', 'Basic x']] as [string, string][],
    }
    expect(await variables(request)).toHaveProperty('HTTP_AUTHORIZATION', 'Basic x')
    expect(await variables(request, {}, { REMOTE_USER: 'me' })).not.toHaveProperty(
      'HTTP_AUTHORIZATION',
    )
  })

  it('is too large for a process: 431', async () => {
    const { status, errors } = await runCgi(app, `/env.sh?${'x'.repeat(140_000)}`)
    expect(status).toBe('431 Request Header Fields Too Large')
    expect(errors).toContain('the request has more variables than a process can get (E2BIG)')
  })
})

describe('The body of a request', () => {
  it.each([0, 1, 70_000, 3_000_000])(
    'of %d bytes reaches the script unchanged, and comes back',
    async (size) => {
      const body = Buffer.alloc(size, 'abcdefg\xff\0', 'latin1')
      const echoed = await runCgi(app, { method: 'POST', target: '/cat.sh', body })
      expect(echoed.body.equals(body)).toBe(true)
    },
  )

  it.each([5, 200_000])(
    'of %d bytes without a length is stored, so that the script gets CONTENT_LENGTH',
    async (size) => {
      const before = readdirSync(tmpdir()).filter((name) => name.startsWith('portico-body-'))
      const text = await serving(app, async (_, port) => {
        const body = new ReadableStream({
          start(controller) {
            for (let sent = 0; sent < size; sent += Math.min(size, 40_000)) {
              controller.enqueue(new Uint8Array(Math.min(size, 40_000)))
            }
            controller.close()
          },
        })
        const init = { method: 'POST', body, duplex: 'half' as const }
        return (await fetch(`http://127.0.0.1:${port}/length.sh`, init)).text()
      })
      expect(text.trim()).toBe(`${size} ${size}`)
      expect(readdirSync(tmpdir()).filter((name) => name.startsWith('portico-body-'))).toEqual(
        before,
      )
    },
  )

  it('without a length and over maxStored is a 413', async () => {
    const status = await serving(cgiBin(directory, { maxStored: 10 }), async (_, port) => {
      const body = new Blob(['x'.repeat(11)]).stream()
      const init = { method: 'POST', body, duplex: 'half' as const }
      return (await fetch(`http://127.0.0.1:${port}/cat.sh`, init)).status
    })
    expect(status).toBe(413)
  })

  it('may be left unread', async () => {
    addScript(directory, 'unread.sh', sh('printf done'))
    const body = Buffer.alloc(2_000_000)
    const application = mount({ '/': app })
    for (const [Handler, clientOf] of [
      [HTTPHandler, httpClient],
      [FastCGIHandler, fastcgiClient],
    ] as const) {
      const server = await new Handler({ listen: '127.0.0.1:0' }).run(application)
      const client = clientOf(addressOf(server))
      const response = await client.request({ method: 'POST', target: '/unread.sh', body })
      expect([response.status, response.body.toString()]).toEqual(['200 OK', 'done'])
      await client.close()
      await server.close()
    }
  })

  it('that ends early is not taken for a whole one: the script is ended', async () => {
    const mark = join(directory, 'whole')
    addScript(directory, 'upload.sh', sh(`cat >/dev/null; touch ${mark}`))
    const server = await new FastCGIHandler({ listen: '127.0.0.1:0' }).run(app)
    const client = fastcgiClient(addressOf(server))
    const headers: [string, string][] = [['Content-Length', '10']]
    const { status } = await client.request({
      method: 'POST',
      target: '/upload.sh',
      headers,
      body: '12345',
    })
    expect(status).toBe('400 Bad Request')
    expect(existsSync(mark)).toBe(false)
    await client.close()
    await server.close()
  })
})

describe('A script that cannot run', () => {
  const perl = '#!/usr/bin/perl\nprint "Content-Type: text/plain\\n\\nHi";\n'
  it.each<[what: string, text: string | Buffer, mode: number, status: string, reason: string]>([
    [
      'is not executable',
      perl,
      0o644,
      '403 Forbidden',
      'is not executable (mode 0644): chmod 755 PATH',
    ],
    [
      'has CRLF in its first line',
      perl.replaceAll('\n', '\r\n'),
      0o755,
      '500 Internal Server Error',
      "has a first line that ends in CRLF, so its interpreter is not found: sed -i 's/\\\\r$//' PATH",
    ],
    [
      'has a byte order mark',
      `\ufeff${perl}`,
      0o755,
      '500 Internal Server Error',
      "begins with a byte order mark, so the kernel does not see #!: sed -i '1s/^\\\\xef\\\\xbb\\\\xbf//' PATH",
    ],
    [
      'has no first line',
      'print "Hi"\n',
      0o755,
      '500 Internal Server Error',
      'is text, and its first line does not begin with #! and an interpreter. Name the interpreter in the first line, such as #!/usr/bin/perl, of PATH',
    ],
    [
      'is empty',
      '',
      0o755,
      '500 Internal Server Error',
      'is text, and its first line does not begin with #! and an interpreter. Name the interpreter in the first line, such as #!/usr/bin/perl, of PATH',
    ],
    [
      'names no interpreter, although a shell would run it',
      '#!\nprintf "Content-Type: text/plain\\n\\nHi"\n',
      0o755,
      '500 Internal Server Error',
      'is text, and its first line does not begin with #! and an interpreter. Name the interpreter in the first line, such as #!/usr/bin/perl, of PATH',
    ],
    [
      'names an interpreter of more than 256 bytes, although a shell would run it',
      `#!/${'a'.repeat(300)}\nprintf "Content-Type: text/plain\\n\\nHi"\n`,
      0o755,
      '500 Internal Server Error',
      'names an interpreter in its first line that is too long for the kernel, which reads 256 bytes. Make a symbolic link to it, and name that in the first line of PATH',
    ],
    [
      'has an interpreter that is missing',
      '#!/usr/bin/perl6\n',
      0o755,
      '500 Internal Server Error',
      'cannot run: its interpreter /usr/bin/perl6 does not exist',
    ],
    [
      'has an interpreter that env does not find',
      '#!/usr/bin/env perl6\n',
      0o755,
      '500 Internal Server Error',
      `: malformed CGI response: it is empty; its interpreter perl6 is not in PATH (${process.env['PATH']}).`,
    ],
    [
      'has a relative interpreter',
      '#!perl6\n',
      0o755,
      '500 Internal Server Error',
      "cannot run: the interpreter in its first line, 'perl6', is not an absolute path",
    ],
    [
      'has an interpreter that may not run',
      '#!/etc/passwd\n',
      0o755,
      '403 Forbidden',
      'cannot run: its interpreter is not executable, or its file system is mounted noexec',
    ],
  ])(
    'because it %s gives a reason in the log, and nothing of its source',
    async (_, text, mode, status, reason) => {
      const path = addScript(directory, 'broken.pl', text, mode)
      const response = await runCgi(app, '/broken.pl')
      expect(response.status).toBe(status)
      expect(response.errors.replaceAll('\\x5c', '\\')).toContain(
        reason
          .replaceAll('PATH', (word) => (reason.includes(`(${process.env['PATH']})`) ? word : path))
          .replaceAll('\\\\', '\\'),
      )
      expect(response.body.toString()).toBe(`${status.slice(4)}\n`)
    },
  )
})

describe('stderr of a script', () => {
  it('is logged line by line, and cannot forge an entry', async () => {
    addScript(
      directory,
      'err.sh',
      sh("printf 'one\\ntwo\\r\\n\\nGET /: forged\\033[31m' >&2; printf ok"),
    )
    const { body, errors } = await runCgi(app, '/err.sh')
    expect([body.toString(), errors]).toEqual([
      'ok',
      'GET /err.sh: one\nGET /err.sh: two\nGET /err.sh: GET /: forged\\x1b[31m\n',
    ])
  })

  it('is logged up to 64 KiB', async () => {
    addScript(directory, 'err.sh', sh('head -c 200000 /dev/zero | tr "\\0" x >&2; printf ok'))
    const { body, errors } = await runCgi(app, '/err.sh')
    expect(body.toString()).toBe('ok')
    expect(errors.length).toBeLessThan(70_000)
    expect(errors).toContain('134464 more bytes of its stderr are not logged (limit: 65536)\n')
  })

  it('is in the log when a script dies', async () => {
    addScript(directory, 'die.pl', '#!/usr/bin/perl\ndie "no database";\n')
    const { status, errors } = await runCgi(app, '/die.pl')
    expect(status).toBe('500 Internal Server Error')
    expect(errors).toMatch(
      /^GET \/die\.pl: no database at \S+ line 2\.\nGET \/die\.pl: PORTICO_SCRIPT: .*it is empty; it ended with exit code \d+/,
    )
  })
})

describe('A script ends', () => {
  it('with its children when the client leaves', async () => {
    const pids = join(directory, 'pids')
    addScript(
      directory,
      'endless.sh',
      sh(`trap '' TERM; sleep 1000 & echo $$ $! >${pids}; while :; do echo x; done`),
    )
    await serving(app, async (_, port) => {
      const socket = connect(port, '127.0.0.1')
      socket.write('GET /endless.sh HTTP/1.1\r\nHost: a\r\n\r\n')
      await once(socket, 'data')
      socket.destroy()
      const running = readFileSync(pids, 'utf8').trim().split(' ').map(Number)
      expect(running).toHaveLength(2)
      await expect.poll(() => running.filter(isAlive), { timeout: 15_000 }).toEqual([])
    })
  })

  it('after timeout without output: 504, or an aborted response', async () => {
    const limited = cgiBin(directory, { timeout: 1000 })
    addScript(directory, 'silent.sh', '#!/bin/sh\nsleep 1000\n')
    addScript(directory, 'stops.sh', sh('printf some; sleep 1000'))
    const silent = await runCgi(limited, '/silent.sh')
    expect([silent.status, silent.errors]).toEqual([
      '504 Gateway Timeout',
      `GET /silent.sh: PORTICO_TIMEOUT: ${join(directory, 'silent.sh')}: it did nothing for 1000 ms (timeout)\n`,
    ])
    const stops = await runCgi(limited, '/stops.sh')
    expect(stops.body.toString()).toBe('some')
    expect(stops.errors).toContain('it did nothing for 1000 ms (timeout)')
  })

  it('after maxTime, although it writes all the time', async () => {
    addScript(directory, 'busy.sh', sh('while :; do echo x; sleep 0.01; done'))
    const { errors } = await runCgi(cgiBin(directory, { maxTime: 500 }), '/busy.sh')
    expect(errors).toContain('it ran for 500 ms (maxTime)')
  })

  it('after maxOutput bytes, and the response is aborted', async () => {
    addScript(directory, 'yes.sh', sh('yes'))
    const { errors, body } = await runCgi(cgiBin(directory, { maxOutput: 100_000 }), '/yes.sh')
    expect(errors).toContain('yes.sh sent more than 100000 bytes (maxOutput)')
    expect(body.length).toBeLessThanOrEqual(100_000)
  })

  it('by a signal, and its response is aborted', async () => {
    addScript(directory, 'crash.sh', sh('printf some; kill -SEGV $$'))
    const server = await new FastCGIHandler({ listen: '127.0.0.1:0' }).run(app)
    const client = fastcgiClient(addressOf(server))
    const response = await client.request({ target: '/crash.sh' })
    expect(response).toMatchObject({ status: '200 OK', broken: true })
    expect(response.errors).toContain('crash.sh: it was killed by SIGSEGV')
    await client.close()
    await server.close()
  })

  it('with an exit code after a complete response, which counts', async () => {
    addScript(directory, 'code.sh', sh('printf all; exit 3'))
    expect(await runCgi(app, '/code.sh')).toMatchObject({
      status: '200 OK',
      broken: false,
      errors: '',
    })
  })
})

describe('A response is complete', () => {
  it('when the script closes its stdout, although it lives on', async () => {
    const go = join(directory, 'go')
    const mark = join(directory, 'worked')
    addScript(
      directory,
      'lives.sh',
      sh(`printf done; exec >&- 2>&-; until [ -e ${go} ]; do sleep 0.02; done; touch ${mark}`),
    )
    const { body, errors } = await runCgi(app, '/lives.sh')
    expect([body.toString(), errors]).toEqual(['done', ''])
    writeFileSync(go, '')
    await expect.poll(() => existsSync(mark)).toBe(true)
  })

  it('when the script has ended, although a daemon keeps its stdout open, and the daemon lives on', async () => {
    const pid = join(directory, 'daemon')
    addScript(directory, 'forks.sh', sh(`sleep 1000 & echo $! >${pid}; printf done`))
    const { body, errors } = await runCgi(app, '/forks.sh')
    expect([body.toString(), errors]).toEqual(['done', ''])
    const daemon = Number(readFileSync(pid, 'utf8'))
    expect(isAlive(daemon)).toBe(true)
    process.kill(daemon)
  })

  it('for HEAD with its head, and the script runs to its end', async () => {
    const mark = join(directory, 'counted')
    addScript(directory, 'counts.sh', sh(`head -c 300000 /dev/zero; touch ${mark}`))
    const { body } = await runCgi(app, { method: 'HEAD', target: '/counts.sh' })
    expect(body.toString()).toBe('')
    await expect.poll(() => existsSync(mark)).toBe(true)
  })
})

it('A slow client stops a script that writes, and is not taken for a script that does nothing', async () => {
  const mark = join(directory, 'written')
  addScript(directory, 'large.sh', sh(`head -c 30000000 /dev/zero; touch ${mark}`))
  await serving(cgiBin(directory, { timeout: 1000 }), async (_, port) => {
    const socket = connect(port, '127.0.0.1')
    socket.write('GET /large.sh HTTP/1.0\r\n\r\n')
    const hash = createHash('sha1')
    let size = 0
    await once(socket, 'readable')
    // Longer than `timeout`.
    await new Promise((resolve) => setTimeout(resolve, 2000))
    expect(existsSync(mark)).toBe(false)
    socket.on('data', (chunk: Buffer) => {
      size += chunk.length
      hash.update(chunk)
    })
    await once(socket, 'end')
    expect(size).toBeGreaterThan(30_000_000)
  })
})

describe('The number of scripts', () => {
  it('is limited: further requests wait in their order, and then get a 503', async () => {
    const log = join(directory, 'order')
    const gate = join(directory, 'gate')
    writeFileSync(log, '')
    addScript(
      directory,
      'slot.sh',
      sh(
        `echo $QUERY_STRING >>${log}; until [ -e ${gate} ]; do sleep 0.02; done; printf $QUERY_STRING`,
      ),
    )
    const limited = cgiBin(directory, { maxScripts: 1, maxWaiting: 2 })
    const asked = ['1', '2', '3', '4', '5'].map((n) => runCgi(limited, `/slot.sh?${n}`))
    const refused = await Promise.all(asked.slice(3))
    expect(refused.map(({ status }) => status)).toEqual(Array(2).fill('503 Service Unavailable'))
    expect(refused[0]!.headers).toContainEqual(['Retry-After', '1'])
    expect(refused.map(({ errors }) => errors)).toEqual([
      'GET /slot.sh: 503, because 1 scripts run (maxScripts) and 2 requests wait (maxWaiting) or have waited too long\n',
      '',
    ])
    writeFileSync(gate, '')
    const bodies = (await Promise.all(asked.slice(0, 3))).map(({ body }) => body.toString())
    expect(bodies).toEqual(['1', '2', '3'])
    expect(readFileSync(log, 'utf8')).toBe('1\n2\n3\n')
  })

  it('is not used up by scripts that cannot start', async () => {
    addScript(directory, 'missing.sh', '#!/no/such/interpreter\n')
    const limited = cgiBin(directory, { maxScripts: 1, maxWaiting: 0 })
    for (let n = 0; n < 3; n += 1) {
      expect((await runCgi(limited, '/missing.sh')).status).toBe('500 Internal Server Error')
    }
  })
})
