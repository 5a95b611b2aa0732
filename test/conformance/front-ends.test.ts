/**
 * What clients can and cannot put into an environ through each web server, and the configurations
 * of web servers that need a correction by Portico.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import type { HttpRequest } from '../../src/testing/http-message.ts'
import { httpRequest } from '../../src/testing/raw-http-client.ts'
import type { GatewayServer } from '../../src/server/gateway-server.ts'
import type { Application } from '../../src/types.ts'
import { startApache } from '../servers/apache.ts'
import { startCaddy } from '../servers/caddy.ts'
import { startHaproxy } from '../servers/haproxy.ts'
import { startLighttpd } from '../servers/lighttpd.ts'
import { startNginx } from '../servers/nginx.ts'
import {
  findProgram,
  installed,
  makeDirectory,
  openSocket,
  type ServerProgram,
  type WebServer,
} from '../servers/process.ts'
import { bundleCGI } from '../support/cgi.ts'

type Variables = Partial<Record<string, string>>

/** Responds with the environ and the length of the body. */
const report: Application = async (environ, startResponse) => {
  const { length } = await environ['wsgi.input'].read()
  startResponse('200 OK', [['Content-Type', 'application/json']])
  return [JSON.stringify({ ...environ, 'wsgi.errors': undefined, length: String(length) })]
}

let directory: string
let socket: string
let application: GatewayServer
const servers: WebServer[] = []

beforeAll(async () => {
  directory = await makeDirectory()
  socket = join(directory, 'app.sock')
  application = await new FastCGIHandler({ listen: `unix:${socket}` }).run(report)
  await openSocket(socket)
})
afterAll(async () => {
  for (const server of servers) await server.stop()
  await application?.close()
  await rm(directory, { recursive: true, force: true })
})

async function started(starting: Promise<WebServer>): Promise<WebServer> {
  const server = await starting
  servers.push(server)
  return server
}

async function ask(server: WebServer, request: HttpRequest): Promise<Variables> {
  const response = await httpRequest({ port: server.port }, request)
  if (response.status !== 200) throw new Error(`${response.status} ${String(response.body)}`)
  const variables: Variables = JSON.parse(String(response.body))
  return variables
}

const basic = (text: string): [string, string] => [
  'Authorization',
  `Basic ${Buffer.from(text).toString('base64')}`,
]

const FORGED: [string, string][] = [
  basic('admin:nonsense'),
  ['Remote-User', 'admin'],
  ['Remote_User', 'admin'],
  ['REMOTE_USER', 'admin'],
  ['Auth-Type', 'Basic'],
  ['Https', 'on'],
  ['Proxy', 'http://evil.example/'],
  ['Remote-Addr', '192.0.2.1'],
  ['Remote_Addr', '192.0.2.1'],
  ['Server-Name', 'evil.example'],
  ['Script-Name', '/evil'],
  ['Path-Info', '/evil'],
  ['Content_Length', '5'],
]

const app = () => ({ at: '/', to: `unix:${socket}` })

const frontEnds: [ServerProgram, string, () => Promise<WebServer>][] = [
  [
    'nginx',
    ' with fastcgi_params, as docs/fastcgi.md has it',
    async () => startNginx({ mounts: [{ ...app(), extra: 'fastcgi_param REMOTE_USER "";' }] }),
  ],
  [
    'apache2',
    ' with CGIPassAuth',
    async () => startApache({ mounts: [{ ...app(), extra: 'CGIPassAuth On' }] }),
  ],
  ['lighttpd', '', async () => startLighttpd({ mounts: [app()] })],
  ['haproxy', '', async () => startHaproxy({ mounts: [app()] })],
  ['caddy', '', async () => startCaddy({ mounts: [app()] })],
]

describe.each(frontEnds)('A client of %s%s', (program, _, start) => {
  const { available, hint } = installed(program)

  it.skipIf(!available)(`cannot set REMOTE_USER, HTTPS or similar variables${hint}`, async () => {
    const server = await started(start())
    const variables = await ask(server, { target: '/x', headers: FORGED })
    for (const name of ['REMOTE_USER', 'AUTH_TYPE']) expect(variables[name] ?? '').toBe('')
    expect(variables['HTTPS'] ?? 'off').toMatch(/^(?:off)?$/)
    expect(variables['wsgi.url_scheme']).toBe('http')
    expect(variables).not.toHaveProperty('HTTP_PROXY')
    expect(variables['REMOTE_ADDR']).toBe('127.0.0.1')
    expect(variables['SERVER_NAME']).not.toContain('evil')
    expect([variables['SCRIPT_NAME'], variables['PATH_INFO']]).toEqual(['', '/x'])
    expect(variables['length']).toBe('0')
  })
})

describe.skipIf(!installed('nginx').available)('nginx', () => {
  it('with auth_basic passes REMOTE_USER for the right password only', async () => {
    const users = join(directory, 'htpasswd')
    await writeFile(users, 'alice:{PLAIN}secret\n')
    await chmod(users, 0o644)
    const extra = `auth_basic "Members"; auth_basic_user_file ${users};
      fastcgi_param REMOTE_USER $remote_user;`
    const server = await started(startNginx({ mounts: [{ ...app(), extra }] }))
    const right = await ask(server, { headers: [basic('alice:secret')] })
    expect(right['REMOTE_USER']).toBe('alice')
    for (const credentials of ['alice:wrong', 'admin:secret']) {
      const response = await httpRequest({ port: server.port }, { headers: [basic(credentials)] })
      expect(response.status).toBe(401)
    }
  })

  it('with auth_request sends the application no body, even for a POST', async () => {
    const extra = `
      location = /auth {
        internal;
        include /etc/nginx/fastcgi_params;
        fastcgi_pass_request_body off;
        fastcgi_param CONTENT_LENGTH "";
        fastcgi_param CONTENT_TYPE "";
        fastcgi_pass unix:${socket};
      }
      location / {
        auth_request /auth;
        include /etc/nginx/fastcgi_params;
        fastcgi_param HTTP_HOST $host:81;
        fastcgi_pass unix:${socket};
      }`
    const server = await started(startNginx({ extra }))
    const request = {
      method: 'POST',
      body: '{"a":1}',
      headers: [['Content-Type', 'application/json']] as [string, string][],
    }
    const variables = await ask(server, request)
    expect([variables['length'], variables['CONTENT_TYPE']]).toEqual(['7', 'application/json'])
    // fastcgi_params have set it, too.
    expect(variables['HTTP_HOST']).toBe('127.0.0.1:81')
  })

  it('with PATH_INFO $fastcgi_script_name has no mount point', async () => {
    const extra = `location / {
      include /etc/nginx/fastcgi_params;
      fastcgi_param PATH_INFO $fastcgi_script_name;
      fastcgi_pass unix:${socket};
    }`
    const variables = await ask(await started(startNginx({ extra })), { target: '/a/b' })
    expect([variables['SCRIPT_NAME'], variables['PATH_INFO']]).toEqual(['', '/a/b'])
  })
})

async function* chunks() {
  yield 'first'
  yield 'second'
}

describe.skipIf(!installed('caddy').available)('Caddy', () => {
  it('passes on a chunked upload, whose CONTENT_LENGTH is -1', async () => {
    const server = await started(startCaddy({ mounts: [app()] }))
    const variables = await ask(server, { method: 'POST', body: chunks() })
    expect(variables['length']).toBe('11')
    expect(variables).not.toHaveProperty('CONTENT_LENGTH')
  })

  it.each([
    ['/app', '/app', ''],
    ['/app/x', '/app', '/x'],
  ])('at /app splits %s into %j and %j', async (target, script, path) => {
    const server = await started(startCaddy({ mounts: [{ ...app(), at: '/app' }] }))
    const variables = await ask(server, { target })
    expect([variables['SCRIPT_NAME'], variables['PATH_INFO']]).toEqual([script, path])
  })
})

/** A CGI script that reports its environ, and does not read its body if the path is /unread. */
const SCRIPT = `#!/usr/bin/env node
const { CGIHandler } = require('./portico.cjs')
new CGIHandler().run(async (environ, startResponse) => {
  const read = environ.PATH_INFO !== '/unread'
  const length = read ? (await environ['wsgi.input'].read()).length : 0
  startResponse('200 OK', [['Content-Type', 'application/json']])
  return [JSON.stringify({ ...environ, 'wsgi.errors': undefined, length: String(length) })]
})
`

async function writeCgi(path: string): Promise<void> {
  await mkdir(path, { recursive: true })
  await bundleCGI(path)
  await writeFile(join(path, 'env.cgi'), SCRIPT)
  await writeFile(join(path, 'package.json'), '{ "type": "commonjs" }')
  await chmod(join(path, 'env.cgi'), 0o755)
}

const fcgiwrap = installed('fcgiwrap')

describe.skipIf(!fcgiwrap.available || !installed('nginx').available)('fcgiwrap', () => {
  let child: ChildProcess
  let server: WebServer

  beforeAll(async () => {
    const wrapped = join(directory, 'fcgiwrap.sock')
    await writeCgi(join(directory, 'cgi-bin'))
    child = spawn(findProgram('fcgiwrap')!, ['-s', `unix:${wrapped}`], {
      stdio: 'ignore',
      env: { PATH: `${resolve(process.execPath, '..')}:/usr/bin:/bin` },
    })
    while (!existsSync(wrapped)) await sleep(10)
    await openSocket(wrapped)
    // Debian's /usr/share/doc/fcgiwrap/examples/nginx.conf, and a location with extra paths.
    server = await started(
      startNginx({
        extra: `
          location ~ "^/cgi-bin/[^/]+\\.cgi$" {
            gzip off;
            root ${directory};
            fastcgi_pass unix:${wrapped};
            include /etc/nginx/fastcgi_params;
            fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
          }
          location ~ "^/cgi-bin/[^/]+\\.cgi/" {
            root ${directory};
            fastcgi_split_path_info "(?s)^(/cgi-bin/[^/]+\\.cgi)(/.*|)\\z";
            fastcgi_request_buffering off;
            fastcgi_pass unix:${wrapped};
            include /etc/nginx/fastcgi_params;
            fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
            fastcgi_param PATH_INFO $fastcgi_path_info;
          }`,
      }),
    )
  })
  afterAll(() => child?.kill())

  it.each([
    ['/cgi-bin/env.cgi', ''],
    ['/cgi-bin/env.cgi/x/y', '/x/y'],
  ])('runs %s with SCRIPT_NAME /cgi-bin/env.cgi and PATH_INFO %j', async (target, path) => {
    const variables = await ask(server, { target })
    expect([variables['SCRIPT_NAME'], variables['PATH_INFO']]).toEqual(['/cgi-bin/env.cgi', path])
  })

  it('passes on the response of a script that does not read its body', async () => {
    const body = 'x'.repeat(1_000_000)
    const variables = await ask(server, { method: 'POST', target: '/cgi-bin/env.cgi/unread', body })
    expect(variables['CONTENT_LENGTH']).toBe('1000000')
  })

  it('passes on a chunked body that nginx does not buffer', async () => {
    const request = { method: 'POST', target: '/cgi-bin/env.cgi/x', body: chunks() }
    expect((await ask(server, request))['length']).toBe('11')
  })
})

describe.skipIf(!installed('apache2').available)('mod_fcgid', () => {
  it('starts programs in which wsgi.multiprocess is true', async () => {
    const program = join(directory, 'app.mjs')
    const build = resolve('dist/src/exports/fastcgi.js')
    await writeFile(
      program,
      `#!/usr/bin/env node
import { FastCGIHandler } from '${build}'
await new FastCGIHandler().run((environ, startResponse) => {
  startResponse('200 OK', [['Content-Type', 'application/json']])
  return [JSON.stringify({ multiprocess: String(environ['wsgi.multiprocess']) })]
})
`,
    )
    await chmod(program, 0o755)
    const server = await started(startApache({ fcgid: [{ at: '/app', script: program }] }))
    expect((await ask(server, { target: '/app/x' }))['multiprocess']).toBe('true')
  })
})

describe.skipIf(!installed('apache2').available)('A front controller in .htaccess', () => {
  it.each([
    ['', '/articles/2009', '', '/articles/2009'],
    ['', '/', '', '/'],
    ['', '/a//b%2520c', '', '/a//b%20c'],
    ['/sub', '/sub/x', '/sub', '/x'],
    ['', '/env.cgi/x', '/env.cgi', '/x'],
  ])('in "%s" gives %s SCRIPT_NAME %j and PATH_INFO %j', async (below, target, script, path) => {
    const root = join(directory, 'www')
    await writeCgi(root + below)
    await writeFile(
      join(root + below, '.htaccess'),
      `RewriteEngine On
       RewriteCond %{REQUEST_FILENAME} !-f
       RewriteRule ^(.*)$ env.cgi/$1 [QSA,E=HTTP_AUTHORIZATION:%{HTTP:Authorization},L]\n`,
    )
    const extra = `DocumentRoot "${root}"
      <Directory "${root}">
        Options +ExecCGI
        AddHandler cgi-script .cgi
        AllowOverride All
        Require all granted
      </Directory>
      SetEnv PATH ${resolve(process.execPath, '..')}:/usr/bin:/bin`
    const server = await started(startApache({ documentRoot: root, extra }))
    const variables = await ask(server, { target, headers: [basic('a:b')] })
    expect([variables['SCRIPT_NAME'], variables['PATH_INFO']]).toEqual([script, path])
    if (script !== '/env.cgi') expect(variables['HTTP_AUTHORIZATION']).toBe('Basic YTpi')
  })
})
