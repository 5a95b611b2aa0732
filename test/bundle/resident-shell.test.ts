/** Resident bundles whose front script is one of `sh`, for hosts without Perl. */
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs'
import { symlinkSync, writeFileSync } from 'node:fs'
import { spawnSync } from 'node:child_process'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { bundle } from '../../src/bundle/bundle.ts'
import { findProgram } from '../../src/servers/find.ts'
import { temporaryDirectory } from '../server/child.ts'
import { callScript, type Call } from './cgi.ts'

const APPLICATION = `module.exports = async (environ, startResponse) => {
  const length = (await environ['wsgi.input'].read()).length
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  const shown = environ.PATH_INFO === '/env' ? JSON.stringify(process.env) : environ.PATH_INFO
  return [process.pid + ' ' + length + ' ' + shown]
}`

const bridge = findProgram('cgi-fcgi')
const hint = bridge === undefined ? ' (cgi-fcgi is not installed)' : ''

const directory = temporaryDirectory()
let built: string
let script: string
let runtime: string

beforeAll(async () => {
  const file = join(directory.path, 'app.cjs')
  writeFileSync(file, APPLICATION)
  mkdirSync(join(directory.path, 'node_modules'))
  symlinkSync(resolve('node_modules/rolldown'), join(directory.path, 'node_modules/rolldown'))
  built = join(directory.path, 'app.cgi')
  await bundle({
    file,
    output: built,
    kind: 'resident',
    runtime: process.execPath,
    resident: { idle: 20, shell: true, environment: ['MY_SETTING'] },
  })
})

beforeEach(() => {
  const own = mkdtempSync(join(directory.path, 't-'))
  script = join(own, 'app.cgi')
  copyFileSync(built, script)
  runtime = join(own, 'run')
  mkdirSync(runtime)
})

const pids = new Set<number>()
afterAll(() => {
  for (const pid of pids) kill(pid)
  directory.remove()
})

function kill(pid: number): void {
  try {
    if (pid > 1) process.kill(pid, 'SIGKILL')
  } catch {
    // It has ended.
  }
}

/** The pid that has responded, and the rest of the response. */
async function call(more: Call = {}): Promise<[pid: number, rest: string]> {
  const env = { XDG_RUNTIME_DIR: runtime, HOME: '/', ...more.env }
  const { code, body, stderr } = await callScript(script, { path: '/x', ...more, env })
  // After its process was killed, cgi-fcgi reports that before Node runs.
  expect(stderr).toMatch(/^(?:Could not connect to \S+\n)?$/)
  expect(code).toBe(0)
  const [pid, ...rest] = body.split(' ')
  pids.add(Number(pid))
  return [Number(pid), rest.join(' ')]
}

/** The processes that run the program for more than one request. */
function residents(): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => {
      try {
        const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
        const environment = readFileSync(`/proc/${pid}/environ`, 'utf8')
        return words.at(-2) === script && /(?:^|\0)PORTICO_RESIDENT=/.test(environment)
      } catch {
        return false // Not a process, or it has ended.
      }
    })
}

/** Sends requests until the resident process responds. */
async function residentOf(more: Call = {}): Promise<number> {
  await expect
    .poll(async () => residents().includes((await call(more))[0]), { timeout: 20_000 })
    .toBe(true)
  const [pid] = residents()
  pids.add(pid!)
  return pid!
}

describe(`A resident bundle with a shell script${hint}`, () => {
  test.skipIf(bridge === undefined)('serves requests from one process', async () => {
    const pid = await residentOf()
    expect(await call()).toEqual([pid, '0 /x'])
    const body = 'x'.repeat(1_000_000)
    expect(await call({ method: 'POST', body })).toEqual([pid, '1000000 /x'])
    expect(residents()).toEqual([pid])
  })

  test.skipIf(bridge === undefined)(
    'serves a request by itself after its process was killed, and starts another',
    async () => {
      const pid = await residentOf()
      kill(pid)
      await expect.poll(() => residents()).toEqual([])
      expect(await call({ method: 'POST', body: 'four' })).toEqual([expect.any(Number), '4 /x'])
      expect(await residentOf()).not.toBe(pid)
    },
  )

  test.skipIf(bridge === undefined)(
    'keeps the variables that docs/bundle.md names, and sets none that was not set',
    async () => {
      const own = { NODE_ENV: 'production', LC_ALL: 'C', MY_SETTING: `a 'b' "c" $d`, HTTP_X: 'no' }
      const pid = await residentOf({ env: own })
      const [served, rest] = await call({ path: '/env' })
      const {
        PATH: path,
        UV_THREADPOOL_SIZE: size,
        ...kept
      } = JSON.parse(rest.slice(2)) as NodeJS.ProcessEnv
      const { HTTP_X: _, ...expected } = own
      expect([served, path, size, kept]).toEqual([
        pid,
        process.env['PATH'],
        '2',
        { HOME: '/', ...expected },
      ])
    },
  )

  test.skipIf(bridge === undefined)(
    'starts a process although the last one that did so was killed',
    async () => {
      await call()
      const socketDirectory = join(runtime, 'portico')
      const lock = () => readdirSync(socketDirectory).find((name) => name.endsWith('.lock'))
      await expect.poll(lock).toMatch(/\.lock$/)
      const name = lock()!
      await residentOf()
      await expect.poll(lock).toBe(undefined)
      for (const pid of residents()) kill(pid)
      await expect.poll(() => residents()).toEqual([])
      const { pid } = spawnSync('true')
      symlinkSync(String(pid), join(socketDirectory, name))
      await residentOf()
    },
  )

  test('serves each request by itself without cgi-fcgi', async () => {
    const env = { PATH: runtime }
    const [first] = await call({ env })
    const [second] = await call({ env })
    expect(second).not.toBe(first)
    expect([residents(), readdirSync(runtime)]).toEqual([[], []])
  })

  test('serves each request by itself if others can enter its directory', async () => {
    const socketDirectory = join(runtime, 'portico')
    mkdirSync(socketDirectory)
    chmodSync(socketDirectory, 0o755)
    const [first] = await call()
    const [second] = await call()
    expect(second).not.toBe(first)
    expect([residents(), readdirSync(socketDirectory)]).toEqual([[], []])
  })
})
