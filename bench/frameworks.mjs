#!/usr/bin/env node
/**
 * Measures Express, Koa, Fastify and Hono on FastCGIHandler and HTTPHandler beside the framework's
 * own `listen()`: requests per second, and the CPU time that a request costs the server.
 *
 * "Engine alone" sends requests straight to each server. "Behind nginx" sends them through nginx,
 * with `proxy_pass` to the framework's own `listen()` and to HTTPHandler.
 */
import {
  median,
  medianRatio,
  NODES,
  printTable,
  printTitle,
  readOptions,
  show,
  takeTurns,
  temporaryDirectory,
  versionOf,
} from './common.mjs'
import {
  frameworks,
  installedFrameworks,
  startFramework,
  WORKLOADS,
} from './frameworks/frameworks.mjs'
import { driveEngine, driveNginx, wrkProgram } from './load/load.mjs'
import { nginxProgram, startNginx } from './nginx.mjs'
import { compileLoad, stopPeers } from './peers/peers.mjs'

const options = readOptions('Measures frameworks on Portico and on their own servers, in turns.', {
  node: NODES,
  rounds: [5, 'turns of each server'],
  seconds: [2, 'for each turn; whole seconds behind nginx'],
  connections: [32, 'requests at a time'],
  tables: ['engine,nginx', 'which of these two to make'],
  only: ['', 'a regular expression for the names of the frameworks'],
})

/** How long each server runs before the first turn, in seconds, until its code is compiled. */
const WARM_UP = 2

const directory = temporaryDirectory()
const load = compileLoad(directory)
const { connections, rounds, seconds } = options

/** @param {(server: object, workload: object, seconds: number) => Promise<object>} drive */
async function compare(running, drive) {
  const values = await takeTurns(running, WORKLOADS, drive, { rounds, seconds, warmUp: WARM_UP })
  return WORKLOADS.flatMap((workload) =>
    running.map((server) => {
      const base = running.find(({ name }) => name === server.base)
      const pick = (field) => values(server, workload, field)
      const ratio = (field) => show(medianRatio(pick(field), values(base, workload, field)), 2)
      return [
        workload.name,
        server.name,
        show(median(pick('rate')), 0),
        ratio('rate'),
        show(median(pick('time'))),
        ratio('time'),
        show(median(pick('p50')), 2),
        show(median(pick('p99')), 2),
      ]
    }),
  )
}

function engineAlone(running) {
  return compare(running, ({ pid, protocol, path: socket }, workload, time) =>
    driveEngine(pid, {
      program: load,
      protocol,
      socket,
      ...workload,
      connections,
      kept: true,
      seconds: time,
    }),
  )
}

async function behindNginx(running) {
  const nginx = await startNginx(
    directory,
    running.map(({ host, protocol, path }) => ({ name: host, protocol, path, kept: true })),
  )
  try {
    return await compare(running, ({ pid, host }, workload, time) => {
      const work = { ...workload, port: nginx.port, host, connections, seconds: Math.ceil(time) }
      return driveNginx(pid, work)
    })
  } finally {
    await nginx.process.stop()
  }
}

const ways = [
  { table: 'engine', title: 'Engine alone', measure: engineAlone, possible: load !== null },
  {
    table: 'nginx',
    title: 'Behind nginx',
    measure: behindNginx,
    possible: nginxProgram() !== undefined && wrkProgram() !== undefined,
  },
].filter(({ table }) => options.tables.split(',').includes(table))

const only = new RegExp(options.only, 'i')
const chosen = installedFrameworks().filter((name) => only.test(name))
const heading = ['workload', 'server', 'requests/s', 'ratio', 'CPU µs', 'ratio', 'p50 ms', 'p99 ms']

for (const node of options.node) {
  console.log(`\nNode ${versionOf(node)}, ${connections} requests at a time, ${rounds} rounds`)
  for (const { title, measure, possible } of ways) {
    if (!possible) continue
    const rows = []
    for (const framework of chosen) {
      const running = await startFramework(framework, { directory, node })
      rows.push(...(await measure(running)))
      await stopPeers(running)
    }
    printTitle(title, options)
    printTable(heading, rows, options)
  }
}
const missing = Object.keys(frameworks).filter((name) => !installedFrameworks().includes(name))
if (missing.length > 0) console.log(`\nNot installed: ${missing.join(', ')}`)
for (const { title, possible } of ways) {
  if (!possible) console.log(`\n${title} needs programs: node bench/engines.mjs --install`)
}
