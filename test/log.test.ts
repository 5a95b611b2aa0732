/** Servers whose stdout and stderr cannot be written: each as a process of its own. */
import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, existsSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { log } from '../src/log.ts'
import { fastcgiClient, httpClient, scgiClient } from '../src/exports/testing.ts'
import { bundle, temporaryDirectory } from './server/child.ts'

const directory = temporaryDirectory()
afterAll(directory.remove)

let script = ''
let sockets = 0
beforeAll(async () => {
  script = await bundle(
    directory.path,
    'logging',
    `import { run } from '#src/../handlers/auto.ts'
    await run((environ, startResponse) => {
      if (environ.PATH_INFO === '/throw') throw new Error('thrown')
      environ['wsgi.errors'].write('a line of the log\\n')
      console.log('a line on stdout')
      console.error('a line on stderr')
      startResponse('200 OK', [['Content-Type', 'text/plain']])
      return ['ok']
    })`,
  )
})

const CLIENTS = { fastcgi: fastcgiClient, scgi: scgiClient, http: httpClient }
type Protocol = keyof typeof CLIENTS

/** Opens a terminal, starts the program with its output on it, and closes the terminal. */
const ON_A_CLOSED_TERMINAL = `
import os, pty, subprocess, sys
terminal, stderr = pty.openpty()
child = subprocess.Popen(sys.argv[1:], stdout=stderr, stderr=stderr)
os.close(terminal)
os.close(stderr)
child.wait()`

/** A server's stdout and stderr, and how the server is started with it. */
const BROKEN: Record<string, (env: NodeJS.ProcessEnv) => ChildProcess> = {
  'a pipe without a reader': (env) => {
    const child = spawn(process.execPath, [script], { env, stdio: ['ignore', 'pipe', 'pipe'] })
    child.stdout.destroy()
    child.stderr.destroy()
    return child
  },
  'a full disk': (env) => {
    const full = openSync('/dev/full', 'w')
    const child = spawn(process.execPath, [script], { env, stdio: ['ignore', full, full] })
    closeSync(full)
    return child
  },
  'a closed terminal': (env) =>
    spawn('python3', ['-c', ON_A_CLOSED_TERMINAL, process.execPath, script], {
      env,
      stdio: 'ignore',
      detached: true,
    }),
}

describe.each(Object.entries(BROKEN))('When stdout and stderr are %s,', (kind, start) => {
  test.each(['fastcgi', 'scgi', 'http'] as const)(
    'a %s server starts, and keeps running after lines that it cannot log',
    async (protocol: Protocol) => {
      const path = join(directory.path, `socket-${(sockets += 1)}`)
      const env = { ...process.env, PORTICO_GATEWAY: protocol, PORTICO_LISTEN: `unix:${path}` }
      const child = start(env)
      try {
        await expect.poll(() => existsSync(path)).toBe(true)
        const client = CLIENTS[protocol]({ path })
        for (let round = 0; round < 3; round += 1) {
          for (const [target, status] of [
            ['/throw', 500],
            ['/', 200],
          ] as const) {
            const response = await client.request({ target })
            expect(Number.parseInt(response.status, 10)).toBe(status)
          }
        }
        expect(child.exitCode).toBe(null)
      } finally {
        // The terminal's program and the server are one process group.
        if (kind === 'a closed terminal') process.kill(-child.pid!, 'SIGTERM')
        else child.kill()
      }
    },
  )
})

test('log() drops lines when the reader of stderr has stopped', () => {
  const write = vi.spyOn(process.stderr, 'write').mockReturnValue(false)
  const waiting = vi.spyOn(process.stderr, 'writableLength', 'get')
  try {
    waiting.mockReturnValue(2 ** 20)
    log('taken')
    waiting.mockReturnValue(2 ** 20 + 1)
    log('dropped')
    expect(write.mock.calls).toEqual([['taken']])
  } finally {
    vi.restoreAllMocks()
  }
})

test('log() does not throw when stderr does', () => {
  const write = vi.spyOn(process.stderr, 'write').mockImplementation(() => {
    throw new Error('EIO')
  })
  try {
    expect(() => log('text')).not.toThrow()
  } finally {
    write.mockRestore()
  }
})
