/** FastCGIHandler works with libfcgi's tools: spawn-fcgi starts it, and cgi-fcgi sends requests. */
import { execFileSync, spawn } from 'node:child_process'
import { chmod, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { bundle, temporaryDirectory } from '../server/child.ts'
import { findProgram, installed } from '../servers/process.ts'

const SCRIPT = `
import { FastCGIHandler } from '#src/../handlers/fastcgi.ts'
import { closeOnSignals } from '#src/process/shutdown.ts'
closeOnSignals(await new FastCGIHandler().run(async function* (environ, startResponse) {
  environ['wsgi.errors'].write('a line for the log\\n')
  startResponse(environ.QUERY_STRING === 'missing' ? '404 Not Found' : '200 OK', [
    ['Content-Type', 'text/plain'],
  ])
  yield environ.REQUEST_METHOD + ' ' + environ.SCRIPT_NAME + ' ' + environ.PATH_INFO + '\\n'
  yield* environ['wsgi.input'].chunks()
}))
`

const directory = temporaryDirectory()
afterAll(() => directory.remove())

/** The whole environment, as a web server sets it. */
const VARIABLES = {
  PATH: '/usr/bin:/bin',
  GATEWAY_INTERFACE: 'CGI/1.1',
  REQUEST_METHOD: 'GET',
  SCRIPT_NAME: '/app',
  PATH_INFO: '/x',
  QUERY_STRING: '',
}

/** Sends a request with cgi-fcgi(1), a CGI program that forwards its own request. */
function request(socket: string, variables: Record<string, string> = {}, body = '') {
  return new Promise<{ stdout: string; stderr: string }>((resolve) => {
    const child = spawn('cgi-fcgi', ['-bind', '-connect', socket], {
      env: { ...VARIABLES, ...variables, ...(body && { CONTENT_LENGTH: String(body.length) }) },
    })
    const output = { stdout: '', stderr: '' }
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].setEncoding('latin1').on('data', (text: string) => (output[name] += text))
    }
    child.once('close', () => resolve(output))
    child.stdin.on('error', () => {})
    child.stdin.end(body)
  })
}

const { available, hint } = installed('cgi-fcgi')
const spawner = installed('spawn-fcgi')

describe.skipIf(!available || !spawner.available)(
  `A process that spawn-fcgi started${hint}${spawner.hint}`,
  () => {
    const socket = join(directory.path, 'spawned')
    let pid = 0

    beforeAll(async () => {
      const file = await bundle(directory.path, 'spawned', SCRIPT)
      const script = join(directory.path, 'spawned.sh')
      await writeFile(script, `#!/bin/sh\nexec "${process.execPath}" "${file}"\n`)
      await chmod(script, 0o755)
      const printed = execFileSync(findProgram('spawn-fcgi')!, ['-s', socket, '--', script], {
        encoding: 'utf8',
        env: { PATH: VARIABLES.PATH },
      })
      pid = Number(/PID: (\d+)/.exec(printed)?.[1])
    })

    it('accepts on descriptor 0, and responds to cgi-fcgi', async () => {
      const head = 'Status: 200 OK\r\nContent-Type: text/plain\r\n\r\n'
      expect(await request(socket)).toEqual({
        stdout: `${head}GET /app /x\n`,
        stderr: 'a line for the log\n',
      })
    })

    it.each([1, 1000, 300_000])('receives a body of %i bytes', async (size) => {
      const body = 'abcdefghij'.repeat(size / 10 + 1).slice(0, size)
      const { stdout } = await request(socket, { REQUEST_METHOD: 'POST' }, body)
      expect(stdout.slice(stdout.indexOf('\r\n\r\n') + 4)).toBe(`POST /app /x\n${body}`)
    })

    it('sends a status other than 200', async () => {
      const { stdout } = await request(socket, { QUERY_STRING: 'missing' })
      expect(stdout).toMatch(/^Status: 404 Not Found\r\n/)
    })

    it('handles twenty requests at once', async () => {
      const outputs = await Promise.all(
        Array.from({ length: 20 }, (_, i) => request(socket, { PATH_INFO: `/${i}` })),
      )
      expect(outputs.map(({ stdout }) => stdout.trim().split('/').at(-1))).toEqual(
        Array.from({ length: 20 }, (_, i) => String(i)),
      )
    })

    it('exits on SIGTERM', async () => {
      process.kill(pid, 'SIGTERM')
      const alive = () => {
        try {
          return execFileSync('ps', ['-o', 'stat=', '-p', String(pid)], { encoding: 'utf8' })
        } catch {
          return ''
        }
      }
      while (/^[^Z]/.test(alive())) await sleep(20)
      expect((await request(socket)).stdout).not.toContain('200 OK')
    })
  },
)
