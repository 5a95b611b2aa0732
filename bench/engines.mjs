#!/usr/bin/env node
/**
 * Portico's servers beside others: requests per second, and the time of a processor that a request
 * costs the server. From the side of whoever drives them.
 *
 * Behind nginx on a small machine nginx itself is the limit, and requests per second say little of
 * what is behind it; the kernel's account of the server's processes does. Engine alone means that a
 * generator of load takes nginx's place and sends what nginx would.
 *
 * What is not installed is left out; `--install` installs what Debian has. The generator is in C,
 * for it must never be slower than what it drives: where there is no compiler, those tables are
 * left out.
 */
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { median, printTable, readOptions, root, show, temporaryFolder } from './common.mjs'
import { driveEngine, driveNginx, wrkProgram } from './load/load.mjs'
import { nginxProgram, startNginx } from './nginx.mjs'
import { compile, peers } from './peers/peers.mjs'
import { ServerProcess } from './process.mjs'

const options = readOptions('Measures Portico’s servers and others, in turns.', {
  rounds: [3, 'turns of each'],
  seconds: [1, 'of each turn; behind nginx whole ones'],
  connections: [32, 'requests at a time'],
  tables: ['nginx,engine,growth', 'which to make, of these three'],
  only: ['', 'a regular expression for the names of the servers; node:http is always there'],
  long: [false, 'bodies up to 256 MiB instead of 16'],
  install: [false, 'first install what is missing, with apt-get'],
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

/** `size` and `answer` are bytes of the two bodies. */
const WORKLOADS = [
  { name: 'hello', path: '/hello', size: 0, answer: 14 },
  { name: '64 KiB answer', path: '/64k', size: 0, answer: 65_536 },
  { name: '64 KiB echo', path: '/echo', size: 65_536, answer: 65_536 },
]

/** Runs before the first turn, until the code is compiled. */
const WARM_UP = 1

/** What all is compared with. */
const BASE = 'node:http'

const folder = temporaryFolder()
const load = compile(join(root, 'bench/load/load.c'), folder, 'load')
const chosen = peers.filter(({ name }) => name === BASE || new RegExp(options.only, 'i').test(name))
const { connections, rounds, seconds } = options

let started = 0

/** Starts all that is installed; a name that is missing is said once. */
async function startAll(list, processes) {
  const running = []
  for (const peer of list) {
    started += 1
    const path = join(folder, `${started}.sock`)
    const command = peer.command({ path, folder, processes })
    if (command) {
      const server = await ServerProcess.start(command, { place: path, log: `${path}.log` })
      running.push({ ...peer, path, host: `server${started}`, pid: server.pid, server })
    } else {
      missing.add(peer.name)
    }
  }
  return running
}

const missing = new Set()

async function stopAll(running) {
  await Promise.all(running.map(({ server }) => server.stop()))
}

/** A turn that fails is no figure, and no reason to end: `null`. */
async function attempt(name, turn) {
  try {
    return await turn
  } catch (error) {
    console.error(`${name}: ${String(error.stderr || error.message).trim()}`)
    return null
  }
}

/**
 * All servers and workloads in turns.
 *
 * @param {(peer: object, workload: object, seconds: number) => Promise<object>} drive
 */
async function compare(running, drive) {
  const results = new Map()
  for (const workload of WORKLOADS) {
    for (const peer of running) {
      results.set(key(peer, workload), [])
      await attempt(peer.name, drive(peer, workload, WARM_UP))
    }
  }
  for (let round = 0; round < rounds; round += 1) {
    for (const workload of WORKLOADS) {
      for (const peer of running) {
        const result = await attempt(peer.name, drive(peer, workload, seconds))
        results.get(key(peer, workload)).push(result)
      }
    }
  }
  const base = running.find(({ name }) => name === BASE)
  const rows = WORKLOADS.flatMap((workload) =>
    running.map((peer) => {
      const own = results.get(key(peer, workload))
      const bases = results.get(key(base, workload))
      const pick = (field) => own.map((result) => result?.[field] ?? NaN)
      const ratios = (field) => pick(field).map((value, i) => value / (bases[i]?.[field] ?? NaN))
      return [
        workload.name,
        peer.label ?? peer.name,
        show(median(pick('rate')), 0),
        show(median(ratios('rate')), 2),
        show(median(pick('time'))),
        show(median(ratios('time')), 2),
        show(median(pick('p50')), 2),
        show(median(pick('p99')), 2),
        show(Math.max(...pick('peak')), 0),
        `${pick('bad').reduce((sum, count) => sum + (count || 0), 0) || ''}`,
      ]
    }),
  )
  const heading = [
    'workload',
    'server',
    'requests/s',
    'ratio',
    'CPU µs',
    'ratio',
    'p50 ms',
    'p99 ms',
  ]
  printTable([...heading, 'peak RSS MiB', 'errors'], rows, options)
}

function key(peer, workload) {
  return `${peer.name}, ${workload.name}`
}

function title(text) {
  console.log(`\n${options.markdown ? '### ' : ''}${text}\n`)
}

async function behindNginx(kept) {
  title(
    kept
      ? 'Behind nginx, kept connections (a star: one per request, since the server keeps none)'
      : 'Behind nginx, a connection per request',
  )
  const running = await startAll(chosen, connections)
  for (const peer of running) if (kept && !peer.keeps) peer.label = `${peer.name} *`
  const backends = running.map(({ host, protocol, path, parameters, keeps }) => {
    return { name: host, protocol, path, parameters, kept: kept && keeps }
  })
  const nginx = await startNginx(folder, backends)
  await compare(running, ({ pid, host }, workload, time) => {
    const work = { ...workload, port: nginx.port, host, connections, seconds: Math.ceil(time) }
    return driveNginx(pid, work)
  })
  await nginx.process.stop()
  await stopAll(running)
}

function driveAlone({ pid, protocol, path: socket, parameters }, work) {
  return driveEngine(pid, { program: load, protocol, socket, parameters, ...work })
}

async function engineAlone(kept) {
  title(`Engine alone, ${kept ? 'kept connections' : 'a connection per request'}`)
  const running = await startAll(
    chosen.filter(({ keeps }) => keeps || !kept),
    connections,
  )
  await compare(running, (peer, workload, time) =>
    driveAlone(peer, { ...workload, connections, kept, seconds: time }),
  )
  await stopAll(running)
}

/** What nginx sends for a browser's request: 19 of its own, and five headers. */
const OWN_PARAMETERS = 24

/** What a request costs as one thing about it grows; in each line all else stays as it is. */
async function growth() {
  const sizes = ['1 KiB', '64 KiB', '1 MiB', '16 MiB', ...(options.long ? ['256 MiB'] : [])]
  // Bodies come last: what they leave behind would count as memory of the others.
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
  const running = await startAll(
    chosen.filter(({ name }) => names.has(name)),
    connections,
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
  await stopAll(running)
  const heading = running.map(({ name, keeps }) => (keeps ? name : `${name}, one request each`))
  title('CPU time in µs for a request, engine alone')
  printTable(['', ...heading], times, options)
  title('Peak of resident memory in MiB, engine alone')
  printTable(['', ...heading], peaks, options)
}

/** The median; no figure where a turn has failed or was answered by anything but a 200. */
function cell(results, field, decimals) {
  const good = results.every((result) => result?.bad === 0)
  return show(good ? median(results.map((result) => result[field])) : NaN, decimals)
}

const tables = options.tables.split(',')
console.log(`Node ${process.version}, ${connections} requests at a time, ${rounds} rounds`)
if (tables.includes('nginx')) {
  if (nginxProgram && wrkProgram) for (const kept of [true, false]) await behindNginx(kept)
  else console.log('\nNothing behind nginx: nginx or wrk is not installed (--install)')
}
if (load) {
  if (tables.includes('engine')) for (const kept of [true, false]) await engineAlone(kept)
  if (tables.includes('growth')) await growth()
} else {
  console.log('\nNo engine alone: there is no C compiler (--install)')
}
if (missing.size > 0) console.log(`\nNot installed: ${[...missing].join('; ')} (--install)`)
