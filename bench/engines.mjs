#!/usr/bin/env node
/**
 * Measures Portico's servers beside others: requests per second, and the CPU time that a request
 * costs the server.
 *
 * Behind nginx on a small machine, nginx itself is the bottleneck, so requests per second say little
 * about the server; its CPU time does. "Engine alone" sends nginx's requests straight to the server.
 *
 * The baseline is bare `node:http`, written as fast as it can be (`listener` in application.mjs).
 * Missing programs are left out; `--install` installs them from Debian. The load generator is in C
 * so that it is faster than any server; without a C compiler, "engine alone" is left out.
 */
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import {
  attempt,
  median,
  medianRatio,
  NODES,
  printTable,
  printTitle,
  readOptions,
  root,
  show,
  takeTurns,
  temporaryDirectory,
  versionOf,
} from './common.mjs'
import { driveEngine, driveNginx, wrkProgram } from './load/load.mjs'
import { nginxProgram, startNginx } from './nginx.mjs'
import { BASE, compileLoad, peers, startPeers, stopPeers, WORKLOADS } from './peers/peers.mjs'

const options = readOptions('Measures Portico’s servers and others, in turns.', {
  node: NODES,
  rounds: [3, 'turns of each server'],
  seconds: [1, 'for each turn; whole seconds behind nginx'],
  connections: [32, 'requests at a time'],
  tables: ['nginx,engine,growth', 'which of these three to make'],
  only: ['', 'a regular expression for the names of the servers; node:http is always included'],
  long: [false, 'bodies up to 256 MiB instead of 16'],
  install: [false, 'first install missing programs with apt-get'],
})

const PACKAGES = [
  'nginx',
  'wrk',
  'gcc',
  'libc6-dev',
  'php-fpm',
  'uwsgi-core',
  'uwsgi-plugin-python3',
  'libfcgi-dev',
  'libplack-perl',
  'libfcgi-perl',
  'libfcgi-procmanager-perl',
]
if (options.install) {
  const script = join(root, 'scripts/install-servers.sh')
  execFileSync('sh', [script, ...PACKAGES], { stdio: 'inherit' })
}

/** How long each server runs before the first turn, in seconds, until its code is compiled. */
const WARM_UP = 1

const directory = temporaryDirectory()
const load = compileLoad(directory)
const chosen = peers.filter(({ name }) => name === BASE || new RegExp(options.only, 'i').test(name))
const { connections, rounds, seconds } = options
const missing = new Set()

async function start(list, node) {
  const running = await startPeers(list, { directory, processes: connections, node })
  for (const { name } of list) {
    if (!running.some((peer) => peer.name === name)) missing.add(name)
  }
  return running
}

/** @param {(peer: object, workload: object, seconds: number) => Promise<object>} drive */
async function compare(running, drive) {
  const values = await takeTurns(running, WORKLOADS, drive, { rounds, seconds, warmUp: WARM_UP })
  const base = running.find(({ name }) => name === BASE)
  const rows = WORKLOADS.flatMap((workload) =>
    running.map((peer) => {
      const pick = (field) => values(peer, workload, field)
      const ratio = (field) => show(medianRatio(pick(field), values(base, workload, field)), 2)
      return [
        workload.name,
        peer.label ?? peer.name,
        show(median(pick('rate')), 0),
        ratio('rate'),
        show(median(pick('time'))),
        ratio('time'),
        show(median(pick('p50')), 2),
        show(median(pick('p99')), 2),
        show(Math.max(...pick('peak')), 0),
        `${pick('bad').reduce((sum, count) => sum + (count || 0), 0) || ''}`,
      ]
    }),
  )
  const figures = ['requests/s', 'ratio', 'CPU µs', 'ratio', 'p50 ms', 'p99 ms']
  printTable(['workload', 'server', ...figures, 'peak RSS MiB', 'errors'], rows, options)
}

async function behindNginx(node, kept) {
  printTitle(
    kept
      ? 'Behind nginx, kept-alive connections (* the server supports one request per connection)'
      : 'Behind nginx, a connection per request',
    options,
  )
  const running = await start(chosen, node)
  for (const peer of running) if (kept && !peer.keeps) peer.label = `${peer.name} *`
  const backends = running.map(({ host, protocol, path, parameters, keeps }) => {
    return { name: host, protocol, path, parameters, kept: kept && keeps }
  })
  const nginx = await startNginx(directory, backends)
  await compare(running, ({ pid, host }, workload, time) => {
    const work = { ...workload, port: nginx.port, host, connections, seconds: Math.ceil(time) }
    return driveNginx(pid, work)
  })
  await nginx.process.stop()
  await stopPeers(running)
}

function driveAlone({ pid, protocol, path: socket, parameters }, work) {
  return driveEngine(pid, { program: load, protocol, socket, parameters, ...work })
}

async function engineAlone(node, kept) {
  printTitle(
    `Engine alone, ${kept ? 'kept-alive connections' : 'a connection per request'}`,
    options,
  )
  const running = await start(
    chosen.filter(({ keeps }) => keeps || !kept),
    node,
  )
  await compare(running, (peer, workload, time) =>
    driveAlone(peer, { ...workload, connections, kept, seconds: time }),
  )
  await stopPeers(running)
}

/** The CGI variables that nginx sends for a browser's request: 19 of its own and five headers. */
const OWN_PARAMETERS = 24

/** The cost of a request while one thing about it grows and the rest stays the same. */
async function growth(node) {
  const sizes = ['1 KiB', '64 KiB', '1 MiB', '16 MiB', ...(options.long ? ['256 MiB'] : [])]
  // Bodies come last: the memory that they need would count in the other lines.
  const lines = [
    ...[1, 10, 100, 1000].map((count) => {
      return { name: `connections: ${count}`, path: '/hello', atATime: count }
    }),
    ...[OWN_PARAMETERS, 200, 2000].map((count) => {
      return { name: `parameters: ${count}`, path: '/hello', headers: count - OWN_PARAMETERS }
    }),
    ...sizes.map((text) => {
      const [number, unit] = text.split(' ')
      const size = number * (unit === 'MiB' ? 1024 * 1024 : 1024)
      return { name: `body: ${text}`, path: '/upload', size, atATime: unit === 'MiB' ? 2 : 32 }
    }),
  ]
  const names = new Set([BASE, 'Portico FastCGI', 'Portico SCGI', 'Portico HTTP'])
  const running = await start(
    chosen.filter(({ name }) => names.has(name)),
    node,
  )
  for (const peer of running) {
    const work = { path: '/hello', connections, kept: peer.keeps, seconds: WARM_UP }
    await attempt(peer.name, driveAlone(peer, work))
  }
  const times = []
  const peaks = []
  for (const { name, atATime = connections, ...work } of lines) {
    const results = running.map(() => [])
    for (let round = 0; round <= rounds; round += 1) {
      for (const [i, peer] of running.entries()) {
        const request = { ...work, connections: atATime, kept: peer.keeps, seconds }
        const result = await attempt(`${peer.name}, ${name}`, driveAlone(peer, request))
        if (round > 0) results[i].push(result) // The first is the warm-up.
      }
    }
    times.push([name, ...results.map((list) => cell(list, 'time', 1))])
    peaks.push([name, ...results.map((list) => cell(list, 'peak', 0))])
  }
  await stopPeers(running)
  const heading = running.map(({ name, keeps }) => (keeps ? name : `${name}, one request each`))
  printTitle('CPU time in µs for a request, engine alone', options)
  printTable(['', ...heading], times, options)
  printTitle('Peak of resident memory in MiB, engine alone', options)
  printTable(['', ...heading], peaks, options)
}

/** The median, or no figure if a turn failed or a response was not a 200. */
function cell(results, field, decimals) {
  const good = results.every((result) => result?.bad === 0)
  return show(good ? median(results.map((result) => result[field])) : NaN, decimals)
}

const tables = options.tables.split(',')
const hasNginx = nginxProgram() !== undefined && wrkProgram() !== undefined
for (const node of options.node) {
  console.log(`\nNode ${versionOf(node)}, ${connections} requests at a time, ${rounds} rounds`)
  console.log('node:http is the baseline, written as fast as node:http allows.')
  if (tables.includes('nginx') && hasNginx) {
    for (const kept of [true, false]) await behindNginx(node, kept)
  }
  if (!load) continue
  if (tables.includes('engine')) for (const kept of [true, false]) await engineAlone(node, kept)
  if (tables.includes('growth')) await growth(node)
}
if (tables.includes('nginx') && !hasNginx)
  console.log('\nNothing behind nginx: nginx or wrk is not installed (--install)')
if (!load) console.log('\nNo engine alone: no C compiler is installed (--install)')
if (missing.size > 0) console.log(`\nNot installed: ${[...missing].join('; ')} (--install)`)
