/** The doctor through real web servers that are configured wrongly on purpose, one fault each. */
import { join } from 'node:path'
import { rm } from 'node:fs/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import { main } from '../../src/command/main.ts'
import { doctor as report } from '../../src/doctor/report.ts'
import { mount } from '../../src/exports/middleware.ts'
import { startApache } from '../servers/apache.ts'
import { startNginx } from '../servers/nginx.ts'
import { installed, makeDirectory, openSocket, type WebServer } from '../servers/process.ts'

const closers: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close()
})

/** The doctor's application on a Unix socket. */
async function application(): Promise<string> {
  const directory = await makeDirectory()
  closers.push(() => rm(directory, { recursive: true, force: true }))
  const path = join(directory, 'app.sock')
  const server = await new FastCGIHandler({ listen: `unix:${path}` }).run(
    mount({ '/doctor': report }),
  )
  closers.push(() => server.close({ timeout: 0 }))
  await openSocket(path)
  return `unix:${path}`
}

async function examine(server: WebServer): Promise<{ code: number; found: string[] }> {
  closers.push(() => server.stop())
  let out = ''
  const url = `http://127.0.0.1:${server.port}/doctor`
  const code = await main(['doctor', '--json', url], {
    out: (text) => (out += text),
    err: () => {},
  })
  const { findings } = JSON.parse(out) as { findings: { level: string; check: string }[] }
  return {
    code,
    found: findings
      .filter(({ level }) => level !== 'ok')
      .map(({ level, check }) => `${level} ${check}`),
  }
}

const nginx = installed('nginx')
describe.skipIf(!nginx.available)(`portico doctor, through nginx${nginx.hint},`, () => {
  const cases: [fault: string, extra: string, found: string[]][] = [
    [
      'finds nothing wrong with a complete configuration',
      'fastcgi_param HTTP_HOST $http_host; fastcgi_param REMOTE_USER ""; fastcgi_buffering off; client_max_body_size 64m;',
      [],
    ],
    [
      'finds a forged REMOTE_USER',
      'fastcgi_param HTTP_HOST $http_host; fastcgi_param REMOTE_USER $remote_user; fastcgi_buffering off; client_max_body_size 64m;',
      ['failure REMOTE_USER'],
    ],
    [
      'finds a limit of uploads',
      'fastcgi_param HTTP_HOST $http_host; fastcgi_param REMOTE_USER "";',
      ['warning uploads'],
    ],
    [
      'finds a Host header without its port',
      'fastcgi_param HTTP_HOST $host; fastcgi_param REMOTE_USER ""; fastcgi_buffering off; client_max_body_size 64m;',
      ['failure HTTP_HOST'],
    ],
    [
      'finds a query that is not passed on',
      'fastcgi_param HTTP_HOST $http_host; fastcgi_param QUERY_STRING ""; fastcgi_param REMOTE_USER ""; fastcgi_buffering off; client_max_body_size 64m;',
      ['failure QUERY_STRING', 'warning streaming'],
    ],
    [
      'finds headers that are not passed on',
      'fastcgi_pass_request_headers off; fastcgi_param HTTP_HOST $http_host; fastcgi_param REMOTE_USER ""; fastcgi_buffering off; client_max_body_size 64m;',
      ['failure headers', 'failure Authorization'],
    ],
    [
      'finds a body that is not passed on',
      'fastcgi_pass_request_body off; fastcgi_param CONTENT_LENGTH ""; fastcgi_param HTTP_HOST $http_host; fastcgi_param REMOTE_USER ""; fastcgi_buffering off; client_max_body_size 64m;',
      ['failure body', 'failure uploads'],
    ],
  ]
  it.each(cases)('%s', async (_, extra, found) => {
    const to = await application()
    const server = await startNginx({ mounts: [{ at: '/', to, extra }] })
    expect(await examine(server)).toEqual({
      code: found.some((each) => each.startsWith('failure')) ? 1 : 0,
      found,
    })
  })

  it('names a 502 when nothing listens', async () => {
    const server = await startNginx({ mounts: [{ at: '/', to: 'unix:/nonexistent/app.sock' }] })
    expect(await examine(server)).toEqual({ code: 1, found: ['failure web server'] })
  })

  it('names a 404 when no location has the path', async () => {
    const server = await startNginx({})
    expect(await examine(server)).toEqual({ code: 1, found: ['failure web server'] })
  })

  it('names a web server that is not running', async () => {
    const server = await startNginx({})
    await server.stop()
    expect(await examine(server)).toEqual({ code: 1, found: ['failure web server'] })
  })
})

const apache = installed('apache2')
it.skipIf(!apache.available)(
  `portico doctor, through Apache without CGIPassAuth, AllowEncodedSlashes and flushpackets${apache.hint}, finds all three`,
  async () => {
    const to = await application()
    const server = await startApache({ mounts: [{ at: '/', to }] })
    expect(await examine(server)).toEqual({
      code: 1,
      found: ['failure Authorization', 'warning %2F', 'warning streaming'],
    })
  },
)
