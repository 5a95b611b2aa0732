/**
 * Counts what clients lose while hosts fail: a balancer with a configuration of examples/deploy/, three
 * hosts with the application, and a Redis for their sessions. Under load one host is stopped and
 * started, one becomes unreachable, and one dies and is replaced.
 *
 * Needs nginx, HAProxy, redis-server and wrk; as root the hosts are network namespaces.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { findProgram, printTable, readOptions, root, temporaryDirectory } from './common.mjs'
import { canMakeNetworks, LoopbackFleet, NamespaceFleet, startOn } from './fleet.mjs'
import { freePort } from './nginx.mjs'

const options = readOptions('Requests and sessions that are lost while hosts fail', {
  seconds: [30, 'how long each balancer is under load'],
  silence: [5, 'seconds after which a balancer asks another host'],
  connections: [16, 'connections of wrk'],
  sessions: [8, 'visitors with a session'],
  balancer: [['nginx', 'haproxy'], 'nginx or haproxy; may be repeated'],
  loopback: [false, 'loopback addresses, where network namespaces would work'],
  json: [false, 'print JSON'],
})

/** What happens on which host, as parts of the time. */
const SCHEDULE = [
  [0.1, 'stop', 'app1'],
  [0.2, 'start', 'app1'],
  [0.3, 'isolate', 'app2'],
  [0.6, 'restore', 'app2'],
  [0.7, 'destroy', 'app3'],
  [0.8, 'replace', 'app3'],
]

const DONE = `done = function(summary)
  local e = summary.errors
  io.write(string.format('{"requests":%d,"status":%d,"socket":%d}\\n',
    summary.requests, e.status, e.connect + e.read + e.write + e.timeout))
end\n`

const portico = join(root, 'bin/portico.cjs')
const directory = temporaryDirectory()
const fleet =
  !options.loopback && (await canMakeNetworks()) ? new NamespaceFleet() : new LoopbackFleet()
const namespaces = fleet instanceof NamespaceFleet
const appPort = namespaces ? 9000 : await freePort()
const databasePort = namespaces ? 6379 : await freePort()
const env = {
  REDIS_URL: `redis://${fleet.address('database')}:${databasePort}`,
  SESSION_SECRET: 'a secret of the hosts that is known to them alone',
}

const controlOf = (host) => join(directory, host, 'control')

async function startHost(host) {
  const listen = `${fleet.address(host)}:${appPort}`
  const application = join(root, 'examples/deploy/app.mjs')
  const where = ['--gateway', 'fastcgi', '--listen', listen, '--allow', fleet.network]
  const command = [process.execPath, portico, 'serve', application, ...where]
  const flags = ['--workers', '1', '--control', controlOf(host)]
  const settings = { ready: 'Serving', env: { ...env, HOST: host } }
  return startOn(fleet, host, [...command, ...flags], settings)
}

/** As on a real host: `portico ping` says when it is ready, `portico stop` ends it without a loss. */
async function control(name, host) {
  const child = await startOn(fleet, host, [process.execPath, portico, name, controlOf(host)])
  await child.closed
  if (child.exitCode !== 0) throw new Error(`portico ${name} on ${host}: ${child.output}`)
}

const events = {
  stop: (host) => control('stop', host),
  async start(host) {
    await startHost(host)
    await control('ping', host)
  },
  isolate: (host) => fleet.isolate(host),
  restore: (host) => fleet.restore(host),
  destroy: (host) => fleet.destroy(host),
  async replace(host) {
    await fleet.connect(host)
    await events.start(host)
  },
}

/** The example, with the addresses, the port and the time of this run. */
function example(name, webPort) {
  return readFileSync(join(root, 'examples/deploy', name), 'utf8')
    .replaceAll(/10\.0\.0\.(\d+):9000/g, `${fleet.prefix}$1:${appPort}`)
    .replace(/^( *listen) 80;/m, `$1 ${fleet.address('balancer')}:${webPort};`)
    .replace(/^( *bind) :80$/m, `$1 ${fleet.address('balancer')}:${webPort}`)
    .replace('fastcgi_read_timeout 5s', `fastcgi_read_timeout ${options.silence}s`)
    .replace('timeout server 5s', `timeout server ${options.silence}s`)
}

const balancers = {
  async nginx(webPort) {
    const place = join(directory, 'nginx')
    mkdirSync(place, { recursive: true })
    const temporary = ['client_body', 'fastcgi', 'proxy', 'scgi', 'uwsgi']
    const lines = temporary.map((name) => `${name}_temp_path ${place}/${name};`).join('\n')
    writeFileSync(
      join(place, 'nginx.conf'),
      `daemon off; pid ${place}/pid; worker_processes 2; events { worker_connections 1024; }
${process.getuid() === 0 ? 'user root;' : ''}
http { access_log off; keepalive_requests 1000000000; ${lines}\n${example('nginx.conf', webPort)}}`,
    )
    const files = ['-c', join(place, 'nginx.conf'), '-p', place, '-e', join(place, 'error.log')]
    return startOn(fleet, 'balancer', [findProgram('nginx'), ...files])
  },
  async haproxy(webPort) {
    const file = join(directory, 'haproxy.cfg')
    const text = example('haproxy.cfg', webPort)
    writeFileSync(
      file,
      process.getuid() === 0 ? text : text.replaceAll(/^ {4}(?:user|group) .*\n/gm, ''),
    )
    return startOn(fleet, 'balancer', [findProgram('haproxy'), '-db', '-f', file])
  },
}

async function untilServed(url, balancer) {
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const curl = ['curl', '--silent', '--fail', '--output', '/dev/null', '--max-time', '1', url]
    const child = await startOn(fleet, 'balancer', curl)
    await child.closed
    if (child.exitCode === 0) return
    await sleep(100)
  }
  throw new Error(`The balancer does not serve: ${balancer.output}`)
}

async function measure(name) {
  const webPort = namespaces ? 80 : await freePort()
  const url = `http://${fleet.address('balancer')}:${webPort}/`
  const balancer = await balancers[name](webPort)
  await untilServed(url, balancer)
  const script = join(directory, 'done.lua')
  writeFileSync(script, DONE)
  const flags = ['-t1', `-c${options.connections}`, `-d${options.seconds}s`, '--timeout', '60s']
  const visitors = await startOn(
    fleet,
    'balancer',
    [process.execPath, join(root, 'bench/deploy-sessions.mjs'), url, String(options.sessions)],
    { stdin: 'pipe' },
  )
  const wrk = await startOn(fleet, 'balancer', ['wrk', ...flags, '-s', script, url])
  const start = performance.now()
  for (const [part, event, host] of SCHEDULE) {
    const due = start + part * options.seconds * 1000
    await sleep(Math.max(0, due - performance.now()))
    await events[event](host)
  }
  await wrk.closed
  visitors.stdin.end()
  await visitors.closed
  balancer.kill()
  await balancer.closed
  const { requests, status, socket } = JSON.parse(wrk.output.match(/^\{.*\}$/m)[0])
  const { statuses, ...counts } = JSON.parse(visitors.output)
  if (Object.keys(statuses).length > 0) console.error(name, JSON.stringify(statuses))
  return { balancer: name, requests, lost: status + socket, ...counts }
}

const results = []
try {
  await fleet.open()
  const redis = [
    'redis-server',
    '--port',
    String(databasePort),
    '--bind',
    fleet.address('database'),
  ]
  const flags = ['--protected-mode', 'no', '--save', '', '--dir', directory]
  const ready = { ready: 'Ready to accept connections' }
  await startOn(fleet, 'database', [...redis, ...flags], ready)
  for (const host of ['app1', 'app2', 'app3']) {
    mkdirSync(join(directory, host), { mode: 0o700 })
    await startHost(host)
  }
  for (const name of options.balancer) results.push(await measure(name))
} finally {
  await fleet.close()
}

if (options.json) console.log(JSON.stringify({ hosts: fleet.kind, results }))
else {
  const heading = [
    'balancer',
    'GET',
    'lost',
    'session GET',
    'lost',
    'session POST',
    'refused',
    'overwritten',
    'sessions lost',
  ]
  const rows = results.map((row) =>
    [
      row.balancer,
      row.requests,
      row.lost,
      row.gets,
      row.getsFailed,
      row.posts,
      row.postsFailed,
      row.overwritten,
      row.sessionsLost,
    ].map(String),
  )
  printTable(heading, rows, options)
}
