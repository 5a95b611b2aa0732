/** docs/fastcgi.md: every configuration in it is run. */
import { spawnSync } from 'node:child_process'
import { chmod, readFile, rm, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { rolldown } from 'rolldown'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import { SCGIHandler } from '../../handlers/scgi.ts'
import { httpRequest } from '../../src/testing/raw-http-client.ts'
import type { Application } from '../../src/types.ts'
import { startApache } from '../servers/apache.ts'
import { startHaproxy } from '../servers/haproxy.ts'
import { startLighttpd } from '../servers/lighttpd.ts'
import { startNginx } from '../servers/nginx.ts'
import {
  installed,
  makeDirectory,
  openSocket,
  type ServerProgram,
  type WebServer,
} from '../servers/process.ts'

const page = await readFile('docs/fastcgi.md', 'utf8')

const starters: Readonly<
  Record<string, [ServerProgram, (extra: string, script: string) => Promise<WebServer>]>
> = {
  nginx: ['nginx', (extra) => startNginx({ extra })],
  // Apache loads the module only if there is a program for it.
  apache: ['apache2', (extra, script) => startApache({ extra, fcgid: [{ at: '/other', script }] })],
  lighttpd: ['lighttpd', (extra) => startLighttpd({ extra })],
  haproxy: ['haproxy', (extra) => startHaproxy({ extra })],
}

/** The configurations, each with the line above it. */
const configurations = [...page.matchAll(/([^\n]*)\n\n```(\w+)\n([^`]*)```/g)]
  .map(([, title = '', language = '', text = '']) => ({ title, language, text }))
  .filter(({ language }) => language in starters)

const showPaths: Application = (environ, startResponse) => {
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  const { SCRIPT_NAME, PATH_INFO, QUERY_STRING, HTTP_AUTHORIZATION } = environ
  return [[SCRIPT_NAME, PATH_INFO, QUERY_STRING, HTTP_AUTHORIZATION].join(' ')]
}

const closers: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close()
})

let program = ''
beforeAll(async () => {
  const handler = resolve(import.meta.dirname, '../../handlers/fastcgi.ts')
  const entry = join(await makeDirectory(), 'app.ts')
  await writeFile(
    entry,
    `import { FastCGIHandler } from '${handler}'
     void new FastCGIHandler().run((environ, startResponse) => {
       startResponse('200 OK', [['Content-Type', 'text/plain']])
       const { SCRIPT_NAME, PATH_INFO, QUERY_STRING, HTTP_AUTHORIZATION } = environ
       return [[SCRIPT_NAME, PATH_INFO, QUERY_STRING, HTTP_AUTHORIZATION].join(' ')]
     })`,
  )
  const build = await rolldown({ input: entry, platform: 'node', logLevel: 'silent' })
  const { output } = await build.generate({ format: 'esm', codeSplitting: false })
  await build.close()
  program = `#!/usr/bin/env node\n${output[0].code}`
  await rm(join(entry, '..'), { recursive: true })
})

it('docs/fastcgi.md has a configuration for each server and protocol', () => {
  expect(configurations.map(({ language }) => language)).toEqual([
    'nginx',
    'nginx',
    'apache',
    'apache',
    'apache',
    'lighttpd',
    'lighttpd',
    'lighttpd',
    'haproxy',
  ])
})

describe.each(configurations)(
  'In docs/fastcgi.md, the $language configuration "$title"',
  ({ language, text }) => {
    const [server, start] = starters[language]!
    const { available, hint } = installed(server)

    it.skipIf(!available)(`works as written${hint}`, async () => {
      const directory = await makeDirectory()
      closers.push(() => rm(directory, { recursive: true, force: true }))
      const socket = join(directory, 'app.sock')
      const script = join(directory, 'app.mjs')
      await writeFile(script, program)
      await chmod(script, 0o755)
      if (!text.includes('/srv/app.mjs')) {
        const Handler = text.includes('scgi') ? SCGIHandler : FastCGIHandler
        const application = await new Handler({ listen: `unix:${socket}` }).run(showPaths)
        closers.push(() => application.close())
        await openSocket(socket)
      }
      const configuration = text
        .replaceAll('/run/app.sock', socket)
        .replaceAll('/srv/app.mjs', script)
        .replaceAll(/include (\w+_params)/g, 'include /etc/nginx/$1')
      const running = await start(configuration, script)
      closers.push(() => running.stop())
      const headers: [string, string][] = [['Authorization', 'Basic YTpi']]
      const response = await httpRequest(
        { port: running.port },
        { target: '/app/a%20b/c?d=e', headers },
      )
      expect(String(response.body)).toBe('/app /a b/c d=e Basic YTpi')
      expect(response.status).toBe(200)
    })
  },
)

const analyze = installed('systemd-analyze')

it.skipIf(!analyze.available)(
  `docs/fastcgi.md has units that systemd accepts${analyze.hint}`,
  async () => {
    const directory = await makeDirectory()
    closers.push(() => rm(directory, { recursive: true, force: true }))
    const units = [...page.matchAll(/```ini\n# \S+\/(hello@\.\w+)\n([^`]*)```/g)]
    expect(units.map(([, name]) => name)).toEqual(['hello@.socket', 'hello@.service'])
    for (const [, name = '', text = ''] of units) {
      await writeFile(join(directory, name), text.replace('/usr/bin/node', process.execPath))
    }
    const args = [
      'verify',
      ...units.map(([, name = '']) => join(directory, name.replace('@', '@1'))),
    ]
    const { status, stderr } = spawnSync('systemd-analyze', args, { encoding: 'utf8' })
    expect(stderr.split('\n').filter((line) => line.includes('hello'))).toEqual([])
    expect(status).toBe(0)
  },
)
