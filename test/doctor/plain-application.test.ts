/** Sites without the application of portico/doctor: a page, and a 404 of the application. */
import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { createServer } from 'node:tls'
import { afterAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import { HTTPHandler } from '../../handlers/http.ts'
import { descriptions } from '../../src/servers/descriptions.ts'
import { findServer } from '../../src/servers/find.ts'
import { DEFAULTS, type Site } from '../../src/servers/site.ts'
import { startTrial } from '../../src/servers/trial.ts'
import type { Application } from '../../src/types.ts'
import { installed, makeDirectory, workerUser } from '../servers/process.ts'
import { closeAll, closers, diagnose } from './staging.ts'

afterAll(closeAll)

/** Has one page, as the applications of users have. */
const application: Application = (environ, startResponse) => {
  const found = environ.PATH_INFO === '/'
  startResponse(found ? '200 OK' : '404 Not Found', [['Content-Type', 'text/html']])
  return [found ? '<h1>Hello</h1>' : '<h1>No such page</h1>']
}

/** What the doctor found that is not right, and its finding about the web server. */
async function examine(url: string): Promise<{ code: number; wrong: unknown[]; message: unknown }> {
  const { code, findings } = await diagnose(url)
  return {
    code,
    wrong: findings.filter(({ level }) => level !== 'ok'),
    message: findings.find(({ check }) => check === 'web server')?.message,
  }
}

describe.each(['nginx', 'apache', 'lighttpd', 'haproxy', 'caddy'])(
  'portico doctor and %s',
  (name) => {
    const description = descriptions.find((each) => each.name === name)!
    const { available, hint } = installed(description.program!)

    it.skipIf(!available)(
      `accept a page and a 404 of an application; the doctor probes with FastCGI alone${hint}`,
      async () => {
        const directory = await makeDirectory('portico-plain')
        closers.push(() => rm(directory, { recursive: true, force: true }))
        const path = join(directory, 'app.sock')
        const server = await new FastCGIHandler({ listen: `unix:${path}`, mode: 0o666 }).run(
          application,
        )
        closers.push(() => server.close({ timeout: 0 }))
        const site: Site = {
          ...DEFAULTS,
          gateway: 'fastcgi',
          to: `unix:${path}`,
          program: 'app.mjs',
          user: workerUser ?? '',
          group: workerUser ?? '',
        }
        const trial = await startTrial(description, site, findServer(description)!, {
          directory,
          user: workerUser,
        })
        closers.push(() => trial.stop())
        const logged = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
        onTestFinished(() => logged.mockRestore())

        const url = `http://127.0.0.1:${trial.port}`
        const through = `through ${description.title}; mount portico/doctor for the full check`
        expect(await examine(`${url}/`)).toEqual({
          code: 0,
          wrong: [],
          message: `${url}/ responds with a 200 ${through}`,
        })
        expect(await examine(`${url}/none?q=1`)).toEqual({
          code: 0,
          wrong: [],
          message: `${url}/none?q=1 responds with a 404 ${through}`,
        })
        expect(logged.mock.calls.join('')).toBe('')
      },
    )
  },
)

it('portico doctor accepts an application that serves HTTP without a web server', async () => {
  const server = await new HTTPHandler({ listen: '127.0.0.1:0' }).run(application)
  closers.push(() => server.close({ timeout: 0 }))
  const { port } = server.address as { port: number }
  expect(await examine(`http://127.0.0.1:${port}/`)).toEqual({
    code: 0,
    wrong: [],
    message: `http://127.0.0.1:${port}/ responds with a 200; mount portico/doctor for the full check`,
  })
})

it('portico doctor names a port that speaks TLS', async () => {
  const server = createServer({}).listen(0, '127.0.0.1')
  await once(server, 'listening')
  closers.push(() => server.close())
  const { port } = server.address() as { port: number }
  const { code, findings } = await diagnose(`http://127.0.0.1:${port}/a`)
  expect(findings).toEqual([
    {
      level: 'failure',
      check: 'web server',
      message: `http://127.0.0.1:${port}/a: the port speaks TLS, not HTTP`,
      fix: `portico doctor https://127.0.0.1:${port}/a`,
    },
  ])
  expect(code).toBe(1)
})
