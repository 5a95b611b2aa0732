/**
 * The servers that `engines.mjs` measures: how each starts on a Unix socket, and its protocol.
 *
 * A server that handles one connection per process has as many processes as there are connections,
 * unless its name says otherwise; all others have one process. The CPU time of a request does not
 * depend on the number of processes.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { findProgram, resolves, root } from '../common.mjs'
import { ServerProcess } from '../process.mjs'

const here = import.meta.dirname
const serve = join(root, 'bench/serve.mjs')

/**
 * Compiles a C program into a directory and returns its path, or null without a compiler or library.
 *
 * @param {string[]} libraries such as '-lfcgi'
 */
export function compile(source, directory, name, ...libraries) {
  const compiler = findProgram('cc', 'gcc', 'clang')
  if (!compiler) return null
  const program = join(directory, name)
  try {
    execFileSync(compiler, ['-O2', '-o', program, source, ...libraries], { stdio: 'pipe' })
    return program
  } catch {
    return null // Its library is not installed.
  }
}

/** Compiles the load generator; returns its path, or null without a compiler. */
export function compileLoad(directory) {
  return compile(join(root, 'bench/load/load.c'), directory, 'load')
}

/** @throws {Error} without a compiler. */
export function requireLoad(directory) {
  const program = compileLoad(directory)
  if (!program) throw new Error('No C compiler is installed: node bench/engines.mjs --install')
  return program
}

/** The server that all others are compared with. */
export const BASE = 'node:http'

/** `size` and `expected` are the bytes of the request body and of the response body. */
export const WORKLOADS = [
  { name: 'hello', path: '/hello', size: 0, expected: 14 },
  { name: '64 KiB response', path: '/64k', size: 0, expected: 65_536 },
  { name: '64 KiB echo', path: '/echo', size: 65_536, expected: 65_536 },
]

/**
 * @typedef {object} Peer
 * @property {string} name
 * @property {'fastcgi' | 'scgi' | 'uwsgi' | 'http'} protocol
 * @property {boolean} keeps whether it serves more than one request on a connection
 * @property {object} [parameters] CGI variables of each request, besides nginx's own
 * @property {(settings: { path: string, directory: string, processes: number, node: string }) =>
 *   string[] | null} command for a socket at `path`; null if it is not installed
 */

/** @type {Peer[]} */
export const peers = [
  {
    name: 'node:http',
    protocol: 'http',
    keeps: true,
    command: ({ path, node }) => [node, serve, 'node', `unix:${path}`],
  },
  portico('fastcgi', 'FastCGI', true),
  portico('scgi', 'SCGI', false),
  portico('http', 'HTTP', true),
  {
    name: 'node-fastcgi',
    protocol: 'fastcgi',
    // Version 2.0.0 ignores KEEP_CONN and closes after each response.
    keeps: false,
    command({ path, node }) {
      if (!resolves('node-fastcgi')) return null
      return [node, join(here, 'node-fastcgi.mjs'), path]
    },
  },
  {
    name: 'uWSGI, Python',
    protocol: 'uwsgi',
    keeps: false,
    command({ path }) {
      const program = findProgram('uwsgi_python3')
      const settings =
        '--master --processes 1 --listen 511 --buffer-size 65535 --disable-logging --die-on-term'
      const file = join(here, 'wsgi.py')
      return program && [program, '--socket', path, '--wsgi-file', file, ...settings.split(' ')]
    },
  },
  php('php-fpm', true),
  // A kept-alive connection occupies a worker, so two workers are measured without them.
  php('php-fpm, 2 workers', false, 2),
  {
    name: 'libfcgi, C',
    protocol: 'fastcgi',
    keeps: true,
    command({ path, directory, processes }) {
      const program = compile(join(here, 'libfcgi.c'), directory, 'libfcgi', '-lfcgi')
      return program && [program, path, `${processes}`]
    },
  },
  {
    name: 'Plack FCGI, Perl',
    protocol: 'fastcgi',
    keeps: true,
    command({ path, processes }) {
      const program = findProgram('plackup')
      if (!program || !perlHas('FCGI', 'FCGI::ProcManager')) return null
      const settings = ['--listen', path, '--nproc', `${processes}`, '--keep-stderr', '1']
      const app = join(here, 'app.psgi')
      return [
        program,
        '-s',
        'FCGI',
        '-E',
        'deployment',
        '--no-default-middleware',
        ...settings,
        app,
      ]
    },
  },
]

let started = 0

/**
 * Starts the servers that are installed.
 *
 * @param {Peer[]} list
 * @param {{ directory: string, processes: number, node: string }} settings
 */
export async function startPeers(list, settings) {
  const running = []
  for (const peer of list) {
    started += 1
    const path = join(settings.directory, `${started}.sock`)
    const command = peer.command({ path, ...settings })
    if (!command) continue
    const server = await ServerProcess.start(command, { address: path, log: `${path}.log` })
    running.push({ ...peer, path, host: `server${started}`, pid: server.pid, server })
  }
  return running
}

export async function stopPeers(running) {
  await Promise.all(running.map(({ server }) => server.stop()))
}

function portico(gateway, name, keeps) {
  return {
    name: `Portico ${name}`,
    protocol: gateway,
    keeps,
    command({ path, node }) {
      if (!existsSync(join(root, `dist/handlers/${gateway}.js`))) return null
      return [node, serve, gateway, `unix:${path}`]
    },
  }
}

function php(name, keeps, workers) {
  return {
    name,
    protocol: 'fastcgi',
    keeps,
    parameters: { SCRIPT_FILENAME: join(here, 'index.php') },
    command({ path, directory, processes }) {
      const program = phpFpm()
      if (!program) return null
      const file = `${path}.conf`
      writeFileSync(file, phpConfiguration(path, directory, workers ?? processes))
      const asRoot = process.getuid() === 0 ? ['-R'] : []
      return [program, '-F', '-n', '-y', file, ...asRoot]
    },
  }
}

function perlHas(...modules) {
  try {
    execFileSync('perl', [...modules.map((name) => `-M${name}`), '-e', '1'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** Debian's program has the version in its name: php-fpm8.2. */
function phpFpm() {
  const versions = existsSync('/usr/sbin') ? readdirSync('/usr/sbin') : []
  return findProgram('php-fpm', ...versions.filter((name) => /^php-fpm\d/.test(name)))
}

function phpConfiguration(path, directory, processes) {
  const user = process.getuid() === 0 ? 'user = root\ngroup = root' : ''
  return `
[global]
error_log = ${directory}/php-fpm.log
[www]
${user}
listen = ${path}
listen.backlog = 511
pm = static
pm.max_children = ${processes}
`
}
