import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { fastcgiClient, httpClient, scgiClient } from '../../src/exports/testing.ts'
import { bundle, start, temporaryDirectory } from '../server/child.ts'

const directory = temporaryDirectory()
afterAll(directory.remove)

/** The response to '/slow' comes some time after the end of the process has begun. */
const SOURCE = `
import { run } from '#src/../handlers/auto.ts'
let release
const released = new Promise((resolve) => (release = resolve))
const faults = {
  '/timer': () => { throw new Error('late\\u001b[2J') },
  '/rejection': () => void Promise.reject(new Error('late\\u001b[2J')),
  '/nothing': () => void Promise.reject(undefined),
  '/again': () => { setInterval(() => { throw new Error('once more') }, 10) },
  '/unshowable': () => { throw { [Symbol.for('nodejs.util.inspect.custom')]() { throw new Error('shown') } } },
}
async function* application({ PATH_INFO }, startResponse) {
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  if (PATH_INFO === '/hang') {
    console.log('running')
    await new Promise(() => {})
  }
  if (PATH_INFO === '/exit') setImmediate(() => process.exit())
  if (PATH_INFO === '/slow') {
    console.log('running')
    await released
    yield 'all '
  }
  if (faults[PATH_INFO]) {
    setTimeout(() => { setTimeout(release, 100); faults[PATH_INFO]() }, 50)
  }
  yield 'of it'
}
if (process.env.LISTENER) process.on('uncaughtException', ({ message }) => console.log('heard ' + message))
if (process.env.BUSY) setInterval(() => {}, 1000)
const { exitOnUncaughtError } = process.env
run(application, {
  shutdownTimeout: Number(process.env.GRACE ?? 8000),
  ...(exitOnUncaughtError && { exitOnUncaughtError: exitOnUncaughtError === 'true' }),
}).then(() => console.log('accepting'))
`

let script = ''
let sockets = 0
beforeAll(async () => {
  script = await bundle(directory.path, 'stopping', SOURCE)
})

const CLIENTS = { fastcgi: fastcgiClient, scgi: scgiClient, http: httpClient }
type Protocol = keyof typeof CLIENTS

async function started(protocol: Protocol, env: NodeJS.ProcessEnv = {}) {
  const path = join(directory.path, `socket-${(sockets += 1)}`)
  const child = start(process.execPath, [script], {
    env: {
      ...env,
      PORTICO_GATEWAY: protocol,
      PORTICO_LISTEN: `unix:${path}`,
      NODE_OPTIONS: '',
    },
  })
  await child.printed('accepting')
  const client = CLIENTS[protocol]({ path })
  const ask = async (target: string) => {
    const { status, body, broken } = await client.request({ target })
    return `${status} ${body.toString()}${broken ? ' broken' : ''}`
  }
  return { child, ask, path }
}

describe.each(['fastcgi', 'scgi', 'http'] as const)('An uncaught error over %s', (protocol) => {
  test.each([
    ['/timer', 'Uncaught exception', 'Error: late\\x1b[2J'],
    ['/rejection', 'Unhandled rejection', 'Error: late\\x1b[2J'],
  ])('in %s lets other requests complete', async (target, what, shown) => {
    const { child, ask } = await started(protocol, { BUSY: '1' })
    const slow = ask('/slow')
    await child.printed('running')
    expect(await ask(target)).toBe('200 OK of it')
    expect(await slow).toBe('200 OK all of it')
    const { code, output } = await child.ended
    expect(code).toBe(1)
    const log = output.slice(output.indexOf(what)).split('\n')
    expect(log.slice(0, 2)).toEqual([
      `${what}: completing running requests, then exiting with code 1`,
      shown,
    ])
    expect(log[2]).toMatch(/^ {4}at /)
    expect(output.match(/late/g)).toHaveLength(1)
  })

  test('closes the server to new connections', async () => {
    const { child, ask } = await started(protocol, { GRACE: '60000' })
    const hanging = ask('/hang').catch(() => 'none')
    await child.printed('running')
    await ask('/timer')
    await child.printed('Uncaught exception')
    // The socket goes a few turns of the event loop later.
    for (let open = true; open;) open = await ask('/').then(Boolean, () => false)
    child.process.kill('SIGTERM')
    await sleep(0)
    child.process.kill('SIGKILL')
    await child.ended
    expect(await hanging).not.toContain('of it')
  })

  test('ends the process after shutdownTimeout at the latest, and logs what it waits for', async () => {
    const { child, ask } = await started(protocol, { GRACE: '1500' })
    const hanging = ask('/hang').catch(() => 'none')
    await child.printed('running')
    await ask('/rejection')
    const { code, output } = await child.ended
    expect(code).toBe(1)
    expect(output).toContain('Shutting down: waiting up to 2 s for 1 connection\n')
    expect(output).toContain('Closed 1 connection with unfinished requests\n')
    expect(await hanging).not.toContain('of it')
  })
})

test.each([
  ['/nothing', 'undefined'],
  ['/unshowable', '[a value whose inspection throws]'],
])('An uncaught value that is not an Error is logged (%s)', async (target, shown) => {
  const { child, ask } = await started('scgi')
  await ask(target)
  const { code, output } = await child.ended
  expect(code).toBe(1)
  expect(output).toContain(shown)
})

test('An uncaught error that is thrown again and again is logged ten times', async () => {
  const { child, ask } = await started('scgi', { GRACE: '1500' })
  const hanging = ask('/hang').catch(() => 'none')
  await child.printed('running')
  await ask('/again')
  const { code, output } = await child.ended
  expect(code).toBe(1)
  expect(output.match(/Error: once more/g)).toHaveLength(10)
  expect(output.match(/Shutting down/g)).toHaveLength(1)
  await hanging
})

test.each(['fastcgi', 'scgi', 'http'] as const)(
  'A response that is complete when the process exits in the same turn arrives over %s',
  async (protocol) => {
    const { child, ask } = await started(protocol)
    expect(await ask('/exit')).toBe('200 OK of it')
    expect((await child.ended).code).toBe(0)
  },
)

test('A program that listens for uncaughtException keeps its server', async () => {
  const { child, ask } = await started('scgi', { LISTENER: '1' })
  await ask('/timer')
  await child.printed('heard late')
  expect(await ask('/')).toBe('200 OK of it')
  child.process.kill('SIGTERM')
  const { code, output } = await child.ended
  expect(code).toBe(0)
  expect(output).not.toContain('Uncaught')
})

test('exitOnUncaughtError: false leaves an uncaught error to Node', async () => {
  const { child, ask } = await started('scgi', { exitOnUncaughtError: 'false' })
  const hanging = ask('/hang').catch(() => 'none')
  await child.printed('running')
  await ask('/timer')
  const { code, output } = await child.ended
  expect(code).toBe(1)
  expect(output).toContain('Node.js v')
  expect(output).not.toContain('Uncaught exception:')
  expect(await hanging).not.toContain('of it')
})

test('A shutdown that has to wait logs the reason, and how to stop at once', async () => {
  const { child, ask } = await started('http')
  const hanging = ask('/hang').catch(() => 'none')
  await child.printed('running')
  child.process.kill('SIGINT')
  await child.printed(
    'Shutting down: waiting up to 8 s for 1 connection. Press Ctrl-C again to stop now\n',
  )
  child.process.kill('SIGINT')
  expect(await child.ended).toMatchObject({ code: null, signal: 'SIGINT' })
  expect(await hanging).not.toContain('of it')
})

test('A shutdown that does not have to wait logs nothing', async () => {
  const { child, ask } = await started('http')
  await ask('/')
  child.process.kill('SIGTERM')
  const { code, output } = await child.ended
  expect(code).toBe(0)
  expect(output).not.toContain('Shutting down')
})

test('Signal listeners are removed when the server closes, so that the next signal ends the process', async () => {
  const file = await bundle(
    directory.path,
    'closed',
    `import { run } from '#src/../handlers/auto.ts'
    const before = process.listenerCount('SIGINT')
    const server = await run(() => [], { gateway: 'http', listen: '127.0.0.1:0' })
    const during = process.listenerCount('SIGINT')
    await server.close()
    console.log('listeners', before, during, process.listenerCount('SIGINT'))
    setInterval(() => {}, 1000)`,
  )
  const child = start(process.execPath, [file])
  await child.printed('listeners 0 1 0')
  child.process.kill('SIGINT')
  expect(await child.ended).toMatchObject({ code: null, signal: 'SIGINT' })
})

test('SIGTERM while the server starts closes it as soon as it has started', async () => {
  const path = join(directory.path, 'early')
  const file = await bundle(
    directory.path,
    'early',
    `import { run } from '#src/../handlers/auto.ts'
    process.on('newListener', (name) => {
      if (name === 'SIGTERM') setImmediate(() => process.kill(process.pid, 'SIGTERM'))
    })
    await run(() => [], { gateway: 'scgi', listen: 'unix:${path}' })
    console.log('started')`,
  )
  const { code, output } = await start(process.execPath, [file]).ended
  expect(output).toMatch(/^started$/m)
  expect(code).toBe(0)
  expect(existsSync(path)).toBe(false)
})

describe.each(['fastcgi', 'scgi', 'http'] as const)('A shutdown over %s', (protocol) => {
  test.each([
    ['on which nothing was sent', '', 2_500],
    [
      'with half a head',
      protocol === 'http' ? 'GET / HT' : protocol === 'scgi' ? '70:CON' : '\x01\x01',
      5_500,
    ],
  ])('does not wait for shutdownTimeout because of a connection %s', async (_, bytes, limit) => {
    const { child, path } = await started(protocol, { GRACE: '20000' })
    const socket = connect({ path, allowHalfOpen: true })
    socket.on('error', () => {})
    await once(socket, 'connect')
    if (bytes !== '') socket.write(bytes, 'latin1')
    await sleep(200)
    const began = performance.now()
    child.process.kill('SIGTERM')
    const { code, output } = await child.ended
    expect(performance.now() - began).toBeLessThan(limit)
    expect(output).not.toContain('with unfinished requests')
    expect(code).toBe(0)
    socket.destroy()
  })
})
