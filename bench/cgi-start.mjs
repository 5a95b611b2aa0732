#!/usr/bin/env node
/**
 * Measures a CGI request: the time in which a process starts, responds and exits.
 *
 * No script in Node can be faster than `node empty.js`, so all results are ratios to it. With
 * `--check` it exits with 1 if Portico exceeds a limit.
 */
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  findProgram,
  median,
  printTable,
  readOptions,
  root,
  show,
  temporaryDirectory,
} from './common.mjs'

const options = readOptions('Measures the start and end of CGI scripts that say hello.', {
  rounds: [60, 'processes of each kind'],
  check: [false, 'fail if a limit is exceeded'],
})

/** The ratios to `node empty.js` that Portico promises not to exceed. */
const BY_PATH = 1.09
const BY_PACKAGE = 1.19

/** The environment that Apache 2.4 gives a script for a request from a browser. */
const request = {
  CONTEXT_DOCUMENT_ROOT: '/usr/lib/cgi-bin/',
  CONTEXT_PREFIX: '/cgi-bin/',
  DOCUMENT_ROOT: '/var/www/html',
  GATEWAY_INTERFACE: 'CGI/1.1',
  HTTP_ACCEPT: 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8',
  HTTP_ACCEPT_ENCODING: 'gzip, deflate, br',
  HTTP_ACCEPT_LANGUAGE: 'en-US,en;q=0.5',
  HTTP_CONNECTION: 'keep-alive',
  HTTP_HOST: 'www.example.com',
  HTTP_USER_AGENT: 'Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0',
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  QUERY_STRING: 'a=1',
  REMOTE_ADDR: '192.0.2.7',
  REMOTE_PORT: '50312',
  REQUEST_METHOD: 'GET',
  REQUEST_SCHEME: 'http',
  REQUEST_URI: '/cgi-bin/hello.cgi?a=1',
  SCRIPT_FILENAME: '/usr/lib/cgi-bin/hello.cgi',
  SCRIPT_NAME: '/cgi-bin/hello.cgi',
  SERVER_ADDR: '192.0.2.1',
  SERVER_ADMIN: 'webmaster@localhost',
  SERVER_NAME: 'www.example.com',
  SERVER_PORT: '80',
  SERVER_PROTOCOL: 'HTTP/1.1',
  SERVER_SIGNATURE: '',
  SERVER_SOFTWARE: 'Apache/2.4.62 (Debian)',
}

const application = `
function application(environ, startResponse) {
  startResponse('200 OK', [['Content-Type', 'text/plain; charset=utf-8']])
  return ['Hello, world!\\n']
}
`
const wsgi = `
from wsgiref.handlers import CGIHandler
def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain; charset=utf-8')])
    return [b'Hello, world!\\n']
CGIHandler().run(application)
`
const byHand = `
const body = 'Hello, world!\\n'
require('node:fs').writeSync(1, 'Content-Type: text/plain\\r\\n\\r\\n' + body)
`

/** The output of a script. */
const HELLO = /^(?:Status: 200 OK\r\n)?(?:[\w-]+: .*\r\n)+\r\nHello, world!\n$/

function prepare() {
  const directory = temporaryDirectory()
  const script = (name, text) => {
    writeFileSync(join(directory, name), text)
    return join(directory, name)
  }
  const built = join(root, 'cgi-bin/portico.cjs')
  if (!existsSync(built)) throw new Error('It is not built: run `npm run build` first')
  cpSync(built, join(directory, 'portico.cjs'))
  cpSync(built, join(directory, 'uncached.cjs'))
  spawnSync(process.execPath, [join(directory, 'portico.cjs'), '--code-cache'], { env: {} })
  mkdirSync(join(directory, 'node_modules'))
  symlinkSync(root, join(directory, 'node_modules/portico'))

  const run = 'new CGIHandler().run(application)\n'
  const load = (from) => `const { CGIHandler } = require('${from}')\n${application}${run}`
  const candidates = [
    { name: 'node empty.js', command: node(script('empty.js', '')), output: /^$/ },
    { name: 'node, writeSync by hand', command: node(script('by-hand.cjs', byHand)) },
    {
      name: "require('./portico.cjs')",
      command: node(script('by-path.cjs', load('./portico.cjs'))),
      bar: BY_PATH,
    },
    {
      name: '  without its code cache',
      command: node(script('without.cjs', load('./uncached.cjs'))),
    },
    {
      name: "require('portico/cgi')",
      command: node(script('by-package.cjs', load('portico/cgi'))),
      bar: BY_PACKAGE,
    },
    {
      name: "import 'portico/cgi'",
      command: node(
        script('by-import.mjs', `import { CGIHandler } from 'portico/cgi'\n${application}${run}`),
      ),
    },
  ]
  // The program in PATH may be a wrapper that chooses a version; Python knows the real one.
  const python = findProgram('python3')
  if (python) {
    const { stdout } = spawnSync(python, ['-c', 'import sys; print(sys.executable)'])
    const command = [String(stdout).trim(), script('hello.py', wsgi)]
    candidates.push({ name: 'Python wsgiref CGIHandler', command })
  }
  return candidates
}

function node(file) {
  return [process.execPath, file]
}

/** The time from start to exit in ms. */
function measure({ name, command: [program, ...args], output = HELLO }) {
  const start = performance.now()
  const { status, stdout, stderr } = spawnSync(program, args, {
    env: request,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const end = performance.now()
  if (status !== 0 || !output.test(stdout.toString('latin1'))) {
    throw new Error(`${name} failed (${status}):\n${stdout.toString()}${stderr.toString()}`)
  }
  return end - start
}

const candidates = prepare()
const times = candidates.map(() => [])
for (const candidate of candidates) measure(candidate) // The first run reads the files from disk.
for (let round = 0; round < options.rounds; round += 1) {
  // Each round starts with another candidate, so that the order differs.
  for (let turn = 0; turn < candidates.length; turn += 1) {
    const i = (round + turn) % candidates.length
    times[i].push(measure(candidates[i]))
  }
}

const floor = median(times[0])
const ratios = times.map((list) => median(list) / floor)
const verdict = ({ bar }, i) =>
  bar === undefined ? '' : `${bar.toFixed(2)} ${ratios[i] <= bar ? 'kept' : 'MISSED'}`
console.log(`Node ${process.version}, ${options.rounds} rounds\n`)
printTable(
  ['command', 'median ms', 'min ms', 'ratio', 'ratio of min', 'bar'],
  candidates.map((candidate, i) => [
    candidate.name,
    show(median(times[i])),
    show(Math.min(...times[i])),
    show(ratios[i], 2),
    show(Math.min(...times[i]) / Math.min(...times[0]), 2),
    verdict(candidate, i),
  ]),
  options,
)
if (options.check && candidates.some(({ bar = Infinity }, i) => ratios[i] > bar)) {
  process.exitCode = 1
}
