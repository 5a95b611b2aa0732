/**
 * Counts the requests that are lost while workers are replaced: by reloads, by --max-requests and by
 * kill -9, behind nginx with kept-alive connections; and over HTTP beside node:cluster and gunicorn.
 *
 * A worker that is killed takes the requests with it that it is running. For kill -9, each request has
 * a number, which the application notes when it begins: `running` counts the requests that the killed
 * worker had begun, and `waiting` those that it had not. `lost` had no response; nginx sent `retried`
 * to another worker.
 *
 * Needs nginx and wrk; gunicorn is left out if it is not installed.
 */
import { spawn } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { cleanEnvironment, readOptions, root, temporaryDirectory } from './common.mjs'
import { freePort, startNginx } from './nginx.mjs'

const { only, program, seconds } = readOptions(
  'Requests that are lost while workers are replaced',
  {
    seconds: [60, 'how long each run takes'],
    only: ['', 'the name of one run'],
    program: [join(root, 'bin/portico.cjs'), 'the command'],
  },
)
const directory = temporaryDirectory()
const env = cleanEnvironment()

const application = join(directory, 'app.mjs')
writeFileSync(
  application,
  `import { openSync, writeSync } from 'node:fs'
  const { JOURNAL } = process.env
  const journal = JOURNAL && openSync(JOURNAL, 'a')
  export default async (environ, startResponse) => {
    if (journal) writeSync(journal, environ.QUERY_STRING + '\\n')
    let length = 0
    for await (const chunk of environ['wsgi.input'].chunks()) length += chunk.length
    startResponse('200 OK', [['Content-Type', 'text/plain'], ['Content-Length', '100']])
    return [String(length).padEnd(100)]
  }`,
)
const post = join(directory, 'post.lua')
writeFileSync(post, "wrk.method = 'POST'\nwrk.body = string.rep('x', 100)\n")
// wrk counts a response that is not 2xx or 3xx, and a connection that closes or is reset.
const done = `done = function(summary)
  local e = summary.errors
  io.write(string.format('{"requests":%d,"status":%d,"socket":%d}\\n',
    summary.requests, e.status, e.connect + e.read + e.write + e.timeout))
end\n`
const get = join(directory, 'get.lua')
const numbered = `local number = 0
request = function()
  number = number + 1
  return wrk.format(nil, '/?' .. number)
end\n`
writeFileSync(get, numbered + done)
writeFileSync(post, readFileSync(post, 'utf8') + done)

/** Runs wrk for `seconds`, and `disturb` each `interval` seconds meanwhile. */
async function load(url, script, interval, disturb) {
  const arguments_ = ['-t1', '-c32', `-d${seconds}s`, '-s', script, url]
  const wrk = spawn('wrk', arguments_, { stdio: ['ignore', 'pipe', 'inherit'], env })
  let output = ''
  wrk.stdout.setEncoding('utf8').on('data', (text) => (output += text))
  const ended = once(wrk, 'close')
  let disturbances = 0
  const end = performance.now() + seconds * 1000 - 500
  while (performance.now() + interval * 1000 < end) {
    await sleep(interval * 1000)
    if ((await disturb()) !== false) disturbances += 1
  }
  await ended
  return { ...JSON.parse(output.match(/^\{.*\}$/m)[0]), disturbances }
}

async function start(command, ready, variables = {}) {
  const child = spawn(command[0], command.slice(1), {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...env, ...variables },
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (output += text))
  const stop = async () => {
    const closed = once(child, 'close')
    child.kill()
    await closed
  }
  while (!ready(output)) {
    if (child.exitCode !== null) throw new Error(`${command.join(' ')} ended: ${output}`)
    await sleep(50)
  }
  return { child, stop }
}

const control = join(directory, 'control.sock')

function portico(gateway, listen, flags, variables) {
  const fixed = [program, 'serve', application, '--gateway', gateway, '--listen', listen]
  const common = ['--workers', '2', '--control', control]
  const command = [process.execPath, ...fixed, ...common, ...flags]
  return start(command, (text) => text.includes('Serving'), variables)
}

async function client(...args) {
  const child = spawn(process.execPath, [program, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env,
  })
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text) => (output += text))
  await once(child, 'close')
  return output
}

async function status() {
  return JSON.parse(await client('status', control, '--json'))
}

async function behindNginx(name, script, flags, interval, disturb, journal) {
  const path = join(directory, `${name}.sock`)
  const variables = journal && { JOURNAL: journal }
  const server = await portico('fastcgi', `unix:${path}`, flags, variables)
  const backend = { name: 'app', protocol: 'fastcgi', path, kept: true }
  const accessLog = join(directory, 'access.log')
  const nginx = await startNginx(
    directory,
    [backend],
    journal && { path: accessLog, format: '$args $status $upstream_status' },
  )
  const counts = await load(`http://127.0.0.1:${nginx.port}/`, script, interval, () =>
    disturb(server.child),
  )
  const { rssBytes, restarts, totals } = await status()
  await nginx.process.stop()
  await server.stop()
  const master = `${(rssBytes / 1_048_576).toFixed(1)} MiB`
  const victims =
    journal && victimsOf(readFileSync(accessLog, 'utf8'), readFileSync(journal, 'utf8'))
  return { ...counts, ...victims, reloads: totals.reloads, restarts, master }
}

/** Sorts the requests that a killed worker has not completed. */
function victimsOf(accessLog, journal) {
  const begun = new Map()
  for (const number of journal.split('\n')) begun.set(number, (begun.get(number) ?? 0) + 1)
  const lost = { running: 0, waiting: 0 }
  const retried = { running: 0, waiting: 0 }
  for (const [, number, code, upstream] of accessLog.matchAll(/^(\d+) (\d+) (.*)$/gm)) {
    const times = begun.get(number) ?? 0
    if (code.startsWith('5')) lost[times > 0 ? 'running' : 'waiting'] += 1
    else if (upstream.includes(',')) retried[times > 1 ? 'running' : 'waiting'] += 1
  }
  return { lost, retried }
}

const cluster = join(directory, 'cluster.mjs')
writeFileSync(
  cluster,
  `import cluster from 'node:cluster'
  import { createServer } from 'node:http'
  if (cluster.isPrimary) {
    for (let i = 0; i < 2; i++) cluster.fork()
    cluster.once('listening', () => console.log('Serving'))
    process.on('SIGHUP', async () => {
      for (const old of Object.values(cluster.workers)) {
        const next = cluster.fork()
        await new Promise((ready) => next.once('listening', ready))
        old.disconnect()
      }
    })
    process.on('SIGTERM', () => process.exit())
  } else {
    createServer((request, response) => {
      let length = 0
      request.on('data', (chunk) => (length += chunk.length))
      request.on('end', () => response.end(String(length).padEnd(100)))
    }).listen(Number(process.argv[2]), '127.0.0.1')
  }`,
)
const python = join(directory, 'wsgi.py')
writeFileSync(
  python,
  `def application(environ, start_response):
    body = environ['wsgi.input'].read()
    start_response('200 OK', [('Content-Length', '100')])
    return [str(len(body)).ljust(100).encode()]
`,
)

/** HTTP without a proxy: what a client sees on its own kept-alive connections. */
async function overHTTP(makeServer) {
  const port = await freePort()
  const server = await makeServer(port)
  const counts = await load(`http://127.0.0.1:${port}/`, post, 1, () => server.child.kill('SIGHUP'))
  await server.stop()
  return counts
}

const GUNICORN = ['/usr/bin/gunicorn', '/usr/local/bin/gunicorn'].find((path) => existsSync(path))
const hup = (master) => master.kill('SIGHUP')

/** Kills any worker that serves. */
async function killOne() {
  const { processes } = await status()
  const ready = processes.filter(({ state }) => state === 'ready')
  const victim = ready[Math.floor(Math.random() * ready.length)]
  if (victim === undefined) return false
  process.kill(victim.pid, 'SIGKILL')
}

const RUNS = {
  reload: () => behindNginx('reload', post, [], 1, hup),
  'max-requests': () => behindNginx('max', post, ['--max-requests', '2000'], 1, () => false),
  'kill -9': () => behindNginx('kill', get, [], 2, killOne, join(directory, 'journal')),
  'HTTP reload': () => overHTTP((port) => portico('http', `127.0.0.1:${port}`, [])),
  'HTTP node:cluster': () =>
    overHTTP((port) =>
      start([process.execPath, cluster, port], (text) => text.includes('Serving')),
    ),
  ...(GUNICORN && {
    'HTTP gunicorn': () =>
      overHTTP((port) => {
        const flags = ['-w', '2', '-k', 'gthread', '--threads', '16', '-b', `127.0.0.1:${port}`]
        const command = [GUNICORN, ...flags, '--chdir', directory, 'wsgi:application']
        return start(command, (text) => (text.match(/Booting worker/g) ?? []).length === 2)
      }),
  }),
}

for (const [name, run] of Object.entries(RUNS)) {
  if (only === '' || only === name) console.log(name, JSON.stringify(await run()))
}
