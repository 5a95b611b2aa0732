#!/usr/bin/env node
/**
 * Measures what the workers of `portico serve` cost, and what they gain: one process without a
 * master, two without a master on one socket, one worker, and two, over FastCGI. Each process gets as
 * many connections as one without a master, because the event loop handles the requests that wait at the
 * same time in one turn.
 *
 * The load generator needs CPU time as well. Two workers show what they gain only where a request
 * costs much more than it costs the generator: 'work' computes for about 0.2 ms.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
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
import { driveEngine } from './load/load.mjs'
import { requireLoad } from './peers/peers.mjs'
import { memory, ServerProcess } from './process.mjs'

const options = readOptions('Measures the workers of portico serve beside one process.', {
  node: NODES,
  rounds: [7, 'turns of each server'],
  seconds: [1, 'for each turn'],
  connections: [32, 'requests at a time for each process'],
})

const directory = temporaryDirectory()
const program = requireLoad(directory)

const application = join(directory, 'app.mjs')
writeFileSync(
  application,
  `import { createHash } from 'node:crypto'
  const block = Buffer.alloc(100_000)
  export default (environ, startResponse) => {
    if (environ.PATH_INFO === '/work') createHash('sha256').update(block).digest()
    startResponse('200 OK', [['Content-Type', 'text/plain'], ['Content-Length', '6']])
    return ['Hello\\n']
  }`,
)
const alone = join(directory, 'alone.mjs')
writeFileSync(
  alone,
  `import { FastCGIHandler } from '${join(root, 'dist/handlers/fastcgi.js')}'
  import application from './app.mjs'
  await new FastCGIHandler({ listen: process.argv[2] }).run(application)`,
)

// What two processes cost by themselves: these have no master, no channel and no counters.
const pair = join(directory, 'pair.mjs')
writeFileSync(
  pair,
  `import net from 'node:net'
  import { spawn } from 'node:child_process'
  const handle = net._createServerHandle(process.argv[2].slice('unix:'.length), -1, -1)
  const start = () => spawn(process.execPath, ['${alone}', 'fd:3'], { stdio: ['ignore', 'inherit', 'inherit', handle.fd] })
  const both = [start(), start()]
  process.once('SIGTERM', () => {
    for (const one of both) one.kill()
  })`,
)

const WORKLOADS = [
  { name: 'hello', path: '/hello', size: 0, expected: 6 },
  { name: 'work', path: '/work', size: 0, expected: 6 },
]

function serve(workers) {
  const flags = ['--gateway', 'fastcgi', '--workers', `${workers}`]
  return (listen) => [
    join(root, 'bin/portico.cjs'),
    'serve',
    application,
    ...flags,
    '--listen',
    listen,
  ]
}

const SERVERS = [
  { name: 'one process', processes: 1, command: (listen) => [alone, listen] },
  { name: 'two processes', processes: 2, command: (listen) => [pair, listen] },
  { name: 'a master, 1 worker', processes: 1, command: serve(1) },
  { name: 'a master, 2 workers', processes: 2, command: serve(2) },
]

/** Resident memory of one process without its descendants, in MiB. */
function residentMemory(pid) {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))[1]) / 1024
}

for (const [index, node] of options.node.entries()) {
  const running = []
  for (const [number, server] of SERVERS.entries()) {
    const path = join(directory, `${index}-${number}.sock`)
    const command = [node, ...server.command(`unix:${path}`)]
    const started = await ServerProcess.start(command, { address: path, log: `${path}.log` })
    running.push({ ...server, path, server: started })
  }
  const { connections, rounds, seconds } = options
  const values = await takeTurns(
    running,
    WORKLOADS,
    ({ server, path: socket, processes }, workload, time) =>
      driveEngine(server.pid, {
        program,
        protocol: 'fastcgi',
        socket,
        ...workload,
        connections: connections * processes,
        kept: true,
        seconds: time,
      }),
    { rounds, seconds, warmUp: 1 },
  )
  printTitle(`Workers, Node ${versionOf(node)}`, options)
  const [base] = running
  const rows = WORKLOADS.flatMap((workload) =>
    running.map((server) => {
      const cells = ['rate', 'time'].flatMap((field) => {
        const own = values(server, workload, field)
        const ratio = medianRatio(own, values(base, workload, field))
        return [show(median(own), field === 'rate' ? 0 : 1), show(ratio, 2)]
      })
      const resident = show(residentMemory(server.server.pid), 1)
      const all = show(memory(server.server.pid).now / 1024, 0)
      return [workload.name, server.name, ...cells, resident, all]
    }),
  )
  const figures = ['requests/s', 'ratio', 'CPU µs', 'ratio', 'RSS MiB', 'RSS MiB of all']
  printTable(['workload', 'server', ...figures], rows, options)
  await Promise.all(running.map(({ server }) => server.stop()))
}
