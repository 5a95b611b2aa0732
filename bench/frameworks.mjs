#!/usr/bin/env node
/**
 * Express and Hono behind nginx by FastCGI, beside the same applications behind `proxy_pass` and
 * without a web server: requests per second, and the time of a processor that a request costs the
 * application's process. From the side of whoever drives them.
 *
 * The bar is 0.95 of `proxy_pass`, in requests and in time. Hono's own server for Node is
 * @hono/node-server, which puts lighter classes in place of the global Request and Response unless
 * it is told not to. Portico does that only if `installLightFetch` is called. So there are two
 * comparisons: with light classes on both sides, and with Node's own.
 */
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { median, printTable, readOptions, root, show, temporaryFolder } from './common.mjs'
import { driveNginx, wrkProgram } from './load/load.mjs'
import { freePort, nginxProgram, startNginx } from './nginx.mjs'
import { ServerProcess } from './process.mjs'

const options = readOptions('Measures frameworks through FastCGI and proxy_pass, in turns.', {
  rounds: [5, 'turns of each'],
  seconds: [2, 'of each turn, whole ones'],
  connections: [32, 'requests at a time'],
})

const WORKLOADS = [
  { name: 'hello', path: '/hello', size: 0, answer: 14 },
  { name: '64 KiB', path: '/64k', size: 0, answer: 65_536 },
]

/** Seconds before the first turn, until the code is compiled. */
const WARM_UP = 2

const serve = join(root, 'bench/frameworks/serve.mjs')
const folder = temporaryFolder()
const { connections, rounds, seconds } = options

/**
 * The ways to reach a framework: each a process of its own, and the way that it is compared with.
 * `gateway` is what serve.mjs takes.
 */
const WAYS = {
  express: [
    { name: 'proxy_pass', gateway: 'node' },
    { name: 'Portico FastCGI', gateway: 'fastcgi', base: 'proxy_pass' },
  ],
  hono: [
    { name: 'proxy_pass', gateway: 'node-light' },
    { name: 'Portico FastCGI, light', gateway: 'fastcgi-light', base: 'proxy_pass' },
    { name: "proxy_pass, Node's classes", gateway: 'node' },
    { name: 'Portico FastCGI', gateway: 'fastcgi', base: "proxy_pass, Node's classes" },
  ],
}

/** Starts the processes of a framework; the first one is measured without nginx, too. */
async function start(framework) {
  const bare = await freePort()
  const started = []
  for (const [i, way] of WAYS[framework].entries()) {
    const path = join(folder, `${framework}-${i}.sock`)
    const places = i === 0 ? [path, `${bare}`] : [path]
    const server = await ServerProcess.start(
      [process.execPath, serve, framework, way.gateway, ...places],
      { place: path, log: `${path}.log` },
    )
    const protocol = way.gateway.startsWith('node') ? 'http' : 'fastcgi'
    started.push({ ...way, server, protocol, path, host: `way${i}` })
  }
  const nginx = await startNginx(
    folder,
    started.map(({ host, protocol, path }) => ({ name: host, protocol, path, kept: true })),
  )
  const [first] = started
  return {
    ways: [
      ...started.map((way) => ({ ...way, pid: way.server.pid, port: nginx.port })),
      { name: 'without nginx', base: first.name, pid: first.server.pid, port: bare, host: 'bare' },
    ],
    async stop() {
      for (const { server } of started) await server.stop()
      await nginx.process.stop()
    },
  }
}

/** A turn of each way, workload by workload; the first is not counted. */
async function compare(ways) {
  const results = new Map(WORKLOADS.map((workload) => [workload, ways.map(() => [])]))
  for (let round = 0; round <= rounds; round += 1) {
    for (const workload of WORKLOADS) {
      for (const [i, { pid, port, host }] of ways.entries()) {
        const time = round === 0 ? WARM_UP : Math.ceil(seconds)
        const work = { ...workload, port, host, connections, seconds: time }
        const result = await driveNginx(pid, work)
        if (result.bad > 0) throw new Error(`${result.bad} requests of ${host} failed`)
        if (round > 0) results.get(workload)[i].push(result)
      }
    }
  }
  return results
}

function rowsOf(framework, ways, results) {
  return WORKLOADS.flatMap((workload) => {
    const all = results.get(workload)
    return ways.map(({ name, base = name }, i) => {
      const bases = all[ways.findIndex((way) => way.name === base)]
      const pick = (field) => all[i].map((result) => result[field])
      const ratio = (field) => median(pick(field).map((value, turn) => value / bases[turn][field]))
      return [
        `${framework}, ${workload.name}`,
        name,
        show(median(pick('rate')), 0),
        show(ratio('rate'), 2),
        show(median(pick('time'))),
        show(ratio('time'), 2),
        show(median(pick('p50')), 2),
        show(median(pick('p99')), 2),
      ]
    })
  })
}

function resolves(name) {
  try {
    createRequire(import.meta.url).resolve(name)
    return true
  } catch {
    return false
  }
}

if (!nginxProgram || !wrkProgram) {
  console.error('nginx or wrk is not installed: node bench/engines.mjs --install')
  process.exit(1)
}
const needs = { express: 'express', hono: '@hono/node-server' }
const rows = []
for (const [framework, need] of Object.entries(needs)) {
  if (!resolves(need)) {
    console.error(`${framework} is left out: ${need} is not installed`)
    continue
  }
  const started = await start(framework)
  rows.push(...rowsOf(framework, started.ways, await compare(started.ways)))
  await started.stop()
}
console.log(`Node ${process.version}, ${connections} requests at a time, ${rounds} rounds\n`)
const heading = ['workload', 'way', 'requests/s', 'ratio', 'CPU µs', 'ratio', 'p50 ms', 'p99 ms']
printTable(heading, rows, options)
