#!/usr/bin/env node
/**
 * Express and Hono behind nginx by FastCGI, beside the same applications behind `proxy_pass` and
 * without a web server: requests per second, and the time of a processor that a request costs the
 * application's process. From the side of whoever drives them.
 *
 * The bar is 0.95 of `proxy_pass`, in requests and in time. Hono's own server for Node is
 * @hono/node-server, which puts a Response of its own in place of the global one. Portico leaves
 * the globals of a process alone, so that server is measured without that, too. Where it is not
 * installed, Hono is left out.
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

const BASE = 'proxy_pass'
const serve = join(root, 'bench/frameworks/serve.mjs')
const folder = temporaryFolder()
const { connections, rounds, seconds } = options

/** The processes of a framework, and the ways to reach them. */
async function start(framework) {
  const socket = (name) => join(folder, `${framework}-${name}.sock`)
  const port = await freePort()
  const launch = (gateway, ...places) =>
    ServerProcess.start([process.execPath, serve, framework, gateway, ...places], {
      place: places[0],
      log: `${places[0]}.log`,
    })
  const node = await launch('node', socket('http'), `${port}`)
  const plain = framework === 'hono' ? await launch('globals', socket('globals')) : undefined
  const fastcgi = await launch('fastcgi', socket('fastcgi'))
  const nginx = await startNginx(folder, [
    { name: 'proxied', protocol: 'http', path: socket('http'), kept: true },
    { name: 'globals', protocol: 'http', path: socket('globals'), kept: true },
    { name: 'fastcgi', protocol: 'fastcgi', path: socket('fastcgi'), kept: true },
  ])
  return {
    ways: [
      { name: BASE, pid: node.pid, port: nginx.port, host: 'proxied' },
      ...(plain
        ? [
            {
              name: "proxy_pass, Node's Response",
              pid: plain.pid,
              port: nginx.port,
              host: 'globals',
            },
          ]
        : []),
      { name: 'Portico FastCGI', pid: fastcgi.pid, port: nginx.port, host: 'fastcgi' },
      { name: 'without nginx', pid: node.pid, port, host: 'bare' },
    ],
    async stop() {
      for (const process of [node, plain, fastcgi, nginx.process]) await process?.stop()
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
    const bases = all[ways.findIndex(({ name }) => name === BASE)]
    return ways.map(({ name }, i) => {
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
