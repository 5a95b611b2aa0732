/** `portico serve` for production, as an administrator uses it: settings, terminals, limits, restarts. */
import { readFileSync, rmSync, statSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Status } from '../../src/master/status.ts'
import { fastcgiClient } from '../../src/testing/client-fastcgi.ts'
import { scgiClient } from '../../src/testing/client-scgi.ts'
import { eachTest, portico, PTY, textOf } from './portico.ts'

const { cleanups, setUp, start } = eachTest({ args: ['serve'], stop: 'SIGQUIT' })

/** A connection of its own, on which a request has been sent. */
function sent(url: string, request: string, localAddress?: string): Socket {
  const { port } = new URL(url)
  const socket = connect({ port: Number(port), host: '127.0.0.1', localAddress })
  socket.on('error', () => {})
  socket.write(request.replaceAll('\n', '\r\n'))
  cleanups.push(() => socket.destroy())
  return socket
}

/** What comes until the connection closes. */
async function received(socket: Socket): Promise<string> {
  let text = ''
  socket.setEncoding('latin1').on('data', (chunk) => (text += String(chunk)))
  await new Promise((closed) => socket.once('close', closed))
  return text
}

/** The process group of a process (proc(5), after the name in parentheses). */
function groupOf(pid: number): number {
  const [, , group] = readFileSync(`/proc/${pid}/stat`, 'latin1')
    .replace(/^.*\) /s, '')
    .split(' ')
  return Number(group)
}

const echo = (name: string) => `
  console.error('loaded in ' + process.pid)
  export default (environ, startResponse) => {
    startResponse('200 OK', [['Content-Type', 'text/plain']])
    return ['${name} ' + environ.SCRIPT_NAME + ' ' + process.env.FROM_FILE + ' ' + process.argv.slice(2)]
  }`

test('serve without FILE takes its settings from portico.config.js, WEB_CONCURRENCY and --env-file, and speaks three protocols at once', async () => {
  const { path, write } = setUp({
    'package.json': '{ "type": "module" }',
    'app.js': echo('main'),
    'two.js': echo('second'),
    'portico.config.js': `export default {
      listen: ['127.0.0.1:0', 'fastcgi://unix:fcgi.sock', 'scgi://unix:scgi.sock'],
      socketMode: '0666', control: 'run/control.sock', mount: ['/two=two.js'],
    }`,
    'one.env': 'FROM_FILE=first\n',
  })
  const running = start(['--env-file', 'one.env', '--', '--verbose'], {
    cwd: path,
    env: { WEB_CONCURRENCY: '2' },
  })
  await running.printed(
    /^Serving \S+\/app\.js over HTTP .* and FastCGI .* and SCGI .* with 2 workers$/m,
  )
  const url = await running.url()
  expect(await textOf(url)).toBe('main  first --verbose')
  expect(await textOf(`${url}two/x`)).toBe('second /two first --verbose')
  for (const client of [
    fastcgiClient({ path: join(path, 'fcgi.sock') }),
    scgiClient({ path: join(path, 'scgi.sock') }),
  ]) {
    const { body } = await client.request({ target: '/' })
    expect(Buffer.from(body).toString()).toBe('main  first --verbose')
  }
  expect((statSync(join(path, 'fcgi.sock')).mode & 0o777).toString(8)).toBe('666')

  // Both take the path from the configuration.
  const status = portico(['status', '--json'], { cwd: path })
  expect(await portico(['ping'], { cwd: path }).ended).toBe(0)
  await status.ended
  const { pid: master, processes } = JSON.parse(status.output) as Status
  const workers = processes.map(({ pid }) => pid)
  expect(master).toBe(running.child.pid)
  // Only workers load the application, and a terminal's signals do not reach them.
  const loaded = [...running.output.matchAll(/^loaded in (\d+)$/gm)].map(([, pid]) => Number(pid))
  expect(new Set(loaded)).toEqual(new Set(workers))
  expect(workers.map(groupOf)).toEqual(workers)

  write('one.env', 'FROM_FILE=second\n')
  expect(await portico(['reload', 'run/control.sock'], { cwd: path }).ended).toBe(0)
  expect(await textOf(url)).toBe('main  second --verbose')
})

test.each([
  'await new Promise(() => {})\nexport default {}',
  'export default () => new Promise(() => {})',
])('A configuration that never settles, %j, is an error', async (config) => {
  const { path } = setUp({ 'app.mjs': '', 'portico.config.mjs': config })
  const running = start([], { cwd: path })
  expect(await running.ended).toBe(2)
  expect(running.output).toMatch(
    /^portico: \S+\/portico\.config\.mjs: awaits a promise that never settles\n$/,
  )
})

test('A working directory that was deleted is one line that says what to do', async () => {
  const { path } = setUp({ 'app.mjs': '' })
  const program = ['/bin/sh', '-c', 'mkdir gone; cd gone; rmdir ../gone; exec "$@"', '-']
  const running = start(['../app.mjs'], { cwd: path, program })
  expect(await running.ended).toBe(1)
  expect(running.output).toBe(
    'portico: the working directory no longer exists. Change to another one: cd /\n',
  )
})

test('--allow closes the connections of other clients', async () => {
  const { path } = setUp({ 'app.mjs': echo('main') })
  const running = start(['--listen', '127.0.0.1:0', '--allow', '127.0.0.2'], { cwd: path })
  const url = await running.url()
  const request = 'GET / HTTP/1.1\nHost: localhost\nConnection: close\n\n'
  expect(await received(sent(url, request))).toBe('')
  expect(await received(sent(url, request, '127.0.0.2'))).toContain('main')
})

test('Ctrl-C in a terminal reaches only the master, and running requests complete', async () => {
  const { path } = setUp({
    'app.mjs': `export default async (environ, startResponse) => {
      console.error('waiting')
      await new Promise((resolve) => setTimeout(resolve, 1000))
      startResponse('200 OK', [['Content-Type', 'text/plain']])
      return ['complete']
    }`,
  })
  const args = ['serve', 'app.mjs', '--workers', '2', '--listen', '127.0.0.1:0']
  const running = portico(args, { cwd: path, program: PTY })
  cleanups.push(() => running.stop('SIGKILL'))
  const response = textOf(await running.url())
  await running.printed(/waiting/)
  running.child.stdin!.write('\x03')
  expect(await response).toBe('complete')
  expect(await running.ended).toBe(0)
})

test('The slow log says what each request waits for, when the limit passes', async () => {
  const { path } = setUp({
    'app.mjs': `export default async (environ, startResponse) => {
      const { PATH_INFO: path } = environ
      if (path === '/upload') for await (const chunk of environ['wsgi.input'].chunks());
      if (path === '/wait') await new Promise((resolve) => setTimeout(resolve, 60_000))
      if (path === '/busy') for (const end = Date.now() + 2_000; Date.now() < end;);
      startResponse('200 OK', [['Content-Type', 'text/plain']])
      return [path === '/download' ? 'x'.repeat(20_000_000) : 'ok']
    }`,
  })
  const running = start(['--listen', '127.0.0.1:0', '--slow', '300ms'], { cwd: path })
  const url = await running.url()
  const lines = () =>
    [...running.output.matchAll(/^\{.*"slow request".*$/gm)].map(
      ([line]) => JSON.parse(line) as Record<string, unknown>,
    )
  const states = () => Object.fromEntries(lines().map((line) => [line['path'], line['state']]))
  sent(url, 'POST /upload?secret HTTP/1.1\nHost: a\nContent-Length: 5\n\nab')
  sent(url, 'GET /download HTTP/1.1\nHost: a\n\n').pause()
  sent(url, 'GET /wait HTTP/1.1\nHost: a\n\n')
  const waiting = {
    '/upload': 'waiting for the client to send the request body',
    '/download': 'waiting for the client to read the response',
    '/wait': 'waiting for the application',
  }
  await expect.poll(states).toEqual(waiting)
  sent(url, 'GET /busy HTTP/1.1\nHost: a\n\n')
  await expect.poll(states).toEqual({ ...waiting, '/busy': 'running JavaScript' })
  const busy = lines().find((line) => line['path'] === '/busy')
  expect(String(busy?.['stack'])).toMatch(/app\.mjs:5:\d+/)
})

test('A worker that does not start again is tried after longer and longer delays, while connections wait', async () => {
  const { path, write } = setUp({
    'app.mjs': `import { existsSync } from 'node:fs'
      if (existsSync('broken')) throw new Error('is broken')
      ${echo('main')}`,
  })
  const running = start(['--listen', '127.0.0.1:0'], { cwd: path })
  const url = await running.url()
  const [, pid] = await running.printed(/^loaded in (\d+)$/m)
  write('broken', '')
  process.kill(Number(pid), 'SIGKILL')
  await running.printed(/^Worker \d+ ended unexpectedly \(SIGKILL\)$/m)
  await running.printed(/starts in 0\.5 s$[^]*starts in 1 s$/m)
  const response = textOf(url)
  rmSync(join(path, 'broken'))
  expect(await response).toMatch(/^main /)
})

/** Starts a program with a listening Unix socket as its descriptor 0, as spawn-fcgi does. */
const WITH_SOCKET = [
  'python3',
  '-c',
  `import os, socket, sys
listening = socket.socket(socket.AF_UNIX)
listening.bind(sys.argv[1])
listening.listen()
os.dup2(listening.fileno(), 0)
os.execvp(sys.argv[2], sys.argv[2:])`,
]

test('On a socket that is descriptor 0 it serves FastCGI, and --idle-exit waits for requests of every worker', async () => {
  const { path } = setUp({
    'app.mjs': `export default async (environ, startResponse) => {
      // No timer of this process: it would keep the server busy by itself.
      const sleep = new Int32Array(new SharedArrayBuffer(4))
      await Atomics.waitAsync(sleep, 0, 0, 1_000).value
      startResponse('200 OK', [['Content-Type', 'text/plain']])
      return ['complete']
    }`,
  })
  const socket = join(path, 'app.sock')
  const running = portico(['serve', '--workers', '2', '--idle-exit', '300ms'], {
    cwd: path,
    program: [...WITH_SOCKET, socket],
  })
  cleanups.push(() => running.stop('SIGQUIT'))
  await running.printed(/^Serving \S+ over FastCGI on fd:0 with 2 workers$/m)
  const { body } = await fastcgiClient({ path: socket }).request({ target: '/' })
  expect(Buffer.from(body).toString()).toBe('complete')
  expect(await running.ended).toBe(0)
  expect(running.output).toContain('Idle for 0.3 s')
  expect(statSync(socket).isSocket()).toBe(true)
})
