#!/usr/bin/env node
/**
 * Measures two checkouts of Portico in turns: the one that this file belongs to, and another one,
 * usually an older commit. It shows whether a change made anything slower. Both need a build; make
 * the other one with `git worktree add DIR COMMIT`, `npm ci` and `npm run build`.
 *
 * The figures are CPU times of a request, and their ratio, because requests per second depend on
 * the load generator too.
 */
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
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
import { WORKLOADS as FRAMEWORK_WORKLOADS } from './frameworks/frameworks.mjs'
import { driveEngine } from './load/load.mjs'
import { requireLoad, WORKLOADS } from './peers/peers.mjs'
import { ServerProcess } from './process.mjs'

const options = readOptions('Measures this checkout of Portico beside another one, in turns.', {
  node: NODES,
  with: ['', 'the directory of the other checkout; required'],
  rounds: [7, 'turns of each server'],
  seconds: [1, 'for each turn'],
  connections: [32, 'requests at a time'],
  only: ['', 'a regular expression for the names of the servers'],
})
if (options.with === '') throw new Error('Say which checkout: --with DIR')
const other = resolve(options.with)
for (const checkout of [root, other]) {
  if (!existsSync(join(checkout, 'dist'))) throw new Error(`Run npm run build in ${checkout}`)
}

/** What is compared: a server of Portico, and the arguments of the script in bench/ that starts it. */
const SERVERS = [
  { name: 'FastCGI', protocol: 'fastcgi', kept: true, workloads: WORKLOADS, start: engine },
  {
    name: 'FastCGI, a connection per request',
    protocol: 'fastcgi',
    workloads: WORKLOADS,
    start: engine,
  },
  { name: 'SCGI', protocol: 'scgi', workloads: WORKLOADS, start: engine },
  { name: 'HTTP', protocol: 'http', kept: true, workloads: WORKLOADS, start: engine },
  { name: 'HTTP, a connection per request', protocol: 'http', workloads: WORKLOADS, start: engine },
  {
    name: 'Express on FastCGI',
    protocol: 'fastcgi',
    kept: true,
    workloads: FRAMEWORK_WORKLOADS,
    start: express,
  },
]

function engine(checkout, protocol, socket) {
  return [join(checkout, 'bench/serve.mjs'), protocol, `unix:${socket}`]
}

function express(checkout, protocol, socket) {
  return [join(checkout, 'bench/frameworks/serve.mjs'), 'express', protocol, socket]
}

const directory = temporaryDirectory()
const program = requireLoad(directory)
let started = 0

async function compare({ name, protocol, kept = false, workloads, start }, node) {
  const running = []
  for (const checkout of [other, root]) {
    started += 1
    const path = join(directory, `${started}.sock`)
    const command = [node, ...start(checkout, protocol, path)]
    const server = await ServerProcess.start(command, { address: path, log: `${path}.log` })
    running.push({ name: `${name} of ${checkout}`, server, path })
  }
  const { connections, rounds, seconds } = options
  const values = await takeTurns(
    running,
    workloads,
    ({ server, path: socket }, workload, time) =>
      driveEngine(server.pid, {
        program,
        protocol,
        socket,
        ...workload,
        connections,
        kept,
        seconds: time,
      }),
    { rounds, seconds, warmUp: 1 },
  )
  await Promise.all(running.map(({ server }) => server.stop()))
  return workloads.map((workload) => {
    const [before, after] = running.map((each) => values(each, workload, 'time'))
    return [
      name,
      workload.name,
      show(median(before)),
      show(median(after)),
      show(medianRatio(after, before), 2),
    ]
  })
}

for (const node of options.node) {
  printTitle(`CPU time of a request in µs, Node ${versionOf(node)}`, options)
  const rows = []
  const chosen = SERVERS.filter(({ name }) => new RegExp(options.only, 'i').test(name))
  for (const server of chosen) rows.push(...(await compare(server, node)))
  printTable(['server', 'workload', 'other', 'this', 'ratio'], rows, options)
}
