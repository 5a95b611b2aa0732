/** Where the settings of `portico serve` come from, and which are refused. */
import { availableParallelism } from 'node:os'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it, test } from 'vitest'
import { findEntry, logicalDirectory } from '../../src/command/entry.ts'
import { parseFlags } from '../../src/command/flags.ts'
import { commandHelp } from '../../src/command/help.ts'
import { listenersOf } from '../../src/command/listeners.ts'
import { command } from '../../src/command/serve.ts'
import { SERVE_FLAGS } from '../../src/command/serve-flags.ts'
import { readSettings, serveSettings } from '../../src/command/settings.ts'
import { UsageError } from '../../src/command/usage-error.ts'

const directory = mkdtempSync(join(tmpdir(), 'portico-settings-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))
let files = 0

/** A file with a name of its own: a module is imported once. */
function file(text: string, extension = 'mjs'): string {
  const path = join(directory, `file-${++files}.${extension}`)
  writeFileSync(path, text)
  return path
}

/** The settings for these arguments and variables. */
async function settingsFor(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  err: (text: string) => void = () => {},
) {
  const before = { ...process.env }
  Object.assign(process.env, env)
  try {
    const call = { ...parseFlags(args, SERVE_FLAGS), out: () => {}, err }
    return await readSettings(call)
  } finally {
    for (const name of Object.keys(env)) {
      if (before[name] === undefined) delete process.env[name]
      else process.env[name] = before[name]
    }
  }
}

describe('A setting', () => {
  it('comes from a flag, else from a variable, else from the configuration', async () => {
    const config = file(`export default { slow: '1s', maxRequests: 7, workers: 3, listen: ':1' }`)
    const { values, workers, listeners } = await settingsFor(['--config', config, '--slow', '3s'], {
      PORTICO_SLOW: '2s',
      PORTICO_MAX_REQUESTS: '8',
    })
    expect(values).toMatchObject({ slow: 3000, maxRequests: 8 })
    expect(workers).toBe(3)
    expect(listeners).toEqual([{ gateway: 'http', listen: ':1', asked: true }])
  })

  it('of a configuration is written as in JavaScript or as the flag, or returned by a function', async () => {
    const config = file(`export default async () => ({
      application: 'main.js', idleTimeout: 5000, maxHeaderBytes: '64k', live: false,
      allow: ['10.0.0.0/8', '::1'], listen: ['127.0.0.1:1', 'scgi://127.0.0.1:2'], headersTimeout: Infinity,
    })`)
    const { values, given, options } = await settingsFor(['--config', config])
    expect(given).toBe('main.js')
    expect(values).toMatchObject({ idleTimeout: 5000, maxHeaderBytes: 65_536, live: false })
    expect(options).toMatchObject({ allowedClients: '10.0.0.0/8,::1', headersTimeout: Infinity })
  })

  it('in an env file is that of a variable, unless the variable is set', async () => {
    const env = file('PORTICO_SLOW=4s\nPORTICO_MAX_REQUESTS=5\n', 'env')
    const { values, envFiles } = await settingsFor(['--env-file', env], { PORTICO_SLOW: '6s' })
    expect(values).toMatchObject({ slow: 6000, maxRequests: 5 })
    expect(envFiles).toEqual([env])
  })

  it('of several values is comma-separated in a variable', async () => {
    const { listeners } = await settingsFor([], {
      PORTICO_LISTEN: ':1, fastcgi://unix:/run/a.sock',
    })
    expect(listeners.map(({ gateway, listen }) => `${gateway} ${listen}`)).toEqual([
      'http :1',
      'fastcgi unix:/run/a.sock',
    ])
  })
})

test('A variable whose name is nearly that of a setting is reported with the nearest name', async () => {
  const lines: string[] = []
  await settingsFor([], { PORTICO_WROKERS: '2', PORTICO_TEST: 'x' }, (line) => lines.push(line))
  expect(lines).toEqual([
    "portico: the variable PORTICO_WROKERS has no effect. Did you mean 'PORTICO_WORKERS'?\n",
  ])
})

test.each([
  [[], {}, undefined],
  [['--workers', '2'], { WEB_CONCURRENCY: '5' }, 2],
  [['--workers', 'auto'], {}, availableParallelism()],
  [[], { WEB_CONCURRENCY: '5' }, 5],
  [[], { PORTICO_WORKERS: '4', WEB_CONCURRENCY: '5' }, 4],
] as const)('The flags %j with the variables %j give %s workers', async (args, env, workers) => {
  expect((await settingsFor(args, env)).workers).toBe(workers)
})

describe('serveSettings', () => {
  it('gives each listener the options that its gateway and its kind of socket have', async () => {
    const { listeners } = serveSettings(
      await settingsFor(
        (
          '--listen :1 --listen fastcgi://unix:/run/a.sock --socket-mode 0666 --no-multiplex ' +
          '--server-software X --allow 10.0.0.1 --idle-timeout 5s --shutdown-timeout 1s --mount /shop'
        ).split(' '),
      ),
    )
    const common = { idleTimeout: 5000, scriptName: '/shop', shutdownTimeout: 1000 }
    expect(listeners).toMatchObject([
      {
        gateway: 'http',
        listen: ':1',
        options: { ...common, allowedClients: '10.0.0.1', serverSoftware: 'X' },
      },
      {
        gateway: 'fastcgi',
        listen: 'unix:/run/a.sock',
        options: { ...common, mode: '0666', multiplex: false },
      },
    ])
    expect(listeners[1]!.options).not.toHaveProperty('allowedClients')
  })

  it('has the mode of a configuration that writes it as a number or as text, and a port 0 for each server', async () => {
    for (const [mode, expected] of [
      ['0o660', 0o660],
      ["'0660'", '0660'],
      ["'660'", '660'],
    ]) {
      const config = file(`export default { socketMode: ${mode}, listen: 'unix:/run/a.sock' }`)
      const { listeners } = serveSettings(await settingsFor(['--config', config]))
      expect(listeners[0]!.options).toMatchObject({ mode: expected })
    }
    const flags = ['--listen', '127.0.0.1:0', '--metrics', '127.0.0.1:0']
    expect(serveSettings(await settingsFor(flags)).metrics).toBe('127.0.0.1:0')
  })

  it('resolves paths against the working directory', async () => {
    const settings = serveSettings(
      await settingsFor(['--control', 'c.sock', '--mount', '/a=b.js', '--access-log', 'off']),
    )
    expect(settings).toMatchObject({
      control: join(settings.directory, 'c.sock'),
      mounts: [{ at: '/a', file: join(settings.directory, 'b.js') }],
    })
    expect(settings.accessLog).toBeUndefined()
  })
})

describe('A usage error in one line follows from', () => {
  const config = file(`export default { wrokers: 2 }`)
  const throws = file(`export default () => { throw new Error('no settings today') }`)
  it.each<[readonly string[], Readonly<Record<string, string>>, RegExp]>([
    [['--listen', 'ftp://x:1'], {}, /^--listen: unknown gateway 'ftp'/],
    [['--listen', '/run/a.sock'], {}, /^--listen: "\/run\/a\.sock" lacks 'unix:'; accepted are /],
    [['--listen', ':1', '--listen', ':1'], {}, /^--listen: :1 is named twice$/],
    [['--gateway', 'fastcgi'], {}, /^--gateway fastcgi needs an address, such as --listen unix:/],
    [['--no-multiplex'], {}, /^--multiplex has no effect over HTTP$/],
    [['--socket-mode', '0666'], {}, /^--socket-mode is for Unix sockets \(--listen unix:PATH\)$/],
    [['--listen', 'unix:/x', '--allow', '::1'], {}, /^--allow is for TCP sockets; /],
    [['--mount', 'shop=x.js'], {}, /^--mount: 'shop' does not begin with a slash/],
    [['--allow', '300.1.1.1'], {}, /^--allow: "300\.1\.1\.1" is not an IP address or a CIDR block/],
    [['--user', 'no-such-user'], {}, /^--user: "no-such-user" is not in \/etc\/passwd; /],
    [['--group', 'no-such-group'], {}, /^--group: "no-such-group" is not in \/etc\/group; /],
    [
      ['--listen', 'unix:/x', '--socket-owner', 'no-such-user'],
      {},
      /^--socket-owner: "no-such-user" is not in \/etc\/passwd; /,
    ],
    [
      ['--listen', 'unix:/x', '--socket-group', 'no-such-group'],
      {},
      /^--socket-group: "no-such-group" is not in \/etc\/group; /,
    ],
    [
      ['--listen', 'unix:/x', '--socket-mode', '999'],
      {},
      /^--socket-mode: "999" is not a file mode; /,
    ],
    [['--metrics', 'x'], {}, /^--metrics: "x" is not HOST:PORT or :PORT$/],
    [['--metrics', 'unix:/x'], {}, /^--metrics: "unix:\/x" is not HOST:PORT or :PORT$/],
    [['--access-log', '%h %y'], {}, /^--access-log has the unknown directive %y$/],
    [
      ['--access-log', '/var/log/access.log'],
      {},
      /^--access-log: "\/var\/log\/access\.log" is not common, combined, json or off, /,
    ],
    [['--idle-exit', '5m', '--listen', ':1'], {}, /^--idle-exit: :1 ends with this process, /],
    [['--env-file', '/nope.env'], {}, /^--env-file: no such file: \/nope\.env$/],
    [['--config', '/nope.js'], {}, /^--config: no such file: \/nope\.js$/],
    [['--config', config], {}, /: unknown setting 'wrokers'\. Did you mean 'workers'\?$/],
    [['--config', throws], {}, /portico.*: Error: no settings today$/],
    [[], { PORTICO_SLOW: 'x' }, /^PORTICO_SLOW must be a time such as .* ms \(got "x"\)$/],
    [
      [],
      { WEB_CONCURRENCY: '0' },
      /^WEB_CONCURRENCY must be a whole number from 1 to 1024, or 'auto' \(got "0"\)$/,
    ],
    [
      [],
      { PORTICO_GATEWAY: 'fcgi' },
      /^PORTICO_GATEWAY must be one of .* \(got "fcgi"\)\. Did you mean 'fastcgi'\?$/,
    ],
  ])('%j with %j', async (args, env, message) => {
    const failed = settingsFor(args, env).then(serveSettings)
    await expect(failed).rejects.toThrow(UsageError)
    await expect(failed).rejects.toThrow(message)
  })
})

test.each([
  [{ LISTEN_PID: String(process.pid), LISTEN_FDS: '1' }, 'closed', 'fastcgi systemd'],
  [{}, 'listening', 'fastcgi fd:0'],
  [{}, 'not-a-socket', 'http :8000'],
] as const)('Without --listen, %j and a descriptor 0 that is %s mean %s', (env, kind, expected) => {
  const [{ gateway, listen } = { gateway: '', listen: '' }] = listenersOf(
    [],
    undefined,
    env,
    () => kind,
  )
  expect(`${gateway} ${listen}`).toBe(expected)
})

describe('findEntry', () => {
  const project = join(directory, 'project')
  mkdirSync(join(project, 'empty'), { recursive: true })
  mkdirSync(join(project, 'main'))
  writeFileSync(join(project, 'server.js'), '')
  writeFileSync(join(project, 'app.mjs'), '')
  writeFileSync(join(project, 'main/start.js'), '')
  writeFileSync(join(project, 'main/package.json'), '{ "main": "start.js" }')
  symlinkSync(project, join(directory, 'current'))

  it.each([
    [undefined, 'app.mjs'],
    ['server', 'server.js'],
    ['server.js', 'server.js'],
    ['main', 'main/start.js'],
  ])('%s is %s', (given, found) => {
    expect(findEntry(project, given)).toEqual({ file: join(project, found) })
  })

  it('does not resolve symbolic links', () => {
    const current = join(directory, 'current')
    expect(findEntry(current, undefined)).toEqual({ file: join(current, 'app.mjs') })
  })

  it('names what it has tried', () => {
    expect(findEntry(join(project, 'empty'), undefined)).toEqual({
      missing:
        'no application in this directory. Name its file: portico serve FILE. (Tried app, server, ' +
        'index with .ts, .mts, .mjs, .js, .cjs, and "main" of package.json)',
    })
    expect(findEntry(project, 'nope.js')).toEqual({ missing: 'no such file: nope.js' })
  })
})

test('logicalDirectory is PWD only if that is the working directory', () => {
  const link = join(directory, 'cwd')
  symlinkSync(process.cwd(), link)
  expect(logicalDirectory({ PWD: link })).toBe(link)
  expect(logicalDirectory({ PWD: directory })).toBe(process.cwd())
  expect(logicalDirectory({})).toBe(process.cwd())
})

test('The help of serve fits on a terminal of 80 columns and 24 lines', () => {
  const lines = commandHelp('serve', command, false).trimEnd().split('\n')
  expect(lines.length).toBeLessThan(24)
  expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(80)
  const all = commandHelp('serve', command, true).trimEnd().split('\n')
  expect(Math.max(...all.map((line) => line.length))).toBeLessThanOrEqual(80)
  for (const key of ['--max-header-bytes', '--metrics', '--no-live'])
    expect(all.join()).toContain(key)
})
