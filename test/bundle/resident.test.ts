/**
 * Resident bundles. The numbers are the rules in docs/bundle.md.
 *
 * Each test has a directory of its own for the socket, and so a process of its own.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join, resolve } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { bundle } from '../../src/bundle/bundle.ts'
import { findProgram } from '../../src/servers/find.ts'
import { isAlive, temporaryDirectory } from '../server/child.ts'
import { callScript, type Call } from './cgi.ts'

/** How often, and within how many milliseconds of its response, the process is killed. */
const KILLS = 8
const KILLED_WITHIN = 40

/** Seconds for which a process may be silent before a test takes it for blocked, and ms of a response that takes longer. */
const QUIET = 2
const SLOW = 2_500

const isRoot = process.getuid?.() === 0
/** Any user other than root. */
const ANOTHER_USER = 65_534

const compiler = findProgram('cc')
const compilerHint = compiler === undefined ? ' (cc is not installed)' : ''

const namespaces = spawnSync('unshare', ['--uts', 'true']).status === 0
const namespacesHint = namespaces ? '' : ' (this user may not set a host name)'

const directory = temporaryDirectory()
const mounts = canMount()
const mountsHint = mounts ? '' : ' (this user may not mount a tmpfs)'

function canMount(): boolean {
  const point = mkdtempSync(join(directory.path, 'mount-'))
  if (spawnSync('mount', ['-t', 'tmpfs', 'tmpfs', point]).status !== 0) return false
  execFileSync('umount', [point])
  return true
}

const APPLICATION = `
  const { appendFileSync } = require('node:fs')
  console.log('printed while it loads')
  module.exports = async (environ, startResponse) => {
    const respond = (body, status = '200 OK') => {
      startResponse(status, [['Content-Type', 'text/plain']])
      return [body]
    }
    switch (environ.PATH_INFO) {
      case '/pid': return respond(String(process.pid))
      case '/env': return respond(JSON.stringify([process.env, process.cwd()]))
      case '/echo': return respond(String((await environ['wsgi.input'].read()).length))
      case '/early': return respond('early')
      case '/slow': await new Promise((resolve) => setTimeout(resolve, ${SLOW})); return respond(String(process.pid))
      case '/count': {
        appendFileSync(environ.HTTP_X_FILE, environ.HTTP_X_ID + '\\n')
        return respond(environ.HTTP_X_ID + ' ' + process.pid)
      }
      case '/log': environ['wsgi.errors'].write('from the application\\n'); return respond('logged')
      case '/crash': appendFileSync(environ.HTTP_X_FILE, 'x'); process.kill(process.pid, 'SIGKILL')
      case '/partial': {
        const write = startResponse('200 OK', [['Content-Length', '100']])
        await write('some')
        process.kill(process.pid, 'SIGKILL')
      }
    }
    return respond('VERSION 1')
  }`

let built: string
beforeAll(async () => {
  writeFileSync(join(directory.path, 'app.cjs'), APPLICATION)
  mkdirSync(join(directory.path, 'node_modules'))
  symlinkSync(resolve('node_modules/rolldown'), join(directory.path, 'node_modules/rolldown'))
  built = join(directory.path, 'app.cgi')
  await bundle({
    file: join(directory.path, 'app.cjs'),
    output: built,
    kind: 'resident',
    runtime: process.execPath,
    resident: { idle: 20, environment: ['MY_SETTING'] },
  })
})

let script: string
let runtime: string
const pids = new Set<number>()

beforeEach(() => {
  const own = mkdtempSync(join(directory.path, 't-'))
  script = join(own, 'app.cgi')
  copyFileSync(built, script)
  runtime = join(own, 'run')
  mkdirSync(runtime)
})

afterAll(() => {
  for (const pid of pids) if (pid > 1) kill(pid)
  directory.remove()
})

const socketDirectory = () => join(runtime, 'portico')
const call = (path: string, more: Call = {}, file = script) =>
  callScript(file, { ...more, path, env: { XDG_RUNTIME_DIR: runtime, HOME: '/', ...more.env } })

function kill(pid: number, signal: NodeJS.Signals = 'SIGKILL'): void {
  if (!(pid > 1)) throw new Error(`${pid} is not the process of a bundle`)
  try {
    process.kill(pid, signal)
  } catch {
    // It has ended.
  }
}

/** The pid of the resident process; starts it. */
async function pidOf(file = script): Promise<number> {
  const { body, stderr } = await call('/pid', {}, file)
  expect([body, stderr]).toEqual([expect.stringMatching(/^\d+$/), ''])
  pids.add(Number(body))
  return Number(body)
}

function edit(change: (text: string) => string): void {
  const text = readFileSync(script, 'utf8')
  const changed = change(text)
  expect(changed).not.toBe(text)
  writeFileSync(`${script}.new`, changed)
  chmodSync(`${script}.new`, 0o755)
  renameSync(`${script}.new`, script)
}

/** Without a home directory the last choice is /tmp/portico-UID; here it is taken away. */
function withoutTmp(): void {
  edit((text) => text.replace('push @all, "/tmp/portico-$>";', ''))
}

/** All processes that run a script's program for more than one request. */
function processesOf(file: string): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => {
      try {
        const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
        return words.includes('-e') && words.at(-2) === file
      } catch {
        return false // Not a process, or it has ended.
      }
    })
}

/** Runs a test with a small file system of its own as the directory of the sockets. */
async function onDisk(options: string, run: () => Promise<void>): Promise<void> {
  execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', runtime])
  try {
    await run()
  } finally {
    for (const pid of processesOf(script)) kill(pid)
    execFileSync('umount', ['-l', runtime])
  }
}

const sockets = () => readdirSync(socketDirectory()).filter((name) => /^[\da-f-]+$/.test(name))
const log = () => readFileSync(join(socketDirectory(), 'log'), 'utf8')

describe('A resident bundle', () => {
  test('serves all requests from one process', async () => {
    const pid = await pidOf()
    expect(await pidOf()).toBe(pid)
    expect(await call('/')).toMatchObject({ code: 0, body: 'VERSION 1', stderr: '' })
  })

  test('starts one process for 20 simultaneous first requests (rule 2)', async () => {
    const results = await Promise.all(Array.from({ length: 20 }, () => pidOf()))
    expect(new Set(results).size).toBe(1)
    expect(sockets()).toHaveLength(1)
    expect(processesOf(script)).toEqual([...new Set(results)])
  })

  test('killed at random moments under load loses no request that had not begun, and repeats no POST that had (rules 1 and 11)', async () => {
    const file = join(runtime, 'count')
    writeFileSync(file, '')
    const load = { ended: false }
    const killer = (async () => {
      for (let i = 0; i < KILLS; i += 1) {
        const pid = Number((await call('/pid')).body)
        pids.add(pid)
        await setTimeout(Math.random() * KILLED_WITHIN)
        kill(pid)
      }
      load.ended = true
    })()
    const reads: unknown[] = []
    const reader = async () => {
      while (!load.ended) {
        const { code, head, body } = await call('/')
        // A response that had begun is truncated, and the exit code shows it.
        if (code !== 1 || !head.startsWith('Status: 200 ')) reads.push([code, body])
      }
    }
    const succeeded: string[] = []
    const failed: string[] = []
    const writer = async (name: string) => {
      for (let i = 0; !load.ended; i += 1) {
        const id = `${name}${i}`
        const env = { HTTP_X_FILE: file, HTTP_X_ID: id }
        const { code, head, body } = await call('/count', { method: 'POST', body: 'four', env })
        if (code === 0) {
          expect(body).toMatch(new RegExp(`^${id} \\d+$`))
          pids.add(Number(body.split(' ')[1]))
          succeeded.push(id)
        } else {
          expect([code, head]).toEqual([1, expect.stringMatching(/^Status: (?:502|200) /)])
          failed.push(id)
        }
      }
    }
    await Promise.all([killer, reader(), reader(), writer('a'), writer('b')])
    expect(new Set(reads.map(String))).toEqual(new Set(['0,VERSION 1']))
    const begun = readFileSync(file, 'utf8').split('\n').slice(0, -1)
    expect(begun.toSorted()).toEqual([...new Set(begun)].toSorted())
    // What has failed may have begun; what has succeeded has.
    expect(begun.filter((id) => !failed.includes(id)).toSorted()).toEqual(succeeded.toSorted())
  })

  test('is replaced by a new upload, and the old process ends (rules 3 and 8)', async () => {
    edit((text) => text.replace(/idle:\s*20\b/, 'idle:1'))
    const pid = await pidOf()
    edit((text) => text.replace('VERSION 1', 'VERSION 2'))
    expect(await call('/')).toMatchObject({ body: 'VERSION 2', code: 0 })
    expect(await pidOf()).not.toBe(pid)
    await expect.poll(() => isAlive(pid), { timeout: 20_000 }).toBe(false)
  })

  test.each<[string, (text: string) => string, RegExp]>([
    [
      'it is old, although there are requests',
      (text) => text.replace(/lifetime:\s*3600\b/, 'lifetime:1'),
      /The resident process ends: it is 1 s old\n/,
    ],
    [
      'it uses too much memory',
      (text) => text.replace(/maxMemory:\s*[\de*.]+/, 'maxMemory:1e6'),
      /The resident process ends: it uses \d+ MiB of memory\n/,
    ],
  ])('ends when %s (rule 8)', async (_, change, reason) => {
    edit((text) => change(text).replace(/idle:\s*20\b/, 'idle:2'))
    const pid = await pidOf()
    await expect
      .poll(
        async () => {
          await call('/')
          return isAlive(pid)
        },
        { timeout: 20_000 },
      )
      .toBe(false)
    expect(log()).toMatch(reason)
    expect(await pidOf()).not.toBe(pid)
  })

  test('ends when its socket is gone, and the next request starts another (rule 8)', async () => {
    edit((text) => text.replace(/idle:\s*20\b/, 'idle:4'))
    const pid = await pidOf()
    rmSync(join(socketDirectory(), sockets()[0]!))
    expect(await pidOf()).not.toBe(pid)
    await expect.poll(() => isAlive(pid), { timeout: 20_000 }).toBe(false)
    expect(log()).toMatch(/The resident process ends: .* belongs to another process\n/)
    expect(sockets()).toHaveLength(1)
  })

  test('is replaced after an update of Node (rule 3)', async () => {
    const node = join(script, '../node')
    writeFileSync(node, `#!/bin/sh\nexec ${process.execPath} "$@"\n`, { mode: 0o755 })
    edit((text) => text.replace(`my $node = '${process.execPath}'`, `my $node = '${node}'`))
    const pid = await pidOf()
    expect(await pidOf()).toBe(pid)
    utimesSync(node, 1, 1)
    expect(await pidOf()).not.toBe(pid)
  })

  test('takes the next directory if the path of a socket would be too long (rule 4)', async () => {
    const home = join(script, '../home')
    mkdirSync(home)
    const long = join(runtime, 'x'.repeat(100))
    mkdirSync(long)
    const env = { XDG_RUNTIME_DIR: long, HOME: home }
    const first = await call('/pid', { env })
    pids.add(Number(first.body))
    expect((await call('/pid', { env })).body).toBe(first.body)
    expect([readdirSync(long), readdirSync(home)]).toEqual([[], ['.portico']])
  })

  test.skipIf(!mounts)(
    `takes the next directory if the first has no room for a socket (rule 4)${mountsHint}`,
    async () => {
      const home = join(script, '../h')
      mkdirSync(home)
      // The root, the directory and its lock.
      await onDisk('nr_inodes=3', async () => {
        const env = { HOME: home }
        const first = await call('/pid', { env })
        pids.add(Number(first.body))
        expect((await call('/pid', { env })).body).toBe(first.body)
        expect(readdirSync(join(home, '.portico'))).toContain('lock')
      })
    },
  )

  test('has a directory of its own with any umask (rule 4)', async () => {
    const limited = join(runtime, 'limited')
    writeFileSync(limited, `#!/bin/sh\numask 0177\nexec ${script}\n`, { mode: 0o755 })
    expect((await call('/pid', {}, limited)).body).toBe(String(await pidOf()))
    expect(statSync(socketDirectory()).mode & 0o777).toBe(0o700)
  })

  test.skipIf(!namespaces)(
    `is not taken for that of another machine with the same home directory (rule 3)${namespacesHint}`,
    async () => {
      const names = ['web12', 'web21'].map((host) => {
        const file = join(runtime, host)
        const set = `echo ${host} > /proc/sys/kernel/hostname; exec ${script}`
        writeFileSync(file, `#!/bin/sh\nexec unshare --uts sh -c '${set}'\n`, { mode: 0o755 })
        return file
      })
      const found = [await pidOf(names[0]), await pidOf(names[1])]
      expect([await pidOf(names[0]), await pidOf(names[1])]).toEqual(found)
      expect(found[0]).not.toBe(found[1])
    },
  )

  test('is started although a failed start seems to be in the future, because the clock was set', async () => {
    const first = await pidOf()
    const failed = join(socketDirectory(), `${sockets()[0]!}.failed`)
    kill(first)
    // Until it has gone, a request may still reach it, and be run by a process of its own.
    await expect.poll(() => isAlive(first)).toBe(false)
    const later = Date.now() / 1000 + 3600
    writeFileSync(failed, '')
    utimesSync(failed, later, later)
    expect(await pidOf()).toBe(await pidOf())
  })

  test('keeps its log small', async () => {
    edit((text) => text.replace(/idle:\s*20\b/, 'idle:2'))
    mkdirSync(socketDirectory(), { mode: 0o700 })
    const path = join(socketDirectory(), 'log')
    writeFileSync(path, 'x'.repeat(300_000), { mode: 0o600 })
    await pidOf()
    // The script has renamed it, because it was longer than 256 KiB.
    expect(statSync(`${path}.1`).size).toBe(300_000)
    expect(statSync(path).size).toBeLessThan(1000)
    writeFileSync(path, 'x'.repeat(1_100_000), { flag: 'a' })
    await expect.poll(() => statSync(path).size, { timeout: 20_000 }).toBeLessThan(1000)
  })

  test('ends when it is idle, and leaves no socket (rule 8)', async () => {
    edit((text) => text.replace(/idle:\s*20\b/, 'idle:1'))
    const pid = await pidOf()
    await expect.poll(() => isAlive(pid), { timeout: 20_000 }).toBe(false)
    expect(processesOf(script)).toEqual([])
    expect(sockets()).toEqual([])
    expect(log()).toContain('The resident process ends: no request for 1 s\n')
    expect(await pidOf()).not.toBe(pid)
  })

  test('ends when it is idle, whatever the clock is set to (rule 8)', async () => {
    edit((text) =>
      text
        .replace(/idle:\s*20\b/, 'idle:1')
        .replace('\n__END__\n', '\n__END__\nconst start = Date.now(); Date.now = () => start;\n'),
    )
    const pid = await pidOf()
    await expect.poll(() => isAlive(pid), { timeout: 20_000 }).toBe(false)
  })

  test('takes at most 60 MiB of memory for an application that says hello', async () => {
    const pid = await pidOf()
    for (let i = 0; i < 20; i += 1) await call('/')
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    expect(Number(/^VmRSS:\s*(\d+) kB/m.exec(status)?.[1])).toBeLessThanOrEqual(60 * 1024)
  })

  test('has a directory and a socket for its user alone (rules 4 and 5)', async () => {
    await pidOf()
    expect(statSync(socketDirectory()).mode & 0o777).toBe(0o700)
    expect(statSync(join(socketDirectory(), sockets()[0]!)).mode & 0o777).toBe(0o600)
    expect(statSync(join(socketDirectory(), 'log')).mode & 0o777).toBe(0o600)
  })

  test('lets the web server see the end of each response, the first included (rule 6)', async () => {
    // `callScript` waits until all copies of stdout and stderr are closed.
    const pid = await pidOf()
    expect(readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]).toMatch(/^\S+ 1 /)
    const session = execFileSync('ps', ['-o', 'sid=', '-p', String(pid)], { encoding: 'utf8' })
    const own = execFileSync('ps', ['-o', 'sid=', '-p', String(process.pid)], { encoding: 'utf8' })
    expect(session.trim()).not.toBe(own.trim())
  })

  test('keeps nothing of the environment of a request (rule 7)', async () => {
    const secrets = { HTTP_COOKIE: 'secret', HTTP_PROXY: 'evil', REMOTE_USER: 'zoe', OTHER: 'x' }
    const first = await call('/pid', { env: { ...secrets, MY_SETTING: 'kept', LC_ALL: 'C' } })
    pids.add(Number(first.body))
    const [environment, cwd] = JSON.parse((await call('/env')).body) as [object, string]
    const allowed = ['HOME', 'LC_ALL', 'MY_SETTING', 'PATH', 'UV_THREADPOOL_SIZE']
    expect(Object.keys(environment).toSorted()).toEqual(allowed)
    expect(cwd).toBe(join(script, '..'))
    const kernel = readFileSync(`/proc/${first.body}/environ`, 'utf8')
    expect(kernel).not.toMatch(/secret|evil|zoe|HTTP_|REQUEST_/)
  })

  test.skipIf(!mounts)(`serves requests from one process on a full disk${mountsHint}`, async () => {
    await onDisk('size=64k', async () => {
      const fill = spawnSync('dd', ['if=/dev/zero', `of=${runtime}/fill`, 'bs=4k'])
      expect(String(fill.stderr)).toContain('No space left on device')
      const pid = await pidOf()
      expect(await call('/log')).toMatchObject({ body: 'logged', stderr: 'from the application\n' })
      expect(await pidOf()).toBe(pid)
      expect(log()).toBe('')
      kill(pid)
      await expect.poll(() => isAlive(pid)).toBe(false)
      expect(await pidOf()).not.toBe(pid)
    })
  })

  test('takes a body of 3 MB, and one without a length (rule 10)', async () => {
    await pidOf()
    const body = 'x'.repeat(3_000_000)
    expect(await call('/echo', { method: 'POST', body })).toMatchObject({ body: '3000000' })
    const chunked = { HTTP_TRANSFER_ENCODING: 'chunked', CONTENT_LENGTH: '' }
    expect(await call('/echo', { method: 'POST', body, env: chunked })).toMatchObject({
      body: '3000000',
    })
  })

  test('responds before an upload has been read (rule 10)', async () => {
    await pidOf()
    const body = 'x'.repeat(3_000_000)
    expect(await call('/early', { method: 'POST', body })).toMatchObject({ code: 0, body: 'early' })
  })

  test('takes an upload that the application does not read, because web servers truncate the response otherwise (rule 10)', async () => {
    await pidOf()
    const length = 3_000_000
    const { variables } = await import('./cgi.ts')
    const child = spawn(script, [], {
      env: variables({
        path: '/early',
        method: 'POST',
        env: { CONTENT_LENGTH: String(length), XDG_RUNTIME_DIR: runtime, HOME: '/' },
      }),
      stdio: ['pipe', 'pipe', 'ignore'],
    })
    let failure: unknown
    child.stdin.on('error', (error) => (failure = error))
    child.stdin.end('x'.repeat(length))
    let text = ''
    child.stdout.on('data', (chunk: Buffer) => (text += String(chunk)))
    const [code] = (await once(child, 'close')) as [number]
    expect([code, failure, text]).toEqual([0, undefined, expect.stringMatching(/\r\n\r\nearly$/)])
  })

  test('passes wsgi.errors to the log of the web server (rule 10)', async () => {
    await pidOf()
    expect(await call('/log')).toMatchObject({ body: 'logged', stderr: 'from the application\n' })
  })

  test('shows a truncated response by its exit code (rule 10)', async () => {
    await pidOf()
    expect(await call('/partial')).toMatchObject({ code: 1, body: 'some' })
  })

  test('does not repeat a POST that had begun (rule 11)', async () => {
    const file = join(runtime, 'count')
    await pidOf()
    const result = await call('/crash', { method: 'POST', env: { HTTP_X_FILE: file } })
    expect(result).toMatchObject({ code: 1, head: expect.stringMatching(/^Status: 502/) })
    expect(readFileSync(file, 'utf8')).toBe('x')
    expect(log()).toContain('rule 11: the resident process ended the connection')
  })

  test.each(['GET', 'POST'])(
    'that is blocked is killed, and a %s that it has not read runs by itself (rule 11)',
    async (method) => {
      edit((text) => text.replace('$alive ? undef : 15', '$alive ? undef : 0.1'))
      const pid = await pidOf()
      kill(pid, 'SIGSTOP') // As an endless loop does, it keeps the socket and reads nothing.
      const { body } = await call('/pid', method === 'POST' ? { method, body: 'four' } : {})
      expect(Number(body)).not.toBe(pid)
      await expect.poll(() => isAlive(pid), { timeout: 10_000 }).toBe(false)
      expect(log()).toMatch(/rule 11: .* 30 s: something blocks its event loop; it was killed/)
      expect(await pidOf()).toBe(await pidOf())
    },
  )

  test('is not killed because a request takes long', async () => {
    edit((text) => text.replace('$alive ? undef : 15', `$alive ? undef : ${QUIET}`))
    const pid = await pidOf()
    expect((await call('/slow')).body).toBe(String(pid))
    expect(await pidOf()).toBe(pid)
  })

  test('repeats a POST that had not begun (rule 11)', async () => {
    const pid = await pidOf()
    // Stopped, it accepts nothing; then it is gone.
    kill(pid, 'SIGSTOP')
    const result = call('/echo', { method: 'POST', body: 'four' })
    const path = join(socketDirectory(), sockets()[0]!)
    const connections = () => readFileSync('/proc/net/unix', 'utf8').split(path).length - 2
    await expect.poll(connections, { timeout: 10_000 }).toBe(1)
    kill(pid)
    expect(await result).toMatchObject({ code: 0, body: '4' })
  })
})

describe('A resident bundle serves each request by itself, and says why,', () => {
  const alone = { code: 0, body: 'VERSION 1' }

  test.each<[string, () => void, RegExp]>([
    [
      'a symbolic link',
      () => symlinkSync(mkdtempSync(`${runtime}/x-`), socketDirectory()),
      /rule 4: .*portico is not/,
    ],
    [
      'a directory that others can enter',
      () => {
        mkdirSync(socketDirectory())
        chmodSync(socketDirectory(), 0o755)
      },
      /rule 4: .*portico is not/,
    ],
    ['a file', () => writeFileSync(socketDirectory(), ''), /rule 4: .*portico is not/],
    ...(isRoot
      ? [
          [
            'a directory of another user',
            () => {
              mkdirSync(socketDirectory(), { mode: 0o700 })
              chownSync(socketDirectory(), ANOTHER_USER, ANOTHER_USER)
            },
            /rule 4: .*portico is not a directory of user 0 alone/,
          ] satisfies [string, () => void, RegExp],
        ]
      : []),
  ])('if its directory is %s (rule 4)', async (_, make, message) => {
    make()
    withoutTmp()
    const result = await call('/')
    expect(result).toMatchObject(alone)
    expect(result.stderr).toMatch(message)
  })

  // Functions of the C library in place of a host that refuses: Perl calls them, the front script is unchanged.
  test.skipIf(compiler === undefined).each([
    ['flock', 'ENOLCK', 'as on network file systems without locks', 2, 'int a, int b'],
    ['fork', 'EAGAIN', 'as on hosts that limit processes', 6, 'void'],
  ])(
    `if %s fails with %s, %s (rule %i)${compilerHint}`,
    async (name, error, _, rule, parameters) => {
      const source = join(runtime, `${name}.c`)
      const library = join(runtime, `${name}.so`)
      writeFileSync(
        source,
        `#include <errno.h>\nint ${name}(${parameters}) { errno = ${error}; return -1; }\n`,
      )
      execFileSync(compiler!, ['-shared', '-fPIC', '-o', library, source])
      withoutTmp()
      expect(await call('/', { env: { LD_PRELOAD: library } })).toMatchObject(alone)
      expect(log()).toMatch(new RegExp(`rule ${rule}: ${name}`))
      expect(processesOf(script)).toEqual([])
    },
  )

  test('if the process ends before it is ready (rule 6)', async () => {
    edit((text) => text.replace('write(1,', 'process.exit(3),write(1,'))
    withoutTmp()
    expect(await call('/')).toMatchObject(alone)
    expect(log()).toContain('the resident process did not start')
    expect(processesOf(script)).toEqual([])
  })

  test('if another process holds the lock (rule 2)', async () => {
    edit((text) => text.replaceAll('alarm 25', 'alarm 1'))
    withoutTmp()
    mkdirSync(socketDirectory(), { mode: 0o700 })
    const result = execFileSync(
      'perl',
      [
        '-e',
        'open L, "+>>", $ARGV[0]; flock L, 2; $| = 1; print `$ARGV[1]`',
        join(socketDirectory(), 'lock'),
        script,
      ],
      {
        encoding: 'utf8',
        env: { ...(await import('./cgi.ts')).variables(), XDG_RUNTIME_DIR: runtime, HOME: '/' },
      },
    )
    expect(result).toMatch(/\r\n\r\nVERSION 1$/)
    expect(log()).toContain('rule 2: ')
  })

  test('but not if the holder of the lock was killed (rule 2)', async () => {
    mkdirSync(socketDirectory(), { mode: 0o700 })
    execFileSync('perl', [
      '-e',
      'open L, "+>>", $ARGV[0]; flock L, 2; kill 9, $$ if !fork; wait',
      join(socketDirectory(), 'lock'),
    ])
    const pid = await pidOf()
    expect(await pidOf()).toBe(pid)
  })

  test('if the process fails to start, and tries again only later', async () => {
    edit((text) =>
      text.replace(
        /\n__END__\n/,
        '\n__END__\nif (process.env.PORTICO_RESIDENT) throw new Error("no start");\n',
      ),
    )
    expect(await call('/')).toMatchObject(alone)
    expect(log()).toContain('Error: no start')
    const { size } = statSync(join(socketDirectory(), 'log'))
    expect(await call('/')).toMatchObject(alone)
    expect(statSync(join(socketDirectory(), 'log')).size).toBe(size)
  })

  test('if no file may grow', async () => {
    const limited = join(runtime, 'limited')
    writeFileSync(limited, `#!/bin/sh\nulimit -f 0\nexec ${script}\n`, { mode: 0o755 })
    const result = await call('/', {}, limited)
    expect(result).toMatchObject(alone)
  })

  test.skipIf(!mounts)(`if the disk has no room for another file${mountsHint}`, async () => {
    await onDisk('nr_inodes=1', async () => {
      withoutTmp()
      const result = await call('/')
      expect(result).toMatchObject(alone)
      expect(result.stderr).toMatch(/rule 4: no directory for the socket/)
      expect(processesOf(script)).toEqual([])
    })
  })

  test('and ends without a hang if there is no memory for Node', async () => {
    const limited = join(runtime, 'limited')
    writeFileSync(limited, `#!/bin/sh\nulimit -v 200000\nexec ${script}\n`, { mode: 0o755 })
    const cold = await call('/', {}, limited)
    expect(cold.code).not.toBe(0)
    // A process that another request has started serves it.
    edit((text) => text.replace('VERSION 1', 'VERSION 2'))
    await pidOf()
    expect(await call('/', {}, limited)).toMatchObject({ code: 0, body: 'VERSION 2' })
  })

  test('and responds with a 500 if there is no Node', async () => {
    edit((text) => text.replace(/my \$node = '[^']*'/, "my $node = '/nowhere/node'"))
    const result = await call('/')
    expect([result.code, result.head]).toEqual([1, expect.stringMatching(/^Status: 500 /)])
    expect(result.stderr).toContain('cannot run /nowhere/node')
  })
})

test('the Perl script needs no module and runs in taint mode (rule 12)', async () => {
  const text = readFileSync(script, 'utf8').split('\n__END__\n')[0]!
  expect(text).not.toMatch(/^\s*use /m)
  writeFileSync(
    `${script}.T`,
    readFileSync(script, 'utf8').replace('#!/usr/bin/perl', '#!/usr/bin/perl -Tw'),
  )
  chmodSync(`${script}.T`, 0o755)
  const env = { PATH: '/usr/bin:/bin' }
  const first = await call('/pid', { env }, `${script}.T`)
  pids.add(Number(first.body))
  expect(first).toMatchObject({ code: 0, stderr: '' })
  expect(await call('/pid', { env }, `${script}.T`)).toMatchObject({ body: first.body, stderr: '' })
})
