/** `portico serve` from its start to its end: exit codes, signals, status, limits. */
import { statSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { createServer } from 'node:net'
import { join, resolve as resolvePath } from 'node:path'
import { describe, expect, test } from 'vitest'
import { isAlive, start, temporaryDirectory } from '../server/child.ts'
import { client, inDirectory, portico, PROGRAM, serve, statusOf, type Served } from './portico.ts'

const here = inDirectory()

async function untilActive(server: Served, active: number): Promise<void> {
  await expect.poll(async () => (await statusOf(server)).totals.active).toBe(active)
}

describe('The exit code is', () => {
  test.each([
    ['of an application that throws', "throw new Error('no database')", 'no database'],
    ['with a syntax error', 'export default (\n', 'SyntaxError'],
    ['that exports nothing', '', 'exports no application'],
    [
      'without a package',
      "\nimport 'no-such/file.js'",
      "/app.mjs:2 imports the package 'no-such', which is not installed: npm install no-such\n",
    ],
    [
      'without a package that it requires',
      "import { createRequire } from 'node:module'\ncreateRequire(import.meta.url)('@no/such/file')",
      "/app.mjs:2 imports the package '@no/such', which is not installed: npm install @no/such\n",
    ],
    ['without a file', "import './missing.mjs'", "app.mjs {\n    code: 'ERR_MODULE_NOT_FOUND'"],
  ])('3 after the start %s, and the reason is logged once', async (_, source, reason) => {
    const { ended } = here.serve([], { source })
    const { code, output } = await ended
    expect(code).toBe(3)
    expect(output.split(reason)).toHaveLength(2)
    expect(output).not.toContain('node:internal')
    expect(output).toContain('The application does not start')
  })

  test('3 after a start that hangs; the log says what it waits for before --boot-timeout ends it', async () => {
    const hanging = [
      ['await new Promise(() => setInterval(() => {}, 1000))', 'is still loading, and awaits'],
      ['while (true);', 'the code of the application blocks its main thread'],
      ['setInterval(() => {}, 1000)', 'exports no application, and has not called run() or'],
    ] as const
    await Promise.all(
      hanging.map(async ([source, reason]) => {
        const own = temporaryDirectory()
        const flags = ['--boot-timeout', '6s']
        const { code, output } = await serve(own.path, flags, { source, workers: 1 }).ended
        own.remove()
        expect(output).toMatch(/^Worker \d+ is not ready after 3 s: .*Waiting for 3 s more/m)
        expect(output).toMatch(/^Worker \d+ was not ready after 6 s: /m)
        expect(output.split(reason)).toHaveLength(3)
        expect(code).toBe(3)
      }),
    )
  })

  test('3 if the application is not there', async () => {
    const file = join(here.path, 'missing.mjs')
    const { code, output } = await portico('serve', file, '--listen', ':0')
    expect(output).toBe(`portico: no such file: ${file}\n`)
    expect(code).toBe(3)
  })

  test('1 if the address is in use, and the message names it', async () => {
    const other = createServer()
    await new Promise<void>((done) => other.listen(0, '127.0.0.1', done))
    const { port } = other.address() as { port: number }
    const file = join(here.path, 'app.mjs')
    writeFileSync(file, 'export default () => []')
    const { code, output } = await portico('serve', file, '--listen', `127.0.0.1:${port}`)
    expect(output).toBe(
      `--listen: '127.0.0.1:${port}': in use by another process (EADDRINUSE). ` +
        `Stop that process, or choose another port: --listen 127.0.0.1:${port + 1}\n`,
    )
    expect(code).toBe(1)
    other.close()
  })

  test.each([
    [
      ['127.0.0.1:PORT', 'fastcgi://:PORT'],
      "listen: '127.0.0.1:PORT' and ':PORT' are the same port",
    ],
    [['*:PORT', '127.0.0.1:PORT'], "listen: '*:PORT' and '127.0.0.1:PORT' are the same port"],
  ])('1 if two listeners %j share a port, before a worker starts', async (listen, message) => {
    const port = String(await freePort())
    const file = join(here.path, 'app.mjs')
    writeFileSync(file, "throw new Error('loaded')")
    const flags = listen.flatMap((each) => ['--listen', each.replace('PORT', port)])
    for (const mode of [[], ['--dev']]) {
      const { code, output } = await portico('serve', file, ...flags, ...mode)
      expect(output).toContain(message.replaceAll('PORT', port))
      expect(output).not.toContain('loaded')
      expect(output.trimEnd()).not.toContain('\n')
      expect(code).toBe(1)
    }
  })

  test.each([
    ['127.0.0.1:PORT', '*:PORT'],
    ['*:PORT', '127.0.0.1:PORT'],
    [':PORT', '127.0.0.1:PORT'],
  ])('1 if %s of --listen and %s of --metrics share a port', async (...given) => {
    const port = String(await freePort())
    const [listen, metrics] = given.map((each) => each.replace('PORT', port)) as [string, string]
    const file = join(here.path, 'app.mjs')
    writeFileSync(file, 'export default () => []')
    const flags = ['--listen', listen, '--metrics', metrics]
    expect(await portico('serve', file, ...flags)).toEqual({
      code: 1,
      output:
        `--metrics: '${metrics}' and '${listen}' of --listen are the same port. ` +
        'Give the metrics a port of their own\n',
    })
  })

  test.each([
    [['--listen', 'unix:a.sock', '--control', 'a.sock'], /^portico: --control: \S+a\.sock is also/],
    [
      ['--listen', '127.0.0.1:1', '--metrics', '127.0.0.1:1'],
      /^portico: --metrics: 127\.0\.0\.1:1 is/,
    ],
  ])('2 if %j are one address', async (flags, message) => {
    const { code, output } = await portico('serve', 'app.mjs', ...flags)
    expect(output).toMatch(message)
    expect(code).toBe(2)
  })

  test('1 if another master uses the control socket', async () => {
    const server = await here.ready()
    const args = ['serve', server.file, '--listen', ':0', '--control', server.control]
    const { code, output } = await portico(...args)
    expect(output).toBe(
      `--control: '${server.control}' is in use by another process. Stop that process, or choose another path\n`,
    )
    expect(code).toBe(1)
  })

  test.each([
    [
      'below a file',
      ['app.mjs', 'c.sock'],
      1,
      /^--control: '.*app\.mjs' is not a directory\. Choose/,
    ],
    [
      'in /proc',
      ['/proc/portico/c.sock'],
      1,
      /^--control: the directory '\/proc\/portico' cannot be/,
    ],
    [
      'too long',
      ['x'.repeat(120)],
      2,
      /^portico: --control: "\/.*" is longer than \d+ bytes.* shorter path/,
    ],
  ])('%s a control socket is refused', async (_, parts, expected, message) => {
    const file = join(here.path, 'app.mjs')
    writeFileSync(file, '')
    const control = resolvePath(here.path, ...parts)
    const { code, output } = await portico('serve', file, '--listen', ':0', '--control', control)
    expect(output).toMatch(message)
    expect(code).toBe(expected)
  })

  test('0 after portico stop, which waits for running requests', async () => {
    const server = await here.ready()
    const running = client(server).post('/wait')
    await untilActive(server, 1)
    expect(await portico('stop', server.control)).toEqual({ code: 0, output: 'Stopped\n' })
    expect(await running).toMatch(/^\d+ 5 true$/)
    expect((await server.ended).code).toBe(0)
    expect(statSync(server.socket, { throwIfNoEntry: false })).toBeUndefined()
    expect(statSync(server.control, { throwIfNoEntry: false })).toBeUndefined()
  })

  test('1 of a reload that SIGTERM to the master aborts, and it says so', async () => {
    const server = await here.ready()
    writeFileSync(server.file, 'setInterval(() => {}, 1000)')
    const reloading = portico('reload', server.control)
    await expect.poll(async () => (await statusOf(server)).state).toBe('reloading')
    server.process.kill('SIGTERM')
    expect(await reloading).toEqual({
      code: 1,
      output: 'aborted; workers that were not replaced go on\nPortico is stopping\n',
    })
  })

  test.each(['SIGTERM', 'SIGINT'] as const)(
    '0 after %s, which completes requests',
    async (signal) => {
      const server = await here.ready()
      const running = client(server).post('/wait')
      await untilActive(server, 1)
      server.process.kill(signal)
      expect(await running).toMatch(/^\d+ 5 true$/)
      expect((await server.ended).code).toBe(0)
    },
  )

  test('0 after a second SIGTERM or SIGQUIT, which end running requests', async () => {
    for (const signals of [['SIGTERM', 'SIGTERM'], ['SIGQUIT']] as const) {
      const server = await here.ready()
      const running = client(server)
        .post('/forever')
        .catch(() => 'aborted')
      await untilActive(server, 1)
      server.process.kill(signals[0])
      if (signals.length > 1) {
        await server.printed('Shutting down')
        server.process.kill('SIGTERM')
      }
      expect(await running).toBe('aborted')
      expect((await server.ended).code).toBe(0)
    }
  })
})

test('SIGHUP stops a master that belongs to a terminal', async () => {
  const server = here.serve()
  server.process.kill()
  await server.ended
  // script(1) gives its command a terminal of its own.
  const command = server.process.spawnargs.join(' ')
  const terminal = start('script', ['-qec', command, '/dev/null'])
  await terminal.printed('Serving')
  const { pid } = await statusOf(server)
  process.kill(pid, 'SIGHUP')
  const { output } = await terminal.ended
  expect(output).not.toContain('Reload')
  expect(isAlive(pid)).toBe(false)
})

test('SIGTTIN starts one worker more, and SIGTTOU ends one, but not the last', async () => {
  const server = await here.ready([], { workers: 1 })
  const configured = async () => (await statusOf(server)).workers
  server.process.kill('SIGTTIN')
  await expect.poll(configured).toMatchObject({ configured: 2, ready: 2 })
  server.process.kill('SIGTTOU')
  await expect.poll(async () => (await statusOf(server)).processes.length).toBe(1)
  server.process.kill('SIGTTOU')
  await server.printed('One worker fewer: 1 in all')
  expect(await client(server).post('/')).toMatch(/ 5 true$/)
})

test('Workers whose master is killed complete their requests and end', async () => {
  const server = await here.ready()
  const { processes } = await statusOf(server)
  const running = client(server).post('/wait')
  await untilActive(server, 1)
  server.process.kill('SIGKILL')
  expect(await running).toMatch(/^\d+ 5 true$/)
  for (const { pid } of processes) await expect.poll(() => isAlive(pid)).toBe(false)
})

test('The control socket has mode 0600, and its directory 0700', async () => {
  const server = await here.ready()
  expect((statSync(server.control).mode & 0o777).toString(8)).toBe('600')
  expect((statSync(join(server.control, '..')).mode & 0o777).toString(8)).toBe('700')
})

test('status and ping respond while all workers are blocked, and say so; metrics do as well', async () => {
  const port = await freePort()
  const server = await here.ready(['--metrics', `127.0.0.1:${port}`])
  expect(await portico('ping', server.control)).toEqual({ code: 0, output: 'pong\n' })
  expect(await get(port, '/ping')).toBe('pong\n')
  for (let blocked = 1; blocked <= 2; blocked++) {
    client(server)
      .post('/block')
      .catch(() => {})
    await expect.poll(async () => (await statusOf(server)).workers.blocked).toBe(blocked)
  }
  const { output } = await portico('status', server.control)
  expect(output).toMatch(/^workers +0 of 2 ready, 2 blocked$/m)
  expect(output.match(/blocked for \d/g)).toHaveLength(2)
  const { code, output: reason } = await portico('ping', server.control)
  expect(reason).toContain('No worker responds: 2 of 2 blocked')
  expect(code).toBe(1)
  expect(await get(port, '/ping')).toBe('No worker responds\n')
  const metrics = await get(port, '/metrics')
  expect(metrics).toContain('portico_workers{state="blocked"} 2\n')
  expect(metrics).toMatch(/\n# EOF\n$/)
  server.process.kill('SIGQUIT')
})

test('--block-timeout ends a worker that is blocked, and logs its stack and its requests', async () => {
  const server = await here.ready(['--block-timeout', '1500'], { workers: 1 })
  await expect(client(server).post('/block?secret')).rejects.toThrow()
  const output = await server.printed('ended unexpectedly (blocked)')
  expect(output).toContain('Requests that it held:\n  POST /block\n')
  expect(output).toMatch(/at .*app\.mjs:4:\d+/)
  expect(await client(server).post('/')).toMatch(/ 5 true$/)
})

test('--slow logs one line for a request that takes longer, with what it waits for', async () => {
  const server = await here.ready(['--slow', '300'], { workers: 1 })
  const one = client(server)
  await one.post('/')
  await one.post('/wait?secret=1')
  const lines = (await server.printed('slow request')).match(/^\{.*slow request.*$/gm)!
  expect(lines).toHaveLength(1)
  expect(JSON.parse(lines[0])).toMatchObject({
    method: 'POST',
    path: '/wait',
    state: 'waiting for the application to read the request body',
  })
  await expect.poll(async () => (await statusOf(server)).totals.slow).toBe(1)
})

test('--idle-exit ends a master with an inherited socket, and is refused without one', async () => {
  const refused = await here.serve(['--idle-exit', '300']).ended
  expect(refused.output).toContain('idle-exit: unix:')
  expect(refused.code).toBe(2)
  // As a socket of systemd, which outlives the master.
  const socket = createServer()
  await new Promise<void>((done) => socket.listen(0, '127.0.0.1', done))
  const { fd } = (socket as unknown as { _handle: { fd: number } })._handle
  const file = join(here.path, 'app.mjs')
  const args = [PROGRAM, 'serve', file, '--listen', 'fd:3', '--idle-exit', '300']
  const idle = start(process.execPath, args, { stdio: ['ignore', fd] })
  const { code, output } = await idle.ended
  expect(output).toContain('Idle for 0.3 s')
  expect(code).toBe(0)
  socket.close()
})

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const { port } = server.address() as { port: number }
  await new Promise((done) => server.close(done))
  return port
}

function get(port: number, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ port, path, host: '127.0.0.1' }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk) => (text += String(chunk)))
      response.on('end', () => resolve(text))
    })
    outgoing.on('error', reject).end()
  })
}
