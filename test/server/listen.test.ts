import {
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer as createHTTPServer } from 'node:http'
import { connect, createServer } from 'node:net'
import type { Server } from 'node:net'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { ConfigurationError } from '../../src/errors.ts'
import { fastcgiClient, httpClient, scgiClient } from '../../src/exports/testing.ts'
import { listen, listenError, parseListen } from '../../src/server/listen.ts'
import type { ListenOptions, ListenPolicy } from '../../src/server/listen.ts'
import { bundle, start, temporaryDirectory } from './child.ts'

const directory = temporaryDirectory()
afterAll(directory.remove)

const inDirectory = (name: string) => join(directory.path, name)
const policy: ListenPolicy = { fallback: 'fd:0', wildcard: 'refuse' }
const servers: Server[] = []

function hello(): Server {
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.end('hello')
  })
  servers.push(server)
  return server
}

const close = (server: Server) => new Promise((resolve) => server.close(resolve))

/** What a client receives, or the code of the error. */
function ask(where: { path: string } | { host: string; port: number }): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(where)
    let received = ''
    socket.setEncoding('utf8').on('data', (text: string) => (received += text))
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''))
    socket.on('end', () => resolve(received))
  })
}

async function failure(listening: Promise<unknown>): Promise<ConfigurationError> {
  const error = await listening.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  if (!(error instanceof ConfigurationError)) throw new Error('no ConfigurationError')
  return error
}

let count = 0

/** Node has the descriptor of a server nowhere else. */
function descriptor(server: Server): number {
  const fd: unknown = Reflect.get(Object(Reflect.get(server, '_handle')), 'fd')
  if (typeof fd !== 'number') throw new TypeError('no descriptor')
  return fd
}

/** A listening socket, its address, and a function that closes it in this process. */
async function opened(kind: 'unix' | 'tcp') {
  const server = createServer()
  const path = inDirectory(`parent-${++count}`)
  await new Promise<void>((resolve) => {
    if (kind === 'unix') server.listen(path, resolve)
    else server.listen(0, '127.0.0.1', resolve)
  })
  const address = server.address()
  if (kind === 'tcp' && address !== null && typeof address === 'object') {
    return { server, fd: descriptor(server), where: { host: '127.0.0.1', port: address.port } }
  }
  const name = `${path}.sock`
  linkSync(path, name)
  return { server, fd: descriptor(server), where: { path: name } }
}

afterEach(async () => {
  await Promise.all(servers.splice(0).map(close))
})

describe('The option listen', () => {
  test.each([
    ['unix:/run/app.sock', { kind: 'unix', path: '/run/app.sock' }],
    ['unix:app.sock', { kind: 'unix', path: 'app.sock' }],
    ['unix:/run/a:9000', { kind: 'unix', path: '/run/a:9000' }],
    ['192.0.2.1:9000', { kind: 'tcp', host: '192.0.2.1', port: 9000 }],
    ['localhost:0', { kind: 'tcp', host: 'localhost', port: 0 }],
    ['[::1]:9000', { kind: 'tcp', host: '::1', port: 9000 }],
    [':9000', { kind: 'tcp', host: '127.0.0.1', port: 9000 }],
    ['9000', { kind: 'tcp', host: '127.0.0.1', port: 9000 }],
    [9000, { kind: 'tcp', host: '127.0.0.1', port: 9000 }],
    [0, { kind: 'tcp', host: '127.0.0.1', port: 0 }],
    ['*:65535', { kind: 'tcp', host: '*', port: 65_535 }],
    ['fd:0', { kind: 'fd', fd: 0 }],
    ['fd:12', { kind: 'fd', fd: 12 }],
    ['systemd', { kind: 'systemd', name: undefined }],
    ['systemd:web', { kind: 'systemd', name: 'web' }],
  ])('of %j is read as %j', (given, target) => {
    expect(parseListen(given)).toEqual(target)
  })

  test.each([
    ['', 'is not an address'],
    ['unix:', 'names no file'],
    ['unix:a\0b', 'names no file'],
    ['/run/app.sock', "lacks 'unix:'"],
    ['localhost', 'is not an address'],
    ['localhost:', 'is not an address'],
    ['localhost:http', 'is not an address'],
    ['::1:9000', 'is not an address'],
    ['[::1]', 'is not an address'],
    ['[]:1', 'has no IPv6 address'],
    ['[127.0.0.1]:1', 'has no IPv6 address'],
    [':65536', 'has a port above 65535'],
    [-1, 'is not an address'],
    [1.5, 'is not an address'],
    [Number.NaN, 'is not an address'],
    [' 80', 'is not an address'],
    ['fd:', 'is not an address'],
    ['fd:-1', 'is not an address'],
    ['systemd:', 'is not an address'],
  ])('of %j is refused: it %s', (given, why) => {
    expect(() => parseListen(given)).toThrow(ConfigurationError)
    expect(() => parseListen(given)).toThrow(why)
    expect(() => parseListen(given)).toThrow(`listen: ${JSON.stringify(given)}`)
    expect(() => parseListen(given)).toThrow("accepted are 'unix:PATH'")
  })

  test('of a path beyond the limit of the system is refused: it needs a shorter one', () => {
    const given = `unix:/${'x'.repeat(107)}`
    expect(() => parseListen(given)).toThrow(ConfigurationError)
    expect(() => parseListen(given)).toThrow(
      /^listen: "unix:\/x{107}" is longer than \d+ bytes, the limit of this system for socket paths\. Choose a shorter path, such as one in \/run$/,
    )
  })
})

describe('A TCP server', () => {
  test.each([0, ':0', '127.0.0.1:0', 'localhost:0', '[::1]:0'])(
    'at %j picks a free port and returns its address',
    async (given) => {
      const address = await listen(hello(), { listen: given }, policy)
      if (address.kind !== 'tcp') throw new Error(address.kind)
      expect(['127.0.0.1', '::1']).toContain(address.host)
      expect(await ask(address)).toBe('hello')
    },
  )

  test('can be an http.Server', async () => {
    const server = createHTTPServer()
    servers.push(server)
    expect(await listen(server, { listen: ':0' }, policy)).toMatchObject({ kind: 'tcp' })
  })

  test.each([
    [
      80,
      '. A port below 1024 needs root or CAP_NET_BIND_SERVICE: choose a higher one, such as 8080',
    ],
    [8080, ''],
  ])('explains why it may not use port %d', async (port, hint) => {
    const server = hello()
    server.listen = () => {
      setImmediate(() => server.emit('error', Object.assign(new Error('no'), { code: 'EACCES' })))
      return server
    }
    const error = await failure(listen(server, { listen: port }, policy))
    expect(error.message).toBe(`listen: '${port}': permission denied (EACCES)${hint}`)
  })

  test('at a port in use fails with a ConfigurationError that has the cause', async () => {
    const address = await listen(hello(), { listen: 0 }, policy)
    const port = address.kind === 'tcp' ? address.port : 0
    const error = await failure(listen(hello(), { listen: port }, policy))
    expect(error.message).toBe(
      `listen: '${port}': in use by another process (EADDRINUSE). ` +
        'Stop that process, or choose another port',
    )
    expect(error.cause).toMatchObject({ code: 'EADDRINUSE' })
  })

  test.each([
    [
      '192.0.2.1:0',
      'not an address of this machine (EADDRNOTAVAIL). Choose one that it has, such as 127.0.0.1',
    ],
    ['no-such-host.invalid:0', 'listen: '],
  ])('cannot listen at %s, and says why', async (given, why) => {
    expect((await failure(listen(hello(), { listen: given }, policy))).message).toContain(why)
  })

  test.each(['*:0', '0.0.0.0:0', '0:0', '[::]:0', '[0:0::0]:0', '[::ffff:0.0.0.0]:0'])(
    'refuses the wildcard %s without a list of clients',
    async (given) => {
      const error = await failure(listen(hello(), { listen: given }, policy))
      expect(error.message).toContain('allowedClients')
    },
  )

  test.each(['*:0', '0.0.0.0:0'])(
    'listens at the wildcard %s if the policy allows it',
    async (given) => {
      const open: ListenPolicy = { ...policy, wildcard: 'allow' }
      const address = await listen(hello(), { listen: given }, open)
      if (address.kind !== 'tcp') throw new Error(address.kind)
      expect(await ask({ host: '127.0.0.1', port: address.port })).toBe('hello')
    },
  )
})

describe('A Unix socket', () => {
  test('has mode 0660, whatever the umask, and is removed when the server closes', async () => {
    const path = inDirectory('a.sock')
    const umask = process.umask(0)
    const server = hello()
    expect(await listen(server, { listen: `unix:${path}` }, policy)).toEqual({ kind: 'unix', path })
    expect(process.umask(umask)).toBe(0)
    expect(lstatSync(path).mode & 0o777).toBe(0o660)
    expect(await ask({ path })).toBe('hello')
    await close(server)
    expect(existsSync(path)).toBe(false)
  })

  test.each([
    [0o600, 0o600],
    ['0666', 0o666],
    ['0o640', 0o640],
    ['600', 0o600],
  ])('has the mode of the option: %s', async (mode, bits) => {
    const path = inDirectory('mode.sock')
    await listen(hello(), { listen: `unix:${path}`, mode }, policy)
    expect(lstatSync(path).mode & 0o777).toBe(bits)
  })

  test('has the owner and the group of the options, by number or by name', async () => {
    const path = inDirectory('owner.sock')
    const { uid, gid } = lstatSync(directory.path)
    const name = uid === 0 ? 'root' : uid
    await listen(hello(), { listen: `unix:${path}`, owner: name, group: String(gid) }, policy)
    expect(lstatSync(path)).toMatchObject({ uid, gid })
  })

  test.each<[ListenOptions, string]>([
    [
      { listen: '127.0.0.1:0', mode: 0o660 },
      "mode is for listen: 'unix:PATH'; allowedClients decides who may connect over TCP",
    ],
    [{ listen: 0, group: 'www-data' }, "group is for listen: 'unix:PATH'; allowedClients decides"],
    [
      { listen: 'fd:0', owner: 0 },
      "owner is for listen: 'unix:PATH'; the process that opened an inherited socket has set its",
    ],
  ])('only has rights: %j is refused', async (options, message) => {
    const error = await failure(listen(hello(), options, policy))
    expect(error.message).toContain(message)
  })

  test.each<[ListenOptions, string]>([
    [{ mode: 660 }, 'mode: 660 is not a file mode'],
    [{ mode: -1 }, 'mode: -1'],
    [{ mode: '0999' }, 'mode: "0999"'],
    [{ owner: 'no-such-user' }, 'owner: "no-such-user" is not in /etc/passwd'],
    [{ group: '' }, 'group: "" is not in /etc/group'],
    [{ group: -1 }, 'group: -1 is not in /etc/group'],
  ])('is not created if the options %j are refused', async (options, message) => {
    const path = inDirectory('refused.sock')
    const error = await failure(listen(hello(), { listen: `unix:${path}`, ...options }, policy))
    expect(error.message).toContain(message)
    expect(existsSync(path)).toBe(false)
  })

  test.each([
    ['group', '"root"', 'root, or a process in that group'],
    ['owner', '0', 'root'],
  ])('is removed with an error if its %s cannot be changed', async (option, value, who) => {
    // A process that is not root, even if the tests run as root.
    const script = await bundle(
      directory.path,
      option,
      `import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
      import { tmpdir } from 'node:os'
      import { createServer } from 'node:net'
      import { listen } from '#src/server/listen.ts'
      if (process.getuid() === 0) {
        process.setgroups([])
        process.setgid(65534)
        process.setuid(65534)
      }
      const directory = mkdtempSync(tmpdir() + '/portico-')
      const options = { listen: 'unix:' + directory + '/app.sock', ${option}: ${value} }
      await listen(createServer(), options, { fallback: 0, wildcard: 'refuse' }).catch((error) => {
        console.log(error.name + ': ' + error.message.replace(directory, 'DIRECTORY'))
      })
      console.log(readdirSync(directory).length)
      rmSync(directory, { recursive: true })`,
    )
    // Read from a descriptor: the directory is closed to others.
    const { output } = await start('sh', ['-c', `exec node --input-type=module < '${script}'`])
      .ended
    expect(output).toBe(
      `ConfigurationError: ${option}: cannot set the ${option} of 'DIRECTORY/app.sock' to ${value}; ` +
        `only ${who} may do that (EPERM)\n0\n`,
    )
  })

  test('in a missing directory is a ConfigurationError', async () => {
    const path = inDirectory('no$$/a.sock')
    const error = await failure(listen(hello(), { listen: `unix:${path}` }, policy))
    expect(error.message).toBe(
      `listen: 'unix:${path}': no such directory (ENOENT). ` +
        `Create the directory: mkdir -p ${inDirectory('no$$')}`,
    )
    expect(error.cause).toMatchObject({ code: 'ENOENT' })
  })

  test.each([
    ['EACCES', 'permission denied (EACCES). This user may not create files in /run/app: choose'],
    ['ENOTDIR', 'no such directory (ENOTDIR). /run/app is not a directory, or is below a file'],
    ['EROFS', 'on a read-only file system (EROFS). Choose a directory that can be written to'],
    ['EMFILE', 'refused (EMFILE)'],
  ])('that the system refuses with %s names the next step, if there is one', (code, text) => {
    const refused = Object.assign(new Error('refused'), { code })
    const target = { kind: 'unix', path: '/run/app/a.sock' } as const
    expect(listenError(refused, 'unix:/run/app/a.sock', target)).toHaveProperty(
      'message',
      expect.stringContaining(`listen: 'unix:/run/app/a.sock': ${text}`),
    )
  })

  test('of a dead process is replaced', async () => {
    const path = inDirectory('stale.sock')
    const dead = hello()
    await new Promise<void>((resolve) => dead.listen(inDirectory('dying.sock'), resolve))
    linkSync(inDirectory('dying.sock'), path)
    await close(dead)
    expect(await ask({ path })).toBe('ECONNREFUSED')

    await listen(hello(), { listen: `unix:${path}` }, policy)
    expect(await ask({ path })).toBe('hello')
  })

  test('on which another process listens is not replaced', async () => {
    const path = inDirectory('used.sock')
    await listen(hello(), { listen: `unix:${path}` }, policy)
    const second = hello()
    const error = await failure(listen(second, { listen: `unix:${path}` }, policy))
    expect(error.message).toContain(
      'in use by another process. Stop that process, or choose another path',
    )
    expect(second.listening).toBe(false)
    expect(await ask({ path })).toBe('hello')
  })

  test('is opened by only one of two servers that start at once', async () => {
    const path = inDirectory('race.sock')
    const both = await Promise.allSettled(
      [hello(), hello()].map((server) => listen(server, { listen: `unix:${path}` }, policy)),
    )
    expect(both.map((each) => each.status).toSorted()).toEqual(['fulfilled', 'rejected'])
    expect(await ask({ path })).toBe('hello')
  })

  test.each([
    ['a file', (path: string) => writeFileSync(path, 'precious')],
    ['a directory', (path: string) => mkdirSync(path)],
    ['a symbolic link', (path: string) => symlinkSync('nowhere', path)],
  ])('never replaces %s', async (name, make) => {
    const path = inDirectory(name)
    make(path)
    const before = lstatSync(path)
    const error = await failure(listen(hello(), { listen: `unix:${path}` }, policy))
    expect(error.message).toContain('is not a socket')
    expect(lstatSync(path).ino).toBe(before.ino)
  })

  test('of a new server remains when the old server closes', async () => {
    const path = inDirectory('handover.sock')
    const [first, second] = [hello(), hello()]
    await listen(first, { listen: `unix:${path}` }, policy)
    // The name is removed by hand while the first server still runs.
    linkSync(path, inDirectory('kept.sock'))
    unlinkSync(path)
    await listen(second, { listen: `unix:${path}` }, policy)
    await close(first)
    expect(await ask({ path })).toBe('hello')
  })

  test('leaves no other file in its directory', async () => {
    mkdirSync(inDirectory('tidy'))
    await listen(hello(), { listen: `unix:${inDirectory('tidy/a.sock')}` }, policy)
    expect(readdirSync(inDirectory('tidy'))).toEqual(['a.sock'])
  })
})

describe('An inherited socket', () => {
  let script = ''

  beforeAll(async () => {
    script = await bundle(
      directory.path,
      'inherited',
      `import { createServer } from 'node:net'
       import { listen } from '#src/server/listen.ts'
       if (process.env.TOUCH_STDIN) process.stdin.on('error', () => {})
       const given = process.env.LISTEN
       const server = createServer((socket) => { socket.end('child'); server.close() })
       listen(server, { listen: given }, { fallback: 'fd:0', wildcard: 'refuse' }).then(
         (address) => console.log(JSON.stringify(address),
           Object.keys(process.env).filter((name) => name.startsWith('LISTEN_')).join()),
         (error) => console.log(error.code, error.message))`,
    )
  })

  test.each([
    ['unix', {}],
    ['tcp', {}],
    ['unix', { TOUCH_STDIN: '1' }],
    ['tcp', { TOUCH_STDIN: '1' }],
  ] as const)('on fd 0 is used without an option: %s %j', async (kind, env) => {
    const { server, fd, where } = await opened(kind)
    const child = start(process.execPath, [script], { stdio: [fd], env })
    await close(server)
    expect(await child.printed('\n')).toBe('{"kind":"fd","fd":0} \n')
    expect(await ask(where)).toBe('child')
    expect((await child.ended).code).toBe(0)
  })

  test.each([
    ['fd:3', 'systemd'],
    ['the first', 'systemd:one'],
    ['its number', 'fd:3'],
  ])('on fd 3 is taken from systemd, and its variables are removed (%s)', async (_, given) => {
    const { server, fd, where } = await opened('unix')
    const child = start(
      '/bin/sh',
      ['-c', 'LISTEN_PID=$$ exec "$0" "$1"', process.execPath, script],
      {
        stdio: ['ignore', fd],
        env: { LISTEN: given, LISTEN_FDS: '1', LISTEN_FDNAMES: 'one' },
      },
    )
    await close(server)
    expect(await child.printed('\n')).toBe('{"kind":"fd","fd":3} \n')
    expect(await ask(where)).toBe('child')
    await child.ended
  })

  test('of systemd is found by its name among several', async () => {
    const { server, fd, where } = await opened('tcp')
    const child = start(
      '/bin/sh',
      ['-c', 'LISTEN_PID=$$ exec "$0" "$1"', process.execPath, script],
      {
        stdio: ['ignore', 'ignore', fd],
        env: { LISTEN: 'systemd:two', LISTEN_FDS: '2', LISTEN_FDNAMES: 'one:two' },
      },
    )
    await close(server)
    expect(await child.printed('\n')).toBe('{"kind":"fd","fd":4} \n')
    expect(await ask(where)).toBe('child')
    await child.ended
  })

  test.each([
    ['fastcgi', 'systemd', 'one:two'],
    ['scgi', 'systemd', ''],
    ['http', 'systemd', 'web:web'],
    ['http', 'systemd:web', 'web:web'],
  ] as const)(
    'is served with all others of a systemd unit: over %s, listen %s, names %j',
    async (gateway, listenOn, names) => {
      const file = await bundle(
        directory.path,
        'several',
        `import { run } from '#src/../handlers/auto.ts'
        const server = await run((environ, startResponse) => {
          startResponse('200 OK', [['Content-Type', 'text/plain']])
          return ['ok']
        }, { gateway: '${gateway}', listen: '${listenOn}' })
        console.log('up')
        await server.closed
        console.log('closed', server.requests)`,
      )
      const [first, second] = [await opened('unix'), await opened('unix')]
      const child = start(
        '/bin/sh',
        ['-c', 'LISTEN_PID=$$ exec "$0" "$1"', process.execPath, file],
        {
          stdio: ['ignore', first.fd, second.fd],
          env: { LISTEN_FDS: '2', LISTEN_FDNAMES: names },
        },
      )
      await Promise.all([close(first.server), close(second.server)])
      await child.printed('up')
      const client = { fastcgi: fastcgiClient, scgi: scgiClient, http: httpClient }[gateway]
      for (const { where } of [first, second]) {
        if (!('path' in where)) throw new Error('not a Unix socket')
        const connected = client(where)
        expect(String((await connected.request({ target: '/' })).body)).toBe('ok')
        await connected.close()
      }
      child.process.kill()
      const { code, output } = await child.ended
      expect(output).toContain('closed 2')
      expect(code).toBe(0)
    },
  )

  test.each([
    ['systemd', { LISTEN_PID: '1', LISTEN_FDS: '1' }, 'no socket was passed to this process'],
    ['systemd', {}, 'no socket was passed to this process'],
    ['fd:99', {}, 'file descriptor 99 is not open'],
    ['fd:2', {}, 'file descriptor 2 is a connected socket'],
  ])('that is missing is an error: listen %s with %j', async (given, env, message) => {
    const child = start(process.execPath, [script], { env: { LISTEN: given, ...env } })
    const { output, code } = await child.ended
    expect(output).toMatch(/^PORTICO_CONFIGURATION (?:listen|Cannot listen): /)
    expect(output).toContain(message)
    expect(code).toBe(0)
  })

  test('that is missing on fd 0 is an error of one line, which names the other ways', async () => {
    const { output } = await start(process.execPath, [script]).ended
    expect(output).toBe(
      'PORTICO_CONFIGURATION Cannot listen: file descriptor 0 is not a socket. ' +
        "Start this program from a web server or spawn-fcgi, or set listen to 'unix:PATH' or ':PORT'\n",
    )
  })

  test('that is connected is not listened on', async () => {
    const { output } = await start(process.execPath, [script], { stdio: ['pipe'] }).ended
    expect(output).toContain('file descriptor 0 is a connected socket')
  })
})
