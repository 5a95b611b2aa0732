#!/usr/bin/env node
/**
 * Measures bundles as CGI scripts: alone, beside other languages and `node empty.js`; and behind
 * Apache's mod_cgid, beside Python's CGIHandler. With `--check` it exits with 1 if Portico misses a bar.
 */
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { apacheInstance } from '../dist/src/servers/apache-instance.js'
import { compareStarts, emptyNode, measure, otherHellos, pythonHello } from './cgi.mjs'
import {
  findProgram,
  median,
  medianRatio,
  printTable,
  printTitle,
  readOptions,
  root,
  show,
  takeTurns,
  temporaryDirectory,
} from './common.mjs'
import { driveNginx, wrkProgram } from './load/load.mjs'
import { freePort } from './nginx.mjs'
import { memory, residents, ServerProcess, signalQuietly } from './process.mjs'

const options = readOptions('Measures bundles as CGI scripts.', {
  rounds: [60, 'processes of each kind'],
  'apache-rounds': [5, 'rounds behind Apache'],
  seconds: [3, 'seconds for each script in a round behind Apache'],
  clients: [4, 'connections to Apache'],
  check: [false, 'fail if a bar is missed'],
})

/** The ratios to `node empty.js` that Portico promises not to exceed. */
const EXPRESS = 1.9
const RESIDENT = 0.2
const RESIDENT_EXPRESS = 0.22
/** Requests/s behind mod_cgid, to those of Python's CGIHandler; at least. */
const REQUESTS = 3
/** MiB of the resident process of hello, at most. */
const MEMORY = 60

/** The code cache of a bundle learns from the first requests. */
const LEARNING = 12

const TEXT = 'Hello, world!\n'
const SOURCES = {
  hello: `module.exports = (environ, startResponse) => {
    startResponse('200 OK', [['Content-Type', 'text/plain; charset=utf-8']])
    return [${JSON.stringify(TEXT)}]
  }`,
  express: `const app = require('express')()
    app.get('/', (req, res) => res.type('text/plain').send(${JSON.stringify(TEXT)}))
    module.exports = app`,
}

const directory = temporaryDirectory()
const scripts = join(directory, 'cgi-bin')
/** Where the resident processes have their sockets. */
const runtime = join(directory, 'run')
/** Apache does not run scripts as root. */
const user = process.getuid() === 0 ? 'www-data' : undefined

/** Bundles an application; returns the path of the script. */
function bundle(name, ...flags) {
  const script = join(scripts, `${name}${flags.join('')}.cgi`)
  const source = join(directory, 'project', `${name}.cjs`)
  const command = [join(root, 'bin/portico.cjs'), 'bundle', source, '-o', script, ...flags]
  execFileSync(process.execPath, [...command, '--node', process.execPath])
  return script
}

const started = new Set()
process.on('exit', () => {
  for (const script of started) for (const pid of residents(script)) signalQuietly(pid, 'SIGTERM')
})

function prepare() {
  mkdirSync(scripts)
  mkdirSync(runtime, { mode: 0o700 })
  mkdirSync(join(directory, 'project/node_modules'), { recursive: true })
  symlinkSync(join(root, 'node_modules/express'), join(directory, 'project/node_modules/express'))
  for (const [name, text] of Object.entries(SOURCES)) {
    writeFileSync(join(directory, 'project', `${name}.cjs`), text)
  }
  const environment = { XDG_RUNTIME_DIR: runtime }
  const candidate = (name, script, bar) => ({ name, command: [script], environment, bar })
  const candidates = {
    hello: candidate('bundle of hello', bundle('hello')),
    express: candidate('bundle of Express', bundle('express'), EXPRESS),
    resident: candidate('resident hello', bundle('hello', '--resident'), RESIDENT),
    residentExpress: candidate(
      'resident Express',
      bundle('express', '--resident'),
      RESIDENT_EXPRESS,
    ),
  }
  for (const each of [candidates.resident, candidates.residentExpress]) started.add(each.command[0])
  for (const each of Object.values(candidates)) {
    for (let i = 0; i < LEARNING; i += 1) measure(each)
  }
  const caches = readdirSync(scripts).filter((name) => name.endsWith('.cache'))
  if (caches.length !== 2) throw new Error('The bundles have no code caches')
  for (const script of started) {
    if (residents(script).length !== 1) throw new Error(`${script} has no resident process`)
  }
  return candidates
}

/** Prints the requests/s of scripts behind mod_cgid. Returns whether the bar is kept. */
async function compareBehindApache(candidates) {
  const port = await freePort()
  const own = join(directory, 'apache')
  mkdirSync(own)
  const file = join(own, 'apache2.conf')
  const site = `ScriptAlias "/cgi-bin/" "${scripts}/"
SetEnv XDG_RUNTIME_DIR "${runtime}"
<Directory "${scripts}">
    Require all granted
</Directory>`
  writeFileSync(
    file,
    apacheInstance({ directory: own, listen: `127.0.0.1:${port}`, user }, ['cgid'], site),
  )
  if (user) {
    chmodSync(directory, 0o755)
    execFileSync('chown', ['-R', user, scripts, runtime])
  }
  const program = findProgram('apache2', 'httpd')
  const server = await ServerProcess.start([program, '-f', file, '-DFOREGROUND'], {
    address: port,
    log: join(own, 'output.log'),
  })
  try {
    const workload = { name: `behind mod_cgid, ${options.clients} clients` }
    const field = await takeTurns(
      candidates,
      [workload],
      ({ command: [script] }, _, seconds) =>
        driveNginx(server.pid, {
          port,
          host: 'localhost',
          path: `/cgi-bin/${script.slice(scripts.length + 1)}`,
          size: 0,
          expected: TEXT.length,
          connections: options.clients,
          seconds,
        }),
      { rounds: options['apache-rounds'], seconds: options.seconds, warmUp: 1 },
    )
    const ratioOf = (candidate) =>
      medianRatio(field(candidate, workload, 'rate'), field(candidates[0], workload, 'rate'))
    printTitle(workload.name, options)
    printTable(
      ['script', 'requests/s', 'to Python', 'p50 ms', 'p99 ms', 'bad', 'bar'],
      candidates.map((candidate) => {
        const of = (name) => field(candidate, workload, name)
        return [
          candidate.name,
          show(median(of('rate'))),
          show(ratioOf(candidate), 2),
          show(median(of('p50'))),
          show(median(of('p99'))),
          show(Math.max(...of('bad')), 0),
          candidate === candidates[1]
            ? `${REQUESTS.toFixed(2)} ${ratioOf(candidate) >= REQUESTS ? 'kept' : 'MISSED'}`
            : '',
        ]
      }),
      options,
    )
    return ratioOf(candidates[1]) >= REQUESTS
  } finally {
    await server.stop()
  }
}

const { hello, express, resident, residentExpress } = prepare()
let kept = compareStarts(
  [emptyNode(directory), hello, express, resident, residentExpress, ...otherHellos(scripts)],
  options,
)

const [pid] = residents(resident.command[0])
const used = memory(pid).now / 1024
const within = used <= MEMORY
console.log(
  `\nThe resident process of hello: ${show(used)} MiB (bar: ${MEMORY}, ${within ? 'kept' : 'MISSED'})`,
)
kept &&= within

const python = pythonHello(scripts)
if (findProgram('apache2', 'httpd') && wrkProgram() && python) {
  // The web server's user has resident processes of its own.
  for (const script of started) for (const each of residents(script)) signalQuietly(each, 'SIGTERM')
  kept = (await compareBehindApache([python, resident, residentExpress, hello, express])) && kept
} else {
  console.log('\nNot measured behind Apache: that needs apache2, wrk and python3')
}
if (!kept && options.check) process.exitCode = 1
