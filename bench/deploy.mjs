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
  seconds: [30, 'how long each balancer is under load, apart from the time until hosts are back'],
  silence: [5, 'seconds after which a balancer asks another host'],
  connections: [16, 'connections of wrk'],
  sessions: [8, 'visitors with a session'],
  balancer: [['nginx', 'haproxy'], 'nginx or haproxy; may be repeated'],
  loopback: [false, 'loopback addresses, where network namespaces would work'],
  json: [false, 'print JSON'],
})

/**
 * What happens on which host, each after a part of the time. `start`, `restore` and `replace` end when
 * the balancer sends requests to the host again. So at most one host is away at a time, however slow
 * the machine is.
 */
const SCHEDULE = [
  [0.1, 'stop', 'app1'],
  [0.1, 'start', 'app1'],
  [0.1, 'isolate', 'app2'],
  [0.3, 'restore', 'app2'],
  [0.1, 'destroy', 'app3'],
  [0.1, 'replace', 'app3'],
  [0.2],
]

/** For wrk, in seconds: more than the schedule takes. It ends earlier, by SIGINT. */
const LONGEST_RUN = 600

/** Requests through the balancer until one reaches a host that is back. */
const MOST_ATTEMPTS = 600

const DONE = `done = function(summary)
  local e = summary.errors
  io.write(string.format(
    '{"requests":%d,"errors":{"status":%d,"connect":%d,"read":%d,"write":%d,"timeout":%d}}\\n',
    summary.requests, e.status, e.connect, e.read, e.write, e.timeout))
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

/** The events after which the balancer uses a host again. */
const RETURNS = new Set(['start', 'restore', 'replace'])

/** The example, with the addresses, the port and the time of this run. */
function example(name, webPort) {
  return readFileSync(join(root, 'examples/deploy', name), 'utf8')
    .replaceAll(/10\.0\.0\.(\d+):9000/g, `${fleet.prefix}$1:${appPort}`)
    .replace(/^( *listen) 80;/m, `$1 ${fleet.address('balancer')}:${webPort};`)
    .replace(/^( *bind) :80$/m, `$1 ${fleet.address('balancer')}:${webPort}`)
    .replaceAll('fail_timeout=5s', `fail_timeout=${options.silence}s`)
    .replace('fastcgi_read_timeout 5s', `fastcgi_read_timeout ${options.silence}s`)
    .replace('timeout server 5s', `timeout server ${options.silence}s`)
}

/** What nginx logs of a request that a client would call lost; 499 is one that the client ended. */
const NGINX_LOG = `map $status $lost { ~^[123] 0; 499 0; default 1; }
log_format lost '$time_iso8601 $request_method $uri $status in $request_time s: $upstream_addr $upstream_status';`

const balancers = {
  async nginx(webPort) {
    const nginxDirectory = join(directory, 'nginx')
    mkdirSync(nginxDirectory, { recursive: true })
    const temporary = ['client_body', 'fastcgi', 'proxy', 'scgi', 'uwsgi']
    const lines = temporary.map((name) => `${name}_temp_path ${nginxDirectory}/${name};`).join('\n')
    writeFileSync(
      join(nginxDirectory, 'nginx.conf'),
      `daemon off; pid ${nginxDirectory}/pid; worker_processes 2; events { worker_connections 1024; }
${process.getuid() === 0 ? 'user root;' : ''}
http { ${NGINX_LOG} access_log ${nginxDirectory}/lost.log lost if=$lost;
keepalive_requests 1000000000; ${lines}\n${example('nginx.conf', webPort)}}`,
    )
    const files = [
      '-c',
      join(nginxDirectory, 'nginx.conf'),
      '-p',
      nginxDirectory,
      '-e',
      join(nginxDirectory, 'error.log'),
    ]
    const balancer = await startOn(fleet, 'balancer', [findProgram('nginx'), ...files])
    const losses = () => linesOf(readFileSync(join(nginxDirectory, 'lost.log'), 'utf8'))
    return { process: balancer, losses }
  },
  async haproxy(webPort) {
    const file = join(directory, 'haproxy.cfg')
    // It logs failed and repeated requests, and the hosts that it stops and starts using.
    const text = example('haproxy.cfg', webPort)
      .replace('log /dev/log local0', 'log stdout format timed daemon')
      .replace('option httplog', 'option httplog\n    option dontlog-normal')
    writeFileSync(
      file,
      process.getuid() === 0 ? text : text.replaceAll(/^ {4}(?:user|group) .*\n/gm, ''),
    )
    const balancer = await startOn(fleet, 'balancer', [findProgram('haproxy'), '-db', '-f', file])
    return { process: balancer, losses: () => linesOf(balancer.output).filter(isLossOfHAProxy) }
  },
}

const linesOf = (text) => text.split('\n').filter(Boolean)

/** A status of 500 or more, or a termination state that is neither `--` nor the client's. */
function isLossOfHAProxy(line) {
  const [, status, state] = / (-1|\d{3}) \d+ - - (..)/.exec(line) ?? []
  return status !== undefined && (Number(status) >= 500 || /^[^-C]/.test(state))
}

/** Waits until the balancer serves, from `host`. */
async function untilServed(url, balancer, host = '') {
  for (let attempt = 0; attempt < MOST_ATTEMPTS; attempt += 1) {
    const child = await startOn(fleet, 'balancer', ['curl', '--silent', '--max-time', '10', url])
    await child.closed
    if (child.exitCode === 0 && child.output.includes(`Hello from ${host}`)) return
    await sleep(50)
  }
  throw new Error(`The balancer does not serve ${host}: ${balancer.process.output}`)
}

async function measure(name) {
  const webPort = namespaces ? 80 : await freePort()
  const url = `http://${fleet.address('balancer')}:${webPort}/`
  const balancer = await balancers[name](webPort)
  await untilServed(url, balancer)
  const script = join(directory, 'done.lua')
  writeFileSync(script, DONE)
  const flags = ['-t1', `-c${options.connections}`, `-d${LONGEST_RUN}s`, '--timeout', '60s']
  const visitors = await startOn(
    fleet,
    'balancer',
    [process.execPath, join(root, 'bench/deploy-sessions.mjs'), url, String(options.sessions)],
    { stdin: 'pipe' },
  )
  const wrk = await startOn(fleet, 'balancer', ['wrk', ...flags, '-s', script, url])
  const start = new Date()
  const timeline = []
  for (const [part, event, host] of SCHEDULE) {
    await sleep(part * options.seconds * 1000)
    if (event === undefined) break
    const from = new Date()
    await events[event](host)
    if (RETURNS.has(event)) await untilServed(url, balancer, host)
    timeline.push(`${event} ${host}: ${from.toISOString()} to ${new Date().toISOString()}`)
  }
  wrk.kill('SIGINT')
  await wrk.closed
  visitors.stdin.end()
  await visitors.closed
  const seconds = (Date.now() - start) / 1000
  balancer.process.kill()
  await balancer.process.closed
  const { requests, errors } = JSON.parse(wrk.output.match(/^\{.*\}$/m)[0])
  const { statuses, ...counts } = JSON.parse(visitors.output)
  const lost = Object.values(errors).reduce((sum, count) => sum + count, 0)
  const losses = balancer.losses()
  const result = { balancer: name, seconds, requests, lost, ...counts }
  return { ...result, errors, statuses, losses, timeline }
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
  for (const name of options.balancer) {
    const result = await measure(name)
    results.push(result)
    const { errors, statuses, losses, timeline } = result
    if (result.lost + result.getsFailed > 0) {
      console.error(name, JSON.stringify({ errors, statuses, losses, timeline }, null, 2))
    }
  }
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
