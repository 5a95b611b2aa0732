/**
 * The application of README, extracted from the page and run as README says: in a terminal, by Apache,
 * and behind nginx. The output is the one that the page shows.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { portico, PTY } from '../command/portico.ts'
import { httpRequest } from '../../src/testing/raw-http-client.ts'
import { startApache } from '../servers/apache.ts'
import { startNginx } from '../servers/nginx.ts'
import { installed, makeDirectory, openSocket, type WebServer } from '../servers/process.ts'

const readme = await readFile('README.md', 'utf8')
const [, source = ''] = /```js\n(#!\/usr\/bin\/env node\n[^]*?)```/.exec(readme) ?? []

let directory: string
let script: string

beforeAll(async () => {
  directory = await makeDirectory()
  script = join(directory, 'hello.mjs')
  await mkdir(join(directory, 'node_modules'))
  await symlink(resolve('.'), join(directory, 'node_modules/portico'))
  await writeFile(script, source)
  await chmod(script, 0o755)
})

afterAll(() => rm(directory, { recursive: true, force: true }))

/** The line that README shows below the last `curl` for this gateway. */
function shown(gateway: string): string {
  return new RegExp(`^${gateway}: GET .*$`, 'm').exec(readme)?.[0] ?? ''
}

async function body(port: number, target: string): Promise<string> {
  const response = await httpRequest({ host: '127.0.0.1', port }, { method: 'GET', target })
  return response.body.toString()
}

async function stop(child: ChildProcess): Promise<void> {
  const exited = once(child, 'exit')
  child.kill('SIGTERM')
  expect(await exited).toEqual([0, null])
}

test("README's script is an HTTP server that prints its URL", async () => {
  const child = spawn(script, {
    env: { PATH: process.env['PATH'], PORTICO_LISTEN: '127.0.0.1:0' },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const [line] = (await once(createInterface(child.stderr), 'line')) as [string]
  const [, port] = /^Serving an application on http:\/\/127\.0\.0\.1:(\d+)\/$/.exec(line) ?? []
  expect(await body(Number(port), '/a/b')).toBe(`${shown('http')}\n`)
  await stop(child)
})

test("README's first command serves the script, and prints the line that README shows", async () => {
  await writeFile(join(directory, 'package.json'), '{}') // `npm install` has made one.
  const [, command = '', transcript = ''] = /\$ npx portico (.*)\n(http:.*)\n/.exec(readme) ?? []
  const running = portico([...command.split(' '), '--listen', ':0'], {
    cwd: directory,
    program: PTY,
    env: { NO_COLOR: '1' },
  })
  const url = await running.url()
  await running.printed(/files/)
  const digits = /:\d+|\d+ ms/g
  expect(running.output.trim().replaceAll(digits, 'N')).toBe(transcript.replaceAll(digits, 'N'))
  expect(await body(Number(new URL(url).port), '/a/b')).toBe(`${shown('http')}\n`)
  running.child.stdin!.write('\x03')
  expect(await running.ended).toBe(130)
})

const apache = installed('apache2')

test.skipIf(!apache.available)(
  `README's script runs as a CGI script in Apache${apache.hint}`,
  async () => {
    // README's own lines, for the directory that the script is in.
    const [, directives = ''] = /```apache\n([^]*?)```/.exec(readme) ?? []
    const server = await startApache({ extra: directives.replaceAll('/srv/hello', directory) })
    try {
      expect(await body(server.port, '/hello/a/b')).toBe(`${shown('cgi')}\n`)
    } finally {
      await server.stop()
    }
  },
)

const nginx = installed('nginx')

test.skipIf(!nginx.available)(
  `README's script runs as a FastCGI process behind nginx${nginx.hint}`,
  async () => {
    const socket = join(directory, 'app.sock')
    const child = spawn(script, {
      env: {
        PATH: process.env['PATH'],
        PORTICO_GATEWAY: 'fastcgi',
        PORTICO_LISTEN: `unix:${socket}`,
      },
      stdio: ['ignore', 'inherit', 'inherit'],
    })
    let server: WebServer | undefined
    try {
      server = await startNginx({ mounts: [{ at: '/', to: `unix:${socket}` }] })
      await expect
        .poll(() =>
          openSocket(socket).then(
            () => true,
            () => false,
          ),
        )
        .toBe(true)
      expect(await body(server.port, '/a/b')).toBe(`${shown('fastcgi')}\n`)
    } finally {
      await server?.stop()
      await stop(child)
    }
  },
)
