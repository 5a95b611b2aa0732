/** Faults that are in processes: their times, their file systems, suEXEC. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Front } from '../../src/doctor/front.ts'
import { examineScript } from '../../src/doctor/script.ts'
import { examineAddress } from '../../src/doctor/socket-and-servers.ts'
import { findProgram, installed, workerUser } from '../servers/process.ts'
import {
  type Applications,
  closeAll,
  closers,
  diagnose,
  type Finding,
  freePorts,
  startApplications,
} from './staging.ts'

let apps: Applications
beforeAll(async () => {
  apps = await startApplications()
})
afterAll(closeAll)

function stopAtEnd(child: ChildProcess): void {
  closers.push(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'exit')
    child.kill('SIGTERM')
    await ended
  })
}

/** The configuration of an nginx whose only site passes requests on. */
function configuration(directory: string, port: number, upstream: string, extra = ''): string {
  return `
daemon off;
pid ${directory}/nginx.pid;
${workerUser === undefined ? '' : `user ${workerUser};`}
worker_processes 1;
events {}
http {
  access_log off;
  error_log ${directory}/error.log warn;
  ${['client_body', 'fastcgi', 'scgi', 'proxy', 'uwsgi'].map((name) => `${name}_temp_path ${directory}/${name}_temp;`).join('\n  ')}
  upstream app { server unix:${upstream}; keepalive 4; }
  server {
    listen 127.0.0.1:${port};
    client_max_body_size 64m;
    location / {
      fastcgi_split_path_info "(?s)^()(/.*)\\z";
      fastcgi_param SCRIPT_NAME "";
      fastcgi_param PATH_INFO $fastcgi_path_info;
      fastcgi_param QUERY_STRING $query_string;
      fastcgi_param REQUEST_METHOD $request_method;
      fastcgi_param REQUEST_URI $request_uri;
      fastcgi_param CONTENT_LENGTH $content_length if_not_empty;
      fastcgi_param SERVER_SOFTWARE nginx/$nginx_version;
      fastcgi_param HTTP_HOST $http_host;
      fastcgi_buffering off;
      fastcgi_keep_conn on;
      fastcgi_pass app;
      ${extra}
    }
  }
}
`
}

/** Runs nginx by another program or by itself; resolves when it has a response, of any status. */
async function runNginx(directory: string, text: string, by: readonly string[]): Promise<void> {
  const file = join(directory, 'nginx.conf')
  writeFileSync(file, text)
  const command = `exec ${findProgram('nginx')} -c ${file} -p ${directory} -e ${directory}/error.log`
  const [program = '/bin/sh', ...args] = by
  const last = args.pop() ?? ''
  const child = spawn(program, [...args, ...(by.length === 0 ? ['-c'] : []), `${last}${command}`])
  stopAtEnd(child)
  const [, port] = /listen 127\.0\.0\.1:(\d+)/.exec(text) ?? []
  await expect
    .poll(
      async () =>
        fetch(`http://127.0.0.1:${port}/`).then(
          () => true,
          () => false,
        ),
      {
        timeout: 20_000,
      },
    )
    .toBe(true)
}

function wrong(findings: readonly Finding[]): Finding[] {
  return findings.filter(({ level }) => level !== 'ok')
}

const nginx = installed('nginx')
describe.skipIf(!nginx.available)(`Behind nginx${nginx.hint}, portico doctor`, () => {
  it('names times of nginx and of the application that do not fit', async () => {
    const application = join(apps.directory, 'application.mjs')
    const exported = resolve('dist/src/exports')
    writeFileSync(
      application,
      `import { doctor } from '${exported}/doctor.js'
       import { mount } from '${exported}/middleware.js'
       export default mount({ '/doctor': doctor })`,
    )
    const socket = join(apps.directory, 'timed.sock')
    const flags = ['--response-timeout', '120s', '--idle-timeout', '5s', '--socket-mode', '0666']
    const child = spawn(
      process.execPath,
      [
        'bin/portico.cjs',
        'serve',
        application,
        '--gateway',
        'fastcgi',
        '--listen',
        `unix:${socket}`,
        ...flags,
      ],
      { stdio: 'ignore', env: { PATH: process.env['PATH'], NODE_ENV: 'production' } },
    )
    stopAtEnd(child)
    const [port] = await freePorts(1)
    const directory = join(apps.directory, 'timed')
    mkdirSync(directory)
    await runNginx(directory, configuration(directory, port!, socket), [])
    const url = `http://127.0.0.1:${port}/doctor`
    await expect.poll(async () => (await fetch(url)).status, { timeout: 20_000 }).toBe(200)
    const { code, findings } = await diagnose(url)
    expect(wrong(findings)).toEqual([
      {
        level: 'warning',
        check: 'timeout',
        message: 'the web server waits 60 s, and the application may take 120 s',
        fix: 'fastcgi_read_timeout 121;',
      },
      {
        level: 'warning',
        check: 'keep-alive',
        message:
          'the web server keeps idle connections 60 s, and the application closes them after 5 s: a request may meet a closed connection',
        fix: 'portico serve … --idle-timeout 65s',
      },
    ])
    expect(code).toBe(0)
  })

  const unshares = process.getuid?.() === 0 && installed('unshare').available
  it.skipIf(!unshares)('names a socket that PrivateTmp hides from nginx', async () => {
    const directory = mkdtempSync('/var/tmp/portico-private-')
    closers.push(() => rmSync(directory, { recursive: true, force: true }))
    const [port] = await freePorts(1)
    const text = configuration(directory, port!, apps.fastcgi)
    const private_ = ['unshare', '-m', '/bin/sh', '-c', 'mount -t tmpfs tmpfs /tmp && ']
    await runNginx(directory, text, private_)
    const { code, findings } = await diagnose(`http://127.0.0.1:${port}/doctor`)
    expect(wrong(findings)).toEqual([
      {
        level: 'failure',
        check: 'socket',
        message: `${apps.fastcgi} does not exist for nginx: PrivateTmp gives it a /tmp of its own`,
        fix: expect.stringContaining('--listen unix:/run/portico/app.sock') as string,
      },
    ])
    expect(code).toBe(1)
  })
})

const withSetup = (setup: Partial<NonNullable<Front['setup']>>): Front => ({
  name: 'nginx',
  process: undefined,
  user: undefined,
  file: '/etc/nginx/nginx.conf',
  setup: { backends: [], scripts: [], findings: [], logs: [], user: undefined, ...setup },
})

it('portico doctor names a web server that passes requests to a socket of another name', async () => {
  const path = apps.fastcgi.replace('fastcgi.sock', 'other.sock')
  const text = `fastcgi_pass unix:${path};`
  const front = withSetup({ backends: [{ gateway: 'fastcgi', address: { path }, text }] })
  const findings = await examineAddress({ path: apps.fastcgi }, 'root', undefined, [front])
  expect(findings.at(-1)).toEqual({
    level: 'warning',
    check: 'configuration',
    message: `no web server here passes requests to unix:${apps.fastcgi}; nginx has \`${text}\``,
    fix: `portico init nginx --gateway fastcgi --listen unix:${apps.fastcgi} # shows the lines`,
  })
})

it('portico doctor takes the expected protocol of a socket from the configuration', async () => {
  const address = { path: apps.http }
  const text = `fastcgi_pass unix:${apps.http};`
  const front = withSetup({ backends: [{ gateway: 'fastcgi', address, text }] })
  const findings = await examineAddress(address, 'root', undefined, [front])
  expect(findings.filter(({ level }) => level === 'failure')).toMatchObject([
    { check: 'protocol', fix: `proxy_pass http://unix:${apps.http}; # instead of fastcgi_pass` },
  ])
})

it.skipIf(process.getuid?.() !== 0)(
  'portico doctor names a script that suEXEC refuses because of its owner',
  () => {
    const file = join(apps.directory, 'suexec.cgi')
    writeFileSync(file, `#!${process.execPath}\n`, { mode: 0o755 })
    const front = {
      ...withSetup({ suexec: { user: 'daemon', group: 'daemon' } }),
      name: 'apache',
    } as const
    const found = examineScript(file, undefined, front).filter(({ check }) => check === 'suexec')
    expect(found).toContainEqual({
      level: 'failure',
      check: 'suexec',
      message: `suEXEC refuses ${file}: it belongs to another user than daemon, which SuexecUserGroup names`,
      fix: `chown daemon:daemon ${file}`,
    })
  },
)
