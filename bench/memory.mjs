#!/usr/bin/env node
/**
 * Measures the memory that large bodies need: the peak of the serving process's resident memory
 * minus its resident memory before the request (VmHWM and VmRSS).
 *
 * Bodies pass through in chunks, so the growth does not depend on their size. The application reads
 * and discards the upload. The client pauses during the download: a gateway that does not wait for
 * it has to buffer the response.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { printTable, readOptions, root, show, temporaryDirectory } from './common.mjs'
import { nginxProgram, startNginx } from './nginx.mjs'
import { memory, resetPeak, ServerProcess } from './process.mjs'

const options = readOptions('Measures the growth of memory by large bodies, for each gateway.', {
  size: [64, 'MiB of the upload and of the download'],
  only: ['', 'a regular expression for the names of the gateways'],
  'slow-size': [512, 'MiB of an upload that the application does not read for a while'],
  'slow-time': [10, 'seconds for which it is not read'],
  quick: [false, 'leave out the upload that is not read'],
  check: [false, 'fail if a limit is exceeded'],
})
if (!existsSync(join(root, 'dist/src/protocol/fastcgi-web-server.js'))) {
  throw new Error('There is no dist/: run `npm run build` first')
}
const { exchange } = await import('./clients.mjs')

const MIB = 1024 * 1024
/** The growth that Portico promises not to exceed, in MiB. */
const BAR = 32
const UNREAD_BAR = 8
/** How long the client pauses during a download, in ms. */
const PAUSE = 1_000

/** Runs its arguments between two pipes. */
const PIPES = 'cat | "$@" | cat'

const directory = temporaryDirectory()
const serve = join(root, 'bench/serve.mjs')

/** Each runs one request in a new process, and returns the growth in MiB. */
const gateways = [
  // Node's `stdio: 'pipe'` is a pair of sockets, as from mod_cgid; a shell makes real pipes.
  { name: 'CGI, sockets', grow: (request) => growScript([], request) },
  { name: 'CGI, pipes', grow: (request) => growScript(['sh', '-c', PIPES, 'sh'], request) },
]
for (const protocol of ['fastcgi', 'scgi', 'http']) {
  if (!existsSync(join(root, `dist/handlers/${protocol}.js`))) continue
  gateways.push({
    name: `${protocol === 'fastcgi' ? 'FastCGI' : protocol.toUpperCase()}, Unix socket`,
    grow: (request) => growServer(protocol, request),
  })
}
if (nginxProgram()) {
  gateways.push({ name: 'FastCGI behind nginx', grow: (request) => growServer('nginx', request) })
}
gateways.push({ name: 'bare node:http', grow: (request) => growServer('node', request) })

const chosen = gateways.filter(({ name }) => new RegExp(options.only, 'i').test(name))
let started = 0

async function growServer(gateway, request) {
  const kind = gateway === 'nginx' ? 'fastcgi' : gateway
  const path = join(directory, `${(started += 1)}.sock`)
  const command = [process.execPath, serve, kind, `unix:${path}`]
  const server = await ServerProcess.start(command, { address: path, log: `${path}.log` })
  const backend = { name: 'app', protocol: 'fastcgi', path, buffered: false }
  const nginx = gateway === 'nginx' ? await startNginx(directory, [backend]) : null
  try {
    const protocol = kind === 'fastcgi' && !nginx ? 'fastcgi' : kind === 'scgi' ? 'scgi' : 'http'
    const address = nginx?.port ?? path
    const send = (each) => exchange(protocol, address, each)
    // The first requests load and compile code, which is not part of the measurement.
    await send({ path: '/upload', size: MIB })
    await send({ path: '/download', query: `${MIB}` })
    const before = memory(server.pid).now
    resetPeak(server.pid)
    const response = send(request)
    // For /idle, only the time in which nothing is read counts.
    await (request.path === '/idle' ? sleep(options['slow-time'] * 1000 - 300) : response)
    const after = memory(server.pid).peak
    const { sent } = check(request, await response)
    return { growth: Math.max(0, after - before) / 1024, sent }
  } finally {
    await nginx?.process.stop()
    await server.stop()
  }
}

/** A script handles one request, so its peak is compared with that for a small body. */
async function growScript(starter, request) {
  const command = [...starter, process.execPath, serve, 'cgi']
  const peaks = []
  const small = { ...request, size: request.size && MIB, query: request.query && `${MIB}` }
  if (request.path === '/idle') small.query = '0.1'
  let sent = 0
  for (const each of [small, request]) {
    const result = check(each, await exchange('cgi', command, each))
    peaks.push(Number(/VmHWM:\s*(\d+)/.exec(result.log)[1]) / 1024)
    sent = result.sent
  }
  return { growth: Math.max(0, peaks[1] - peaks[0]), sent }
}

/** Throws unless the response is the expected one. */
function check(request, result) {
  const { received, last } = result
  const right = {
    '/upload': last.includes(`\n${request.size}\n`),
    '/download': received >= Number(request.query),
    '/idle': last.includes('Not read.'),
  }
  if (!right[request.path]) {
    throw new Error(
      `${request.path}: ${received} bytes received, the last of them ${JSON.stringify(last)}`,
    )
  }
  return result
}

let missed = false
function verdict(growth, bar) {
  if (growth <= bar) return `${bar} kept`
  missed = true
  return `${bar} MISSED`
}

const size = options.size * MIB
const rows = []
for (const { name, grow } of chosen) {
  const up = await grow({ path: '/upload', size })
  const down = await grow({ path: '/download', query: `${size}`, pause: PAUSE })
  const worst = Math.max(up.growth, down.growth)
  rows.push([name, show(up.growth), show(down.growth), verdict(worst, BAR)])
}
console.log(`Node ${process.version}; growth in MiB by a body of ${options.size} MiB\n`)
printTable(['gateway', 'upload', 'download', 'bar'], rows, options)

if (!options.quick) {
  const unread = []
  for (const { name, grow } of chosen) {
    const request = { path: '/idle', query: `${options['slow-time']}` }
    const { growth, sent } = await grow({ ...request, size: options['slow-size'] * MIB })
    // A script reads the rest after its response (mod_cgid), and its peak covers its whole run.
    const bar = name.startsWith('CGI') ? '-' : verdict(growth, UNREAD_BAR)
    unread.push([name, show(growth), show(sent / MIB), bar])
  }
  console.log(
    `\nGrowth in MiB while an upload of ${options['slow-size']} MiB is not read for ` +
      `${options['slow-time']} s, and how much of it has left the client\n`,
  )
  printTable(['gateway', 'growth', 'sent', 'bar'], unread, options)
}
if (options.check && missed) process.exitCode = 1
