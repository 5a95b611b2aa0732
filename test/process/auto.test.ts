import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { run } from '../../handlers/auto.ts'
import { ConfigurationError } from '../../src/errors.ts'
import { detectGateway } from '../../src/process/detect.ts'
import type { Gateway } from '../../src/types.ts'
import { settingsFor } from '../../src/process/environment.ts'
import { fastcgiClient, httpClient, scgiClient } from '../../src/exports/testing.ts'
import { bundle, start, temporaryDirectory } from '../server/child.ts'

const directory = temporaryDirectory()
let detecting = ''
let running = ''
beforeAll(async () => {
  detecting = await bundle(
    directory.path,
    'detecting',
    `import { detectGateway } from '#src/process/detect.ts'
    console.log(JSON.stringify(detectGateway()))`,
  )
  running = await bundle(
    directory.path,
    'running',
    `import { statSync } from 'node:fs'
    import { run } from '#src/../handlers/auto.ts'
    if (process.env.TERMINAL) process.stderr.isTTY = true
    const server = await run((environ, startResponse) => {
      startResponse('200 OK', [])
      return [environ['portico.gateway']]
    }, { listen: process.env.LISTEN })
    console.log(server === null ? 'no server' : JSON.stringify(server.address))
    if (server?.address.path) console.log((statSync(server.address.path).mode & 0o777).toString(8))
    server?.close()`,
  )
})
afterAll(directory.remove)

const listeners = process.listenerCount('uncaughtException')

const CGI = { REQUEST_METHOD: 'GET', GATEWAY_INTERFACE: 'CGI/1.1' }
const OWN = { LISTEN_PID: String(process.pid), LISTEN_FDS: '1' }

/** The gateway that a process detects with this descriptor as its stdin. */
async function detected(stdin: 'ignore' | 'pipe' | number, env: NodeJS.ProcessEnv = {}) {
  const { output } = await start(process.execPath, [detecting], { stdio: [stdin], env }).ended
  return JSON.parse(output) as unknown
}

/** Node has the descriptor of a socket nowhere else. */
function descriptor(socket: Server | Socket): number {
  const fd: unknown = Reflect.get(Object(Reflect.get(socket, '_handle')), 'fd')
  if (typeof fd !== 'number') throw new TypeError('no descriptor')
  return fd
}

/** A program that sets `mode`, and closes its server at once. */
const withMode = () =>
  bundle(
    directory.path,
    'with-mode',
    `import { run } from '#src/../handlers/auto.ts'
    const server = await run((environ, startResponse) => {
      startResponse('200 OK', [['Content-Type', 'text/plain']])
      return ['ok']
    }, { mode: 0o600 })
    await server?.close()`,
  )

let sockets = 0

async function listening(kind: 'unix' | 'tcp'): Promise<Server> {
  const server = createServer({ pauseOnConnect: true })
  if (kind === 'tcp') server.listen(0, '127.0.0.1')
  else server.listen(join(directory.path, `socket-${(sockets += 1)}`))
  await once(server, 'listening')
  return server
}

/** A connected socket, as a script of Apache's mod_cgid has for its stdin. */
async function connected(kind: 'unix' | 'tcp') {
  const server = await listening(kind)
  const address = server.address()
  const where =
    typeof address === 'string' ? { path: address } : { port: Object(address).port as number }
  const client = connect(where)
  const [socket] = (await once(server, 'connection')) as [Socket]
  return {
    fd: descriptor(socket),
    close() {
      for (const it of [client, socket]) it.destroy()
      server.close()
    },
  }
}

describe('detectGateway()', () => {
  test.each(['cgi', 'fastcgi', 'scgi', 'http'] as Gateway[])(
    'obeys PORTICO_GATEWAY=%s before everything else',
    (gateway) => {
      const env = { ...CGI, ...OWN, PORTICO_GATEWAY: gateway }
      expect(detectGateway(env)).toMatchObject({ gateway })
      expect(detectGateway({ ...env, PORTICO_LISTEN: ':1' })).toEqual({ gateway, listen: ':1' })
    },
  )

  test.each(['ftp', 'CGI', ' cgi', 'toString', '0', 'cgi,http'])(
    'refuses PORTICO_GATEWAY=%s with a ConfigurationError',
    (gateway) => {
      const attempt = () => detectGateway({ ...CGI, PORTICO_GATEWAY: gateway })
      expect(attempt).toThrow(ConfigurationError)
      expect(attempt).toThrow(`PORTICO_GATEWAY: unknown gateway '${gateway}'. `)
    },
  )

  test('detects a CGI request before it looks at any socket', () => {
    expect(detectGateway({ ...CGI, ...OWN, PORTICO_GATEWAY: '' })).toEqual({ gateway: 'cgi' })
  })

  test.each([
    ['a request without a gateway', { REQUEST_METHOD: 'GET' }],
    ['a gateway without a request', { GATEWAY_INTERFACE: 'CGI/1.1' }],
    ['an empty method', { ...CGI, REQUEST_METHOD: '' }],
  ])('does not detect a CGI request for %s', async (_, env) => {
    expect(await detected('ignore', env)).toMatchObject({ gateway: 'http' })
  })

  test('uses a socket of systemd for FastCGI', () => {
    expect(detectGateway(OWN)).toEqual({ gateway: 'fastcgi', listen: 'systemd' })
  })

  test.each([
    ['for another process', { ...OWN, LISTEN_PID: String(process.ppid) }],
    ['for no process', { LISTEN_FDS: '1' }],
    ['with LISTEN_FDS=0', { ...OWN, LISTEN_FDS: '0' }],
    ['with LISTEN_FDS=x', { ...OWN, LISTEN_FDS: 'x' }],
  ])('ignores a socket of systemd %s', (_, env) => {
    expect(detectGateway(env).listen).not.toBe('systemd')
  })

  test.each(['unix', 'tcp'] as const)(
    'uses a listening %s socket on descriptor 0 for FastCGI',
    async (kind) => {
      const server = await listening(kind)
      expect(await detected(descriptor(server))).toEqual({
        gateway: 'fastcgi',
        listen: 'fd:0',
        multiprocess: true,
      })
      expect(await detected(descriptor(server), CGI)).toEqual({ gateway: 'cgi' })
      server.close()
    },
  )

  test.each(['unix', 'tcp'] as const)(
    'does not use a connected %s socket on descriptor 0 for FastCGI',
    async (kind) => {
      const socket = await connected(kind)
      expect(await detected(socket.fd)).toMatchObject({ gateway: 'http' })
      expect(await detected(socket.fd, CGI)).toEqual({ gateway: 'cgi' })
      socket.close()
    },
  )

  test.each(['ignore', 'pipe'] as const)(
    'chooses HTTP if stdin is not a socket (%s)',
    async (stdin) => {
      const child = start(process.execPath, [detecting], { stdio: [stdin] })
      const { output } = await child.ended
      expect(JSON.parse(output)).toEqual({ gateway: 'http' })
    },
  )

  test.each(['PHP_FCGI_CHILDREN', 'FCGI_ROLE', 'PLACK_SERVER'])(
    'ignores %s, which lighttpd and others set, unlike in Plack',
    async (name) => {
      expect(await detected('ignore', { [name]: '1' })).toMatchObject({ gateway: 'http' })
    },
  )
})

describe('run(app)', () => {
  test('responds to a CGI request, and resolves to null', async () => {
    const child = start(process.execPath, [running], { env: CGI })
    const { code, output } = await child.ended
    expect(output).toContain('Status: 200 OK\r\nContent-Length: 3\r\n\r\ncgi')
    expect(output).toContain('no server')
    expect(code).toBe(0)
  })

  test('serves HTTP if nothing else is detected, and logs its URL', async () => {
    const child = start(process.execPath, [running], { env: { LISTEN: '127.0.0.1:0' } })
    const { code, output } = await child.ended
    const port = /^Serving .*on http:\/\/127\.0\.0\.1:(\d+)\/$/m.exec(output)?.[1]
    expect(output).toContain(`{"kind":"tcp","host":"127.0.0.1","port":${port}}`)
    expect(code).toBe(0)
  })

  test.each([
    ['fastcgi', 'FastCGI'],
    ['scgi', 'SCGI'],
  ])('logs the address on which it serves %s, and who may connect', async (gateway, name) => {
    const path = `${directory.path}/${gateway}`
    const env = { PORTICO_GATEWAY: gateway, PORTICO_LISTEN: `unix:${path}` }
    const { output } = await start(process.execPath, [running], { env }).ended
    expect(output).toMatch(
      new RegExp(`^Serving an application over ${name} on unix:${path} \\(0660 \\w+:\\w+\\)$`, 'm'),
    )
  })

  test('takes mode, owner and group of a Unix socket from the environment', async () => {
    const env = { PORTICO_GATEWAY: 'scgi', PORTICO_LISTEN: `unix:${directory.path}/rights` }
    const outputs: string[] = []
    for (const PORTICO_SOCKET_MODE of ['', '0606', '9']) {
      const child = start(process.execPath, [running], { env: { ...env, PORTICO_SOCKET_MODE } })
      outputs.push((await child.ended).output)
    }
    expect(outputs[0]).toMatch(/^660$/m)
    expect(outputs[1]).toMatch(/^606$/m)
    expect(outputs[2]).toMatch(/^mode: "9" is not a file mode/)
    const child = start(process.execPath, [running], {
      env: { ...env, PORTICO_SOCKET_OWNER: 'no-such-user' },
    })
    expect((await child.ended).output).toContain('owner: "no-such-user" is not in /etc/passwd')
  })

  test.each([
    [
      'mode for TCP, if the program does not name its gateway',
      {},
      'http',
      /^mode: only for listen: 'unix:PATH'\. No effect/m,
    ],
    [
      'a misspelt variable',
      { PORTICO_SHUTDWN_TIMEOUT: '1' },
      'http',
      /^PORTICO_SHUTDWN_TIMEOUT is not a variable of Portico, and has no effect\. Did you mean PORTICO_SHUTDOWN_TIMEOUT\?$/m,
    ],
    [
      'a variable of another gateway',
      { PORTICO_MULTIPLEX: 'false' },
      'http',
      /^PORTICO_MULTIPLEX: multiplex is an option of FastCGI, not of HTTP\. It has no effect in this process$/m,
    ],
  ])('logs %s', async (_, variables, gateway, expected) => {
    const env = { ...variables, PORTICO_GATEWAY: gateway, PORTICO_LISTEN: '127.0.0.1:0' }
    const { code, output } = await start(process.execPath, [await withMode()], { env }).ended
    expect(output).toMatch(expected)
    expect(code).toBe(0)
  })

  test('logs no variable in a CGI script, because each request would', async () => {
    const env = { ...CGI, PORTICO_GATEWAY: 'cgi', PORTICO_SHUTDWN_TIMEOUT: '1' }
    const { output } = await start(process.execPath, [await withMode()], { env }).ended
    expect(output).toMatch(/^Status: 200 OK\r\n/)
    expect(output).not.toContain('PORTICO_')
  })

  test('leaves the rights of an inherited socket to the process that opened it', async () => {
    const server = await listening('unix')
    const child = start(process.execPath, [await withMode()], { stdio: [descriptor(server)] })
    const { code, output } = await child.ended
    expect(output).toBe('')
    expect(code).toBe(0)
    server.close()
  })

  test('refuses mode for TCP if the program names its gateway', async () => {
    await expect(
      run(() => [], { gateway: 'scgi', listen: '127.0.0.1:0', mode: 0o600 }),
    ).rejects.toThrow("mode is for listen: 'unix:PATH'; allowedClients decides")
  })

  test('takes exitOnUncaughtError from the environment', () => {
    const env = { PORTICO_EXIT_ON_UNCAUGHT_ERROR: 'false' }
    expect(settingsFor('http', {}, env)).toEqual({ exitOnUncaughtError: false })
  })

  test('serves FastCGI on an inherited socket, whatever the options say, and logs no line for it', async () => {
    const server = await listening('unix')
    const child = start(process.execPath, [running], {
      stdio: [descriptor(server)],
      env: { LISTEN: '127.0.0.1:0' },
    })
    const { code, output } = await child.ended
    expect(output).toContain('"kind":"fd","fd":0')
    expect(output).not.toContain('Serving')
    expect(code).toBe(0)
    server.close()
  })

  test('reports a configuration error in one line', async () => {
    for (const [env, message] of [
      [
        { PORTICO_GATEWAY: 'gopher' },
        "PORTICO_GATEWAY: unknown gateway 'gopher'. Known names: cgi, fastcgi, scgi, http",
      ],
      [{ PORTICO_GATEWAY: 'scgi', LISTEN: 'nowhere' }, 'listen: "nowhere" is not an address'],
    ] as const) {
      const { code, output } = await start(process.execPath, [running], { env }).ended
      expect(code).toBe(1)
      expect(output).toContain(message)
      expect(output).not.toContain('    at ')
    }
  })

  test('rejects, and logs nothing, if the program catches the error', async () => {
    const write = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
    try {
      await expect(run(() => [], { gateway: 'gopher' as Gateway })).rejects.toThrow(
        new ConfigurationError(
          "gateway: unknown gateway 'gopher'. Known names: cgi, fastcgi, scgi, http",
        ),
      )
      await new Promise(setImmediate)
      expect(write).not.toHaveBeenCalled()
      expect(process.exitCode).toBe(undefined)
      expect(process.listenerCount('uncaughtException')).toBe(listeners)
    } finally {
      write.mockRestore()
    }
  })

  test.each([
    ['run(app, options)', ''],
    ['await run(app, options)', 'await '],
    ['run(app, options) in an async function', '(async () => { await '],
  ])('that cannot start prints one line and exits with code 1 (%s)', async (_, before) => {
    const end = before.startsWith('(') ? '})()' : ''
    const script = await bundle(
      directory.path,
      'failing',
      `import { run } from '#src/../handlers/auto.ts'
      ${before}run(() => [], { gateway: 'http', listen: 'nowhere' })${end}`,
    )
    const { code, output } = await start(process.execPath, [script]).ended
    expect(output).toMatch(/^listen: "nowhere" is not an address; .*\n$/)
    expect(code).toBe(1)
  })

  test('logs the stack of an error that is not a ConfigurationError and is not caught', async () => {
    const script = await bundle(
      directory.path,
      'bug',
      `import { run } from '#src/../handlers/auto.ts'
      run(() => [], { gateway: 'http', get listen() { throw new TypeError('a bug') } })`,
    )
    const { code, output } = await start(process.execPath, [script]).ended
    expect(output).toMatch(/TypeError: a bug\n    at /)
    expect(code).toBe(1)
  })

  test('logs the stack of another error that is uncaught in the same turn', async () => {
    const script = await bundle(
      directory.path,
      'two-errors',
      `import { run } from '#src/../handlers/auto.ts'
      run(() => [], { gateway: 'gopher' }).catch(() => { throw new TypeError('another') })`,
    )
    const { code, output } = await start(process.execPath, [script]).ended
    expect(output).toMatch(/TypeError: another\n    at /)
    expect(code).toBe(1)
  })

  test('returns a server with its url, its requests and close({ timeout })', async () => {
    vi.spyOn(process.stderr, 'write').mockReturnValue(true)
    const server = await run(
      async (environ, startResponse) => {
        if (environ.PATH_INFO === '/slow') await new Promise(() => {})
        startResponse('200 OK', [['Content-Type', 'text/plain']])
        return ['ok']
      },
      { gateway: 'http', listen: '127.0.0.1:0' },
    )
    vi.restoreAllMocks()
    expect(server!.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/$/)
    expect(server!.requests).toBe(0)
    for (const count of [1, 2]) {
      expect(await (await fetch(server!.url)).text()).toBe('ok')
      expect(server!.requests).toBe(count)
    }
    const aborted = fetch(`${server!.url}slow`).catch(() => 'aborted')
    await expect.poll(() => server!.requests).toBe(3)
    await server!.close({ timeout: 10 })
    expect(await aborted).toBe('aborted')
    expect(server!.abortedConnections).toBe(1)
    expect(server!.requests).toBe(3)
  })

  test('refuses an option of another gateway if the program names its gateway', async () => {
    await expect(run(() => [], { gateway: 'scgi', serverSoftware: null })).rejects.toThrow(
      'serverSoftware is an option of HTTP, not of SCGI',
    )
    await expect(run(() => [], { gateway: 'cgi', listen: ':0' })).rejects.toThrow(
      'listen is an option of FastCGI, SCGI, HTTP, node-fastcgi, not of CGI',
    )
  })

  test.each([
    [
      'scgi',
      /^serverSoftware is an option of HTTP, not of SCGI\. It has no effect in this process$/m,
    ],
    [
      'http',
      /^multiplex is an option of FastCGI, not of HTTP\. It has no effect in this process$/m,
    ],
    ['cgi', /^Status: 200 OK/],
  ])('logs an option that the detected gateway %s does not have', async (gateway, expected) => {
    const script = await bundle(
      directory.path,
      'misplaced',
      `import { run } from '#src/../handlers/auto.ts'
      const server = await run((environ, startResponse) => {
        startResponse('200 OK', [['Content-Type', 'text/plain']])
        return ['ok']
      }, { multiplex: false, serverSoftware: null })
      await server?.close()`,
    )
    const env = { ...CGI, PORTICO_GATEWAY: gateway, PORTICO_LISTEN: '127.0.0.1:0' }
    const { code, output } = await start(process.execPath, [script], { env }).ended
    expect(output).toMatch(expected)
    expect(code).toBe(0)
  })

  test.each([
    ['true', 500, 'header 1: the name must'],
    ['false', 200, ''],
  ])('of a CGIHandler with validate: %s responds with %i', async (validate, status, logged) => {
    const script = await bundle(
      directory.path,
      'cgi-validated',
      `import { CGIHandler } from '#src/../handlers/cgi.ts'
      new CGIHandler({ validate: ${validate} }).run((environ, startResponse) => {
        startResponse('200 OK', [['X-Underscored_', '1']])
        return 'text'
      })`,
    )
    const { output } = await start(process.execPath, [script], {
      env: {
        ...CGI,
        SCRIPT_NAME: '/x',
        SERVER_NAME: 'a',
        SERVER_PORT: '80',
        SERVER_PROTOCOL: 'HTTP/1.0',
      },
    }).ended
    expect(output).toMatch(new RegExp(`^Status: ${status} `, 'm'))
    expect(output).toContain(logged)
  })

  test.each(['fastcgi', 'scgi', 'http', 'cgi'] as const)(
    'with validate: true validates an application over %s, but not one of a framework',
    async (gateway) => {
      const script = await bundle(
        directory.path,
        'validated',
        `import { run } from '#src/../handlers/auto.ts'
        const own = (environ, startResponse) => {
          startResponse('200 OK', [])
          return ['ok']
        }
        const framework = { fetch: () => new Response('ok', { headers: { 'Content-Type': '' } }) }
        await run(process.env.FRAMEWORK ? framework : own, { validate: true })`,
      )
      const status = async (FRAMEWORK: string): Promise<number> => {
        const path = `${directory.path}/validated-${gateway}${FRAMEWORK}`
        const env = { ...CGI, PORTICO_GATEWAY: gateway, PORTICO_LISTEN: `unix:${path}`, FRAMEWORK }
        const child = start(process.execPath, [script], { env })
        if (gateway === 'cgi') {
          return Number(/^Status: (\d+)/m.exec((await child.ended).output)?.[1])
        }
        await expect.poll(() => existsSync(path)).toBe(true)
        const client = { fastcgi: fastcgiClient, scgi: scgiClient, http: httpClient }[gateway]
        const response = await client({ path }).request({ target: '/' })
        child.process.kill()
        await child.ended
        return Number.parseInt(response.status, 10)
      }
      expect(await status('')).toBe(500)
      expect(await status('1')).toBe(200)
    },
  )
})

describe('PORTICO_* variables', () => {
  test('override the options of the program', () => {
    const env = {
      PORTICO_SHUTDOWN_TIMEOUT: '5',
      PORTICO_MULTIPROCESS: 'true',
      PORTICO_LISTEN: ':1',
    }
    expect(settingsFor('http', { shutdownTimeout: 9, listen: ':2' }, env)).toEqual({
      shutdownTimeout: 5,
      multiprocess: true,
      listen: ':1',
    })
  })

  test('do not include PORTICO_LISTEN if the program names its gateway', () => {
    const env = { PORTICO_SHUTDOWN_TIMEOUT: '5', PORTICO_LISTEN: ':1' }
    expect(settingsFor('http', { gateway: 'http', listen: ':2' }, env)).toEqual({
      gateway: 'http',
      shutdownTimeout: 5,
      listen: ':2',
    })
  })
})
