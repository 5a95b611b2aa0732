/**
 * CGI scripts over FastCGI behind nginx: `portico serve --cgi-bin` beside fcgiwrap. Each request starts
 * a Perl script that prints a line, so the interpreter takes most of the time of both.
 */
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
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
import { nginxProgram, startNginx } from './nginx.mjs'
import { ServerProcess } from './process.mjs'

const options = readOptions('Measures a cgi-bin behind nginx.', {
  rounds: [5, 'rounds that count'],
  seconds: [3, 'seconds for each candidate in a round'],
  connections: [8, 'connections of the client'],
  processes: [8, 'processes of fcgiwrap'],
  workers: [2, 'workers of portico serve'],
})

for (const [name, program] of Object.entries({
  nginx: nginxProgram(),
  wrk: wrkProgram(),
  fcgiwrap: findProgram('fcgiwrap'),
  perl: findProgram('perl'),
})) {
  if (program === undefined) throw new Error(`${name} is not installed`)
}

const TEXT = 'Hello, World!\n'
const directory = temporaryDirectory()
const scripts = join(directory, 'cgi-bin')
const script = join(scripts, 'hello.pl')
mkdirSync(scripts)
writeFileSync(
  script,
  `#!/usr/bin/perl\nprint "Content-Type: text/plain\\r\\n\\r\\n${TEXT.trim()}\\n";\n`,
)
chmodSync(script, 0o755)

/** What both get: fcgiwrap runs SCRIPT_FILENAME. */
const PARAMETERS = { SCRIPT_NAME: '/cgi-bin/hello.pl', SCRIPT_FILENAME: script, PATH_INFO: '""' }

const portico = [
  process.execPath,
  join(root, 'bin/portico.cjs'),
  'serve',
  '--no-dev',
  '--gateway=fastcgi',
  `--cgi-bin=${scripts}`,
  `--workers=${options.workers}`,
]
const candidates = [
  {
    name: 'fcgiwrap',
    // As Debian starts it: -f sends stderr to the web server, as Portico does.
    command: (path) => [
      findProgram('fcgiwrap'),
      '-f',
      '-c',
      String(options.processes),
      '-s',
      `unix:${path}`,
    ],
  },
  { name: 'portico', command: (path) => [...portico, '--listen', `unix:${path}`] },
]

const running = []
try {
  for (const candidate of candidates) {
    const path = join(directory, `${candidate.name}.sock`)
    candidate.server = await ServerProcess.start(candidate.command(path), {
      address: path,
      log: join(directory, `${candidate.name}.log`),
    })
    running.push(candidate.server)
    candidate.backend = { name: candidate.name, protocol: 'fastcgi', path, parameters: PARAMETERS }
  }
  const nginx = await startNginx(
    directory,
    candidates.map(({ backend }) => backend),
  )
  running.push(nginx.process)
  const workload = { name: 'hello in Perl' }
  const field = await takeTurns(
    candidates,
    [workload],
    ({ name, server }, _, seconds) =>
      driveNginx(server.pid, {
        port: nginx.port,
        host: name,
        path: '/cgi-bin/hello.pl',
        size: 0,
        expected: TEXT.length,
        connections: options.connections,
        seconds,
      }),
    { rounds: options.rounds, seconds: options.seconds, warmUp: 1 },
  )
  const [base] = candidates
  printTitle(`${workload.name}, ${options.connections} connections`, options)
  printTable(
    ['behind nginx', 'requests/s', 'to fcgiwrap', 'p50 ms', 'p99 ms', 'bad'],
    candidates.map((candidate) => {
      const of = (name) => field(candidate, workload, name)
      return [
        candidate.name,
        show(median(of('rate'))),
        show(medianRatio(of('rate'), field(base, workload, 'rate')), 2),
        show(median(of('p50'))),
        show(median(of('p99'))),
        show(Math.max(...of('bad')), 0),
      ]
    }),
    options,
  )
} finally {
  for (const server of running.toReversed()) await server.stop()
}
