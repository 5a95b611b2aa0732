/**
 * Bundles of real frameworks under a real Apache, in directories without `node_modules`: mod_cgid and
 * mod_cgi, cgi-bin and `.htaccess`, mod_fcgid, at the root and below a path.
 */
import { execFileSync } from 'node:child_process'
import {
  copyFileSync,
  mkdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { bundle } from '../../src/bundle/bundle.ts'
import { httpRequest } from '../../src/testing/raw-http-client.ts'
import { isAlive, temporaryDirectory } from '../server/child.ts'
import { startApache } from '../servers/apache.ts'
import { installed, makeDirectory, type WebServer, workerUser } from '../servers/process.ts'

const APPLICATIONS: Readonly<Record<string, string>> = {
  express: `import express from 'express'
    const app = express()
    app.get('/hello/:name', (req, res) => res.send('Hello, ' + req.params.name + ' of ' + req.url))
    app.post('/echo', express.text({ limit: '1mb' }), (req, res) => res.send(String(req.body.length)))
    app.listen(3000)`,
  fastify: `import Fastify from 'fastify'
    const app = Fastify({ logger: true })
    app.get('/hello/:name', async (req) => 'Hello, ' + req.params.name + ' of ' + req.url)
    app.post('/echo', async (req) => String(req.body.length))
    await app.listen({ port: 3000 })`,
  koa: `import Koa from 'koa'
    const app = new Koa()
    app.use(async (ctx) => {
      let length = 0
      for await (const chunk of ctx.req) length += chunk.length
      ctx.body = ctx.method === 'POST' ? String(length) : 'Hello, ' + ctx.path.split('/')[2] + ' of ' + ctx.url
    })
    export default app`,
  hono: `import { Hono } from 'hono'
    const app = new Hono()
    app.get('/hello/:name', (c) => {
      const url = new URL(c.req.url)
      return c.text('Hello, ' + c.req.param('name') + ' of ' + url.pathname + url.search)
    })
    app.post('/echo', async (c) => c.text(String((await c.req.text()).length)))
    export default app`,
}
const names = Object.keys(APPLICATIONS)

const VERSION = `module.exports = (environ, startResponse) => {
    startResponse('200 OK', [['Content-Type', 'text/plain']])
    return ['VERSION 1 of ' + process.pid]
  }`

/** As in docs/bundle.md. */
const FRONT = `RewriteEngine On
RewriteCond %{REQUEST_FILENAME} !-f
RewriteRule ^(.*)$ app.cgi/$1 [L]
`

const { available, hint } = installed('apache2')
const project = temporaryDirectory()
let site: string
let runtime: string

beforeAll(async () => {
  if (!available) return
  site = await makeDirectory('portico-bundle')
  runtime = join(site, 'run')
  mkdirSync(runtime)
  mkdirSync(join(project.path, 'node_modules'))
  for (const name of [...names, 'esbuild']) {
    symlinkSync(resolve('node_modules', name), join(project.path, 'node_modules', name))
  }
  for (const name of names) {
    const file = join(project.path, `${name}.mjs`)
    writeFileSync(file, APPLICATIONS[name]!)
    const root = join(site, name)
    const output = join(root, 'app.cgi')
    await bundle({ file, output, kind: 'cgi', bundler: 'esbuild' })
    await bundle({ file, output: join(root, 'fcgid/app.fcgi'), kind: 'fcgi', bundler: 'esbuild' })
    writeFileSync(join(root, '.htaccess'), FRONT)
    for (const below of ['cgi', 'sub']) {
      mkdirSync(join(root, below))
      copyFileSync(output, join(root, below, 'app.cgi'))
    }
    writeFileSync(join(root, 'sub/.htaccess'), FRONT)
  }
  const file = join(project.path, 'version.cjs')
  writeFileSync(file, VERSION)
  await bundle({
    file,
    output: join(site, 'express/resident/app.cgi'),
    kind: 'resident',
    bundler: 'esbuild',
    runtime: process.execPath,
    resident: { idle: 8 },
  })
  writeFileSync(join(site, 'express/resident/.htaccess'), 'RewriteEngine Off\n')
  if (workerUser !== undefined) execFileSync('chown', ['-R', `${workerUser}:`, site])
})

const pids = new Set<number>()
afterAll(() => {
  for (const pid of pids) kill(pid)
  project.remove()
  execFileSync('rm', ['-rf', site])
})

function kill(pid: number): void {
  if (pid > 1 && isAlive(pid)) process.kill(pid, 'SIGKILL')
}

/** The process that has sent a response. */
function pidOf(text: string): number {
  const pid = Number(/ of (\d+)$/.exec(text)?.[1])
  pids.add(pid)
  return pid
}

/** One virtual host for each framework: its root is a bundle. */
function hosts(): string {
  return names
    .map((name) => {
      const root = join(site, name)
      return `<VirtualHost *>
ServerName ${name}.test
DocumentRoot "${root}"
SetEnv XDG_RUNTIME_DIR "${runtime}"
ScriptAlias "/cgi-bin/" "${root}/cgi/"
Alias "/fcgid" "${root}/fcgid/app.fcgi"
<Location "/fcgid">
  SetHandler fcgid-script
</Location>
<Directory "${root}">
  AllowOverride All
  Options +ExecCGI +FollowSymLinks
  AddHandler cgi-script .cgi
  Require all granted
</Directory>
</VirtualHost>`
    })
    .join('\n')
}

async function ask(
  server: WebServer,
  host: string,
  target: string,
  body?: string,
): Promise<string> {
  const response = await httpRequest(
    { port: server.port },
    {
      method: body === undefined ? 'GET' : 'POST',
      target,
      headers: [
        ['Host', `${host}.test`],
        ['Content-Type', 'text/plain'],
      ],
      ...(body === undefined ? {} : { body }),
    },
    { timeout: 60_000 },
  )
  const text = String(response.body)
  return response.status === 200 ? text : `${response.status} ${text}\n${await server.errorLog()}`
}

describe.skipIf(!available).each([
  { name: 'mod_cgid and mod_fcgid', prefork: false },
  { name: 'mod_cgi (prefork)', prefork: true },
])(`Apache with $name${hint}`, ({ prefork }) => {
  let server: WebServer
  beforeAll(async () => {
    server = await startApache({
      prefork,
      // A program that mod_fcgid starts is configured in each host; this one loads the module.
      fcgid: [{ at: '/unused', script: join(site, 'express/fcgid/app.fcgi') }],
      extra: hosts(),
    })
  })
  afterAll(() => server?.stop())

  const mounts = prefork ? ['', '/cgi-bin/app.cgi'] : ['', '/sub', '/cgi-bin/app.cgi', '/fcgid']
  test.each(names)(
    `serves a bundle of %s at ${mounts.map((at) => at || '/').join(', ')}`,
    async (name) => {
      const body = 'x'.repeat(100_000)
      const seen: Record<string, string[]> = {}
      for (const at of mounts) {
        seen[at] = await Promise.all([
          ask(server, name, `${at}/hello/Zo%C3%AB?a=%20b`),
          ask(server, name, `${at}/echo`, body),
        ])
      }
      const hello = `Hello, ${name === 'koa' ? 'Zo%C3%AB' : 'Zoë'} of /hello/Zo%C3%AB?a=%20b`
      expect(seen).toEqual(Object.fromEntries(mounts.map((at) => [at, [hello, '100000']])))
    },
  )

  test('a resident bundle ends each response, outlives a restart, and serves no old code after an upload', async () => {
    const script = join(site, 'express/resident/app.cgi')
    const request = () => ask(server, 'express', '/resident/app.cgi')
    const first = await Promise.all([request(), request(), request()])
    expect(first).toEqual(
      Array.from({ length: 3 }, () => expect.stringMatching(/^VERSION 1 of \d+$/)),
    )
    const served = pidOf(await request())
    process.kill(server.pid, 'SIGHUP')
    await expect.poll(async () => (await request()).replace(/\d+$/, '')).toBe('VERSION 1 of ')
    const old = pidOf(await request())
    const text = readFileSync(script, 'utf8').replace('VERSION 1', 'VERSION 2')
    writeFileSync(`${script}.new`, text, { mode: 0o755 })
    renameSync(`${script}.new`, script)
    process.kill(server.pid, 'SIGHUP')
    // A restart drops requests that are active; none of those that are served sees old code.
    const replies = []
    while (replies.length < 5) {
      const reply = await request().catch(() => 'restarting')
      if (!reply.startsWith('VERSION')) continue
      pidOf(reply)
      replies.push(reply.replace(/ of \d+$/, ''))
    }
    expect(new Set(replies)).toEqual(new Set(['VERSION 2']))
    await expect.poll(() => [served, old].filter(isAlive), { timeout: 60_000 }).toEqual([])
    writeFileSync(`${script}.new`, text.replace('VERSION 2', 'VERSION 1'), { mode: 0o755 })
    renameSync(`${script}.new`, script)
  })
})
