/** `portico serve` when the system refuses a process or a descriptor, for a while. */
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { start, temporaryDirectory } from '../server/child.ts'
import { APPLICATION, client, inDirectory, portico, PROGRAM, statusOf } from './portico.ts'

const here = inDirectory()

interface Place {
  /** The working directory of the master. */
  readonly directory: string
  readonly pid: number
}

/** Leaves a process `free` descriptors; the limit counts from the lowest number. */
function leave(pid: number, free: number): void {
  const used = new Set(readdirSync(`/proc/${pid}/fd`).map(Number))
  let limit = 0
  for (let unused = 0; unused < free || used.has(limit); limit += 1) {
    if (!used.has(limit)) unused += 1
  }
  execFileSync('prlimit', ['--pid', `${pid}`, `--nofile=${limit}:`])
}

/** Node's `spawn` fails in two ways: with an event 'error', with or without streams, or it throws. */
test.each<[string, string, (place: Place) => () => void]>([
  [
    'has no free descriptor',
    'EMFILE',
    ({ pid }) => {
      leave(pid, 0)
      return () => leave(pid, 100)
    },
  ],
  [
    'has lost its working directory',
    'ENOENT',
    ({ directory }) => {
      renameSync(directory, `${directory}.away`)
      return () => renameSync(`${directory}.away`, directory)
    },
  ],
  [
    'gets another error of the system',
    'ENOTDIR',
    ({ directory }) => {
      rmSync(directory, { recursive: true })
      writeFileSync(directory, '')
      return () => {
        rmSync(directory)
        mkdirSync(directory)
      }
    },
  ],
])('A master that %s goes on, and starts its worker later', async (_, code, breakIt) => {
  const place = temporaryDirectory()
  const directory = join(place.path, 'cwd')
  const [file, socket, control] = ['app.mjs', 'app.sock', 'control.sock'].map((name) =>
    join(place.path, name),
  ) as [string, string, string]
  mkdirSync(directory)
  writeFileSync(file, APPLICATION)
  const flags = ['--gateway=fastcgi', `--listen=unix:${socket}`, `--control=${control}`]
  const master = start('/bin/sh', [
    '-c',
    'cd "$0" && exec "$@"',
    directory,
    process.execPath,
    PROGRAM,
    'serve',
    file,
    ...flags,
  ])
  try {
    await master.printed('Serving')
    const [worker] = (await statusOf({ control })).processes
    const repair = breakIt({ directory, pid: master.process.pid! })
    process.kill(worker!.pid, 'SIGKILL')
    const log = await master.printed('The next worker starts in 1 s')
    expect(log).toMatch(
      new RegExp(`^A worker cannot be started in ${directory}: spawn .*${code}$`, 'm'),
    )
    repair()
    expect(await portico('reload', control)).toMatchObject({ code: 0 })
    const own = client({ socket })
    expect(await own.post('/')).toMatch(/^\d+ 5 /)
    await own.close()
  } finally {
    master.process.kill('SIGTERM')
    await master.ended
    place.remove()
  }
})

test('A master without a free descriptor for /proc responds to status and metrics', async () => {
  const server = await here.ready(['--metrics', '127.0.0.1:0'])
  const { pid } = server.process
  const [metrics] = /http:.*/.exec(await server.printed('/metrics'))!
  leave(pid!, 1) // For the connection.
  expect(await statusOf(server)).toMatchObject({ workers: { ready: 2 } })
  const headers = { Connection: 'close' }
  await expect.poll(async () => (await fetch(metrics, { headers })).text()).toContain('# EOF')
  leave(pid!, 100)
  expect(await portico('ping', server.control)).toMatchObject({ code: 0 })
})

test('A worker whose connections use all descriptors goes on', async () => {
  const server = await here.ready([], { workers: 1 })
  const [worker] = (await statusOf(server)).processes
  leave(worker!.pid, 4)
  const clients = Array.from({ length: 32 }, () => connect(server.socket).on('error', () => {}))
  await Promise.race(clients.map((each) => once(each, 'close'))) // One too many.
  // The worker reads its memory for each status.
  expect((await statusOf(server)).totals.connections).toBeGreaterThan(0)
  expect(await statusOf(server)).toMatchObject({ restarts: {}, processes: [{ pid: worker!.pid }] })
  for (const each of clients) each.destroy()
})
