/** The system refuses a process to the master of `portico serve`, for a while. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { start, temporaryDirectory } from '../server/child.ts'
import { APPLICATION, client, portico, PROGRAM, statusOf } from './portico.ts'

interface Place {
  /** The working directory of the master. */
  readonly directory: string
  readonly pid: number
}

const limit = (pid: number, descriptors: string): void =>
  void execFileSync('prlimit', ['--pid', `${pid}`, `--nofile=${descriptors}`])

/** Node's `spawn` fails in two ways: with an event 'error', with or without streams, or it throws. */
test.each<[string, string, (place: Place) => () => void]>([
  [
    'has no free descriptor',
    'EMFILE',
    ({ pid }) => {
      limit(pid, `${readdirSync(`/proc/${pid}/fd`).length}:`)
      return () => limit(pid, '1024:')
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
