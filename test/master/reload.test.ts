/** `portico reload`, and what else replaces workers: no request is lost. */
import { rmSync, writeFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { APPLICATION, client, counted, inDirectory, portico, statusOf } from './portico.ts'

const here = inDirectory()

async function pids(): Promise<number[]> {
  return (await statusOf(here.server)).processes.map(({ pid }) => pid)
}

/** Sends POSTs one after another on kept-alive connections until `stop` is called. */
function load(server: { readonly socket: string }, connections: number) {
  const state = { stopped: false }
  const seen = new Set<string>()
  const run = async (): Promise<number> => {
    const one = client(server)
    let responses = 0
    while (!state.stopped) {
      const [pid, length] = (await one.post('/', 'x'.repeat(100))).split(' ')
      expect(length).toBe('100')
      seen.add(pid!)
      responses += 1
    }
    await one.close()
    return responses
  }
  const running = Promise.all(Array.from({ length: connections }, run))
  return {
    seen,
    stop: () => {
      state.stopped = true
      return running
    },
  }
}

describe('portico reload', () => {
  test('replaces each worker under load without losing a request, and moves kept-alive connections', async () => {
    const server = await here.ready()
    const way = await counted(server, here.path)
    const before = await pids()
    const requests = load(way, 4)
    for (let i = 0; i < 3; i++) {
      const { code, output } = await portico('reload', server.control)
      expect(output).toMatch(
        /^\[1\/2\] Worker \d+ replaces worker \d+\n\[2\/2\] Worker .*Reloaded\n$/s,
      )
      expect(code).toBe(0)
    }
    for (const responses of await requests.stop()) expect(responses).toBeGreaterThan(0)
    expect(way.count()).toBe(4)
    way.close()
    expect(await pids()).not.toEqual(expect.arrayContaining([before[0]]))
    expect((await statusOf(server)).totals.reloads).toBe(3)
  })

  test('loads the changed application', async () => {
    const server = await here.ready()
    writeFileSync(server.file, APPLICATION.replace("' ' + length", "' changed '"))
    await portico('reload', server.control)
    expect(await client(server).post('/')).toContain('changed')
  })

  test.each([
    ['syntax', 'export default (environ => {\n  const = 1\n}', 'app.mjs:2'],
    ['missing module', "import './missing.mjs'", 'Cannot find module'],
    ['thrown', "throw new Error('no database')", 'no database'],
    ['no application', 'export const other = 1', 'exports no application'],
    ['exits', 'process.exit(7)', 'exit code 7'],
    [
      'throws in the callback of listen()',
      `import { createServer } from 'node:http'
      createServer((req, res) => res.end()).listen(3000, () => { throw new Error('no cache') })`,
      'no cache',
    ],
    ['is gone', null, 'app.mjs does not exist'],
  ])(
    'with an application that does not load (%s) exits with 1, shows why, and the old workers stay',
    async (_, source, shown) => {
      const server = await here.ready()
      const before = await pids()
      const requests = load(server, 2)
      if (source === null) rmSync(server.file)
      else writeFileSync(server.file, source)
      const { code, output } = await portico('reload', server.control)
      expect(output).toContain(shown)
      expect(output).toContain('aborted; workers that were not replaced go on\n')
      expect(code).toBe(1)
      expect(await pids()).toEqual(before)
      await requests.stop()
    },
  )

  test('completes a request that is running in a worker that retires', async () => {
    const server = await here.ready([], { workers: 1 })
    const running = client(server).post('/wait')
    await expect.poll(async () => (await statusOf(server)).totals.active).toBe(1)
    const old = (await pids())[0]
    expect((await portico('reload', server.control)).code).toBe(0)
    expect(await running).toMatch(`${old} 5`)
  })

  test('ends a request that does not end after the shutdown timeout', async () => {
    const server = await here.ready(['--shutdown-timeout', '200'], { workers: 1 })
    const running = client(server)
      .post('/forever')
      .catch(() => 'aborted')
    await expect.poll(async () => (await statusOf(server)).totals.active).toBe(1)
    expect((await portico('reload', server.control)).code).toBe(0)
    expect(await running).toBe('aborted')
  })

  test('follows the symbolic link in the path of the application again', async () => {
    const server = await here.ready()
    const { renameSync, symlinkSync } = await import('node:fs')
    const releases = [`${server.file}.1.mjs`, `${server.file}.2.mjs`]
    writeFileSync(releases[0]!, APPLICATION.replace("' ' + length", "' first '"))
    writeFileSync(releases[1]!, APPLICATION.replace("' ' + length", "' second '"))
    for (const [index, text] of ['first', 'second'].entries()) {
      symlinkSync(releases[index]!, `${server.file}.link`)
      renameSync(`${server.file}.link`, server.file)
      await portico('reload', server.control)
      expect(await client(server).post('/')).toContain(text)
    }
  })
})

test('SIGHUP reloads', async () => {
  const server = await here.ready()
  const before = await pids()
  server.process.kill('SIGHUP')
  await server.printed('Reload: [2/2]')
  const left = async () => (await pids()).filter((pid) => before.includes(pid))
  await expect.poll(left).toEqual([])
})

test('--max-requests replaces workers under load without losing a request', async () => {
  const server = await here.ready(['--max-requests', '50'])
  const way = await counted(server, here.path)
  const requests = load(way, 4)
  await expect.poll(() => requests.seen.size).toBeGreaterThan(4)
  await requests.stop()
  expect(way.count()).toBe(4)
  way.close()
  expect((await statusOf(server)).restarts['max-requests']).toBeGreaterThan(2)
})

test('A worker that is killed is replaced, and connections that wait are served', async () => {
  const server = await here.ready([], { workers: 1 })
  const [pid] = await pids()
  process.kill(pid!, 'SIGKILL')
  expect(await client(server).post('/')).toMatch(/^\d+ 5 true$/)
  const { restarts } = await statusOf(server)
  expect(restarts).toEqual({ SIGKILL: 1 })
})

test('An uncaught error replaces the worker: it completes its requests and takes no others', async () => {
  const server = await here.ready([], { workers: 1 })
  const running = client(server).post('/wait')
  await expect.poll(async () => (await statusOf(server)).totals.active).toBe(1)
  const old = (await pids())[0]!
  await client(server).post('/throw')
  await server.printed('thrown outside a request')
  expect(await client(server).post('/')).not.toContain(`${old} `)
  expect(await running).toContain(`${old} 5`)
})

test('SIGTERM to a worker starts its successor first', async () => {
  const server = await here.ready([], { workers: 1 })
  const [old] = await pids()
  const way = await counted(server, here.path)
  const one = client(way)
  await one.post('/')
  process.kill(old!, 'SIGTERM')
  await expect.poll(pids).not.toContain(old)
  expect(await one.post('/')).toMatch(/ 5 true$/)
  expect(way.count()).toBe(1)
  way.close()
})

test.each(['http', 'scgi'])('A reload over %s loses no request', async (gateway) => {
  const server = await here.ready([], { gateway })
  const { httpClient } = await import('../../src/testing/client-http.ts')
  const { scgiClient } = await import('../../src/testing/client-scgi.ts')
  const make = gateway === 'http' ? httpClient : scgiClient
  const state = { stopped: false }
  const run = async (): Promise<number> => {
    let responses = 0
    const one = make({ path: server.socket })
    while (!state.stopped) {
      const { body } = await one.request({ method: 'POST', target: '/', body: 'hello' })
      expect(body.toString()).toMatch(/ 5 true$/)
      responses += 1
    }
    await one.close()
    return responses
  }
  const running = Promise.all([run(), run()])
  await portico('reload', server.control)
  state.stopped = true
  for (const responses of await running) expect(responses).toBeGreaterThan(0)
})

test('A kept-alive HTTP connection moves to the new worker', async () => {
  const server = await here.ready([], { gateway: 'http', workers: 1 })
  const { connect } = await import('node:net')
  const socket = connect(server.socket)
  let text = ''
  socket.setEncoding('utf8').on('data', (chunk) => (text += String(chunk)))
  const request = 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello'
  for (const count of [1, 2, 3]) {
    socket.write(request)
    await expect.poll(() => text.match(/ 5 true/g)?.length).toBe(count)
    await portico('reload', server.control)
  }
  expect(new Set(text.match(/\d+(?= 5 true)/g)).size).toBe(3)
  socket.destroy()
})
