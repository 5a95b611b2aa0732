/**
 * Resident bundles. The numbers are the rules in docs/bundle.md.
 *
 * Each test has a directory of its own for the socket, and so a process of its own.
 */
import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { bundle } from '../../src/bundle/bundle.ts'
import { temporaryDirectory } from '../server/child.ts'
import { callScript, type Call } from './cgi.ts'

const directory = temporaryDirectory()
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
      case '/log': environ['wsgi.errors'].write('from the application\\n'); return respond('logged')
      case '/slow': await new Promise((done) => setTimeout(done, 300)); return respond('slow')
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

const place = () => join(runtime, 'portico')
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

function isAlive(pid: number): boolean {
  // A zombie, whose parent has not waited for it, has ended.
  const status = existsSync(`/proc/${pid}/status`) && readFileSync(`/proc/${pid}/status`, 'utf8')
  return status !== false && !/^State:\s*Z/m.test(status)
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

const sockets = () => readdirSync(place()).filter((name) => /^[\da-f-]+$/.test(name))
const log = () => readFileSync(join(place(), 'log'), 'utf8')

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
  })

  test('loses no request when its process is killed under load (rule 1)', async () => {
    const load = { ended: false }
    const killer = (async () => {
      for (let i = 0; i < 4; i += 1) {
        const pid = Number((await call('/pid')).body)
        pids.add(pid)
        kill(pid)
      }
      load.ended = true
    })()
    const bodies: string[] = []
    const client = async () => {
      while (!load.ended) bodies.push((await call('/')).body)
    }
    await Promise.all([killer, client(), client(), client()])
    expect(new Set(bodies)).toEqual(new Set(['VERSION 1']))
  })

  test('is replaced by a new upload, and the old process ends (rules 3 and 8)', async () => {
    edit((text) => text.replace(/idle:\s*20\b/, 'idle:1'))
    const pid = await pidOf()
    edit((text) => text.replace('VERSION 1', 'VERSION 2'))
    expect(await call('/')).toMatchObject({ body: 'VERSION 2', code: 0 })
    expect(await pidOf()).not.toBe(pid)
    await expect.poll(() => isAlive(pid), { timeout: 20_000 }).toBe(false)
  })

  test('ends when it is idle, and leaves no socket (rule 8)', async () => {
    edit((text) => text.replace(/idle:\s*20\b/, 'idle:1'))
    const pid = await pidOf()
    await expect.poll(() => isAlive(pid), { timeout: 20_000 }).toBe(false)
    expect(sockets()).toEqual([])
    expect(log()).toContain('The resident process ends: no request for 1 s\n')
    expect(await pidOf()).not.toBe(pid)
  })

  test('has a directory and a socket for its user alone (rules 4 and 5)', async () => {
    await pidOf()
    expect(statSync(place()).mode & 0o777).toBe(0o700)
    expect(statSync(join(place(), sockets()[0]!)).mode & 0o777).toBe(0o600)
    expect(statSync(join(place(), 'log')).mode & 0o777).toBe(0o600)
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

  test('repeats a POST that had not begun (rule 11)', async () => {
    const pid = await pidOf()
    // Stopped, it accepts nothing; then it is gone.
    kill(pid, 'SIGSTOP')
    const result = call('/echo', { method: 'POST', body: 'four' })
    const path = join(place(), sockets()[0]!)
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
      () => symlinkSync(mkdtempSync(`${runtime}/x-`), place()),
      /rule 4: .*portico is not/,
    ],
    [
      'a directory that others can enter',
      () => {
        mkdirSync(place())
        chmodSync(place(), 0o755)
      },
      /rule 4: .*portico is not/,
    ],
    ['a file', () => writeFileSync(place(), ''), /rule 4: .*portico is not/],
  ])('if its directory is %s (rule 4)', async (_, make, message) => {
    make()
    // Without a home directory the last choice is /tmp/portico-UID; here it is taken away.
    edit((text) => text.replace('push @all, "/tmp/portico-$>";', ''))
    const result = await call('/')
    expect(result).toMatchObject(alone)
    expect(result.stderr).toMatch(message)
  })

  test.each<[string, (text: string) => string, RegExp]>([
    [
      'fork fails (rule 6)',
      (text) => text.replace('my $node', 'BEGIN { *CORE::GLOBAL::fork = sub { undef } }\nmy $node'),
      /rule 6: fork/,
    ],
    [
      'flock fails, as it does on some network file systems (rule 2)',
      (text) => text.replace('flock $lock, 2;', '0;'),
      /rule 2: flock/,
    ],
    [
      'the process does not become ready (rule 6)',
      (text) => text.replace('write(1,', 'void(1,'),
      /./,
    ],
  ])('if %s', async (_, change, message) => {
    edit((text) => change(text).replace('push @all, "/tmp/portico-$>";', ''))
    const result = await call('/')
    expect(result).toMatchObject(alone)
    expect(result.stderr + (existsSync(place()) ? log() : '')).toMatch(message)
  })

  test('if another process holds the lock (rule 2)', async () => {
    edit((text) =>
      text.replaceAll('alarm 25', 'alarm 1').replace('push @all, "/tmp/portico-$>";', ''),
    )
    mkdirSync(place(), { mode: 0o700 })
    const result = execFileSync(
      'perl',
      [
        '-e',
        'open L, "+>>", $ARGV[0]; flock L, 2; $| = 1; print `$ARGV[1]`',
        join(place(), 'lock'),
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
    mkdirSync(place(), { mode: 0o700 })
    execFileSync('perl', [
      '-e',
      'open L, "+>>", $ARGV[0]; flock L, 2; kill 9, $$ if !fork; wait',
      join(place(), 'lock'),
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
    const { size } = statSync(join(place(), 'log'))
    expect(await call('/')).toMatchObject(alone)
    expect(statSync(join(place(), 'log')).size).toBe(size)
  })

  test('if no file can be written, as on a full disk', async () => {
    const limited = join(runtime, 'limited')
    writeFileSync(limited, `#!/bin/sh\nulimit -f 0\nexec ${script}\n`, { mode: 0o755 })
    const result = await call('/', {}, limited)
    expect(result).toMatchObject(alone)
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
