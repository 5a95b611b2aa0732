/** Unix sockets whose path exists already, and sockets in workers of node:cluster. */
import { once } from 'node:events'
import { existsSync, linkSync, lstatSync, readdirSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { fastcgiClient, httpClient, scgiClient } from '../../src/exports/testing.ts'
import { listen, type ListenPolicy } from '../../src/server/listen.ts'
import { bundle, start, temporaryDirectory } from './child.ts'

const directory = temporaryDirectory()
afterAll(directory.remove)

const servers: Server[] = []
afterEach(() => {
  for (const server of servers.splice(0)) server.close()
})

const policy: ListenPolicy = { fallback: 0, wildcard: 'refuse' }
let count = 0
const newPath = () => join(directory.path, `socket-${(count += 1)}`)

async function listening(path: string): Promise<Server> {
  const server = createServer()
  servers.push(server)
  await once(server.listen(path), 'listening')
  return server
}

/** Leaves a socket on which nothing listens, as a killed process does. */
async function leaveStale(path: string): Promise<void> {
  const dying = await listening(`${path}.dying`)
  linkSync(`${path}.dying`, path)
  dying.close()
  await once(dying, 'close')
}

describe('The temporary path of a socket', () => {
  test('is replaced if a process with the same pid has left it', async () => {
    const path = newPath()
    await leaveStale(`${path}.${process.pid}`)
    const server = createServer()
    servers.push(server)
    await listen(server, { listen: `unix:${path}` }, policy)
    expect(
      readdirSync(directory.path).filter((name) => join(directory.path, name).startsWith(path)),
    ).toEqual([path.slice(directory.path.length + 1)])
  })

  test('is named in the error if another process with that pid listens on it', async () => {
    const path = newPath()
    await listening(`${path}.${process.pid}`)
    await expect(listen(createServer(), { listen: `unix:${path}` }, policy)).rejects.toThrow(
      `listen: '${path}.${process.pid}' is in use by another process`,
    )
  })
})

test('Of two processes that replace a stale socket, one listens and the other reports an error', async () => {
  const script = await bundle(
    directory.path,
    'replacing',
    `import fs from 'node:fs'
    import { syncBuiltinESMExports } from 'node:module'
    import { createServer } from 'node:net'
    import { listen } from '#src/server/listen.ts'
    const path = process.env.SOCKET
    for (const name of process.env.SLOW ? ['unlinkSync', 'renameSync'] : []) {
      const original = fs[name]
      fs[name] = (file, ...others) => {
        if (file === path) {
          fs.writeSync(1, 'about to remove\\n')
          Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1500)
        }
        return original(file, ...others)
      }
    }
    syncBuiltinESMExports()
    const server = createServer((socket) => socket.end(String(process.pid)))
    await listen(server, { listen: 'unix:' + path }, { fallback: 0, wildcard: 'refuse' }).then(
      () => console.log('listening'),
      (error) => console.log(error.message))`,
  )
  const path = newPath()
  await leaveStale(path)
  const slow = start(process.execPath, [script], { env: { SOCKET: path, SLOW: '1' } })
  await slow.printed('about to remove')
  const quick = start(process.execPath, [script], { env: { SOCKET: path } })
  await quick.printed('listening')
  const { output } = await slow.ended
  expect(output).toContain('in use by another process')
  expect(existsSync(path)).toBe(true)
  quick.process.kill()
  await quick.ended
})

test('Of six processes that start at once over a stale socket, one listens, and it can be reached', async () => {
  const script = await bundle(
    directory.path,
    'racing',
    `import fs from 'node:fs'
    import { createServer } from 'node:net'
    import { listen } from '#src/server/listen.ts'
    const path = process.env.SOCKET
    const server = createServer((socket) => socket.on('error', () => {}).end(String(process.pid)))
    console.log('ready')
    while (!fs.existsSync(path + '.go')); // All of them start at the same moment.
    await listen(server, { listen: 'unix:' + path }, { fallback: 0, wildcard: 'refuse' }).then(
      () => console.log('listening'),
      (error) => console.log(error.message))`,
  )
  for (let round = 0; round < 3; round += 1) {
    const path = newPath()
    await leaveStale(path)
    const all = Array.from({ length: 6 }, () =>
      start(process.execPath, [script], { env: { SOCKET: path } }),
    )
    await Promise.all(all.map((each) => each.printed('ready')))
    writeFileSync(`${path}.go`, '')
    const outputs = await Promise.all(
      all.map((each) => each.printed('listening').catch((error: unknown) => String(error))),
    )
    // The error of the others says 'ended without printing', and in use.
    const winners = all.filter((_each, i) => !outputs[i]!.includes('in use by another process'))
    expect(winners, outputs.join('\n---\n')).toHaveLength(1)
    let reached = ''
    for await (const chunk of connect(path)) reached += String(chunk)
    expect(reached).toBe(String(winners[0]!.process.pid))
    for (const each of all) each.process.kill()
    await Promise.all(all.map((each) => each.ended))
  }
})

test.each([
  ['run', "run(application, { gateway: 'fastcgi', ...options })"],
  ['a handler', 'new FastCGIHandler(options).run(application)'],
])(
  'Workers of node:cluster with %s share a Unix socket with the mode of the options, and replace a stale one',
  async (name, call) => {
    const script = await bundle(
      directory.path,
      `cluster-${name.replace(' ', '-')}`,
      `import cluster from 'node:cluster'
    import { run } from '#src/../handlers/auto.ts'
    import { FastCGIHandler } from '#src/../handlers/fastcgi.ts'
    if (cluster.isPrimary) {
      for (let i = 0; i < 2; i += 1) cluster.fork()
      let up = 0
      cluster.on('message', () => (up += 1) === 2 && console.log('both are up'))
      process.on('SIGTERM', () => { for (const id in cluster.workers) cluster.workers[id].kill() })
    } else {
      const options = { listen: 'unix:' + process.env.SOCKET, mode: 0o606 }
      const application = (environ, startResponse) => {
        startResponse('200 OK', [['Content-Type', 'text/plain']])
        return [String(environ['wsgi.multiprocess'])]
      }
      await ${call}
      process.send('up')
    }`,
    )
    const path = newPath()
    await leaveStale(path)
    const child = start(process.execPath, [script], { env: { SOCKET: path } })
    await child.printed('both are up')
    expect(lstatSync(path).mode & 0o777).toBe(0o606)
    const client = fastcgiClient({ path })
    expect(String((await client.request({ target: '/' })).body)).toBe('true')
    await client.close()
    child.process.kill('SIGTERM')
    await child.ended
  },
)

/** Starts a program with a listening Unix socket as its descriptor 0, as spawn-fcgi does. */
const WITH_SOCKET = `import os, socket, sys
listening = socket.socket(socket.AF_UNIX)
listening.bind(os.environ['SOCKET'])
listening.listen()
os.dup2(listening.fileno(), 0)
os.execvp(sys.argv[1], sys.argv[1:])`

test.each([
  ['FastCGIHandler', 'fastcgi', '{}', fastcgiClient],
  ['SCGIHandler', 'scgi', '{}', scgiClient],
  ['NodeFastCGIHandler', 'node-fastcgi', '{}', fastcgiClient],
  ['HTTPHandler', 'http', "{ listen: 'fd:0' }", httpClient],
] as const)(
  'wsgi.multiprocess is true under %s on descriptor 0, which several processes may share',
  async (handler, file, options, client) => {
    const script = await bundle(
      directory.path,
      `descriptor-${file}`,
      `import { ${handler} } from '#src/../handlers/${file}.ts'
      await new ${handler}(${options}).run((environ, startResponse) => {
        startResponse('200 OK', [['Content-Type', 'text/plain']])
        return [String(environ['wsgi.multiprocess'])]
      })`,
    )
    const path = newPath()
    const program = ['-c', WITH_SOCKET, process.execPath, script]
    const child = start('python3', program, { env: { SOCKET: path } })
    await expect.poll(() => existsSync(path)).toBe(true)
    await expect.poll(() => connects(path)).toBe(true)
    const connection = client({ path })
    expect(String((await connection.request({ target: '/' })).body)).toBe('true')
    await connection.close()
    child.process.kill('SIGKILL')
    await child.ended
  },
)

async function connects(path: string): Promise<boolean> {
  const socket = connect(path)
  const connected = await once(socket, 'connect').then(
    () => true,
    () => false,
  )
  socket.destroy()
  return connected
}
