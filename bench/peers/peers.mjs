/**
 * Everything that is measured: how each backend is started on a Unix socket, and what it speaks
 * there. Seen from the benchmark, which starts all that are installed.
 *
 * Those that serve one connection at a time and process have as many processes as there are
 * connections, where nothing else is said; all others have one process. CPU time per request is the
 * same with one or many.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { findProgram, root } from '../common.mjs'

const here = import.meta.dirname
const serve = join(root, 'bench/serve.mjs')

/** The C compiler; without one neither the load generator nor the C library can be built. */
export const compiler = findProgram('cc', 'gcc', 'clang')

/**
 * Compiles a program into a folder and returns its path; null if that is not possible here.
 *
 * @param {string[]} libraries such as '-lfcgi'
 */
export function compile(source, folder, name, ...libraries) {
  if (!compiler) return null
  const program = join(folder, name)
  try {
    execFileSync(compiler, ['-O2', '-o', program, source, ...libraries], { stdio: 'pipe' })
    return program
  } catch {
    return null // Its library is not installed.
  }
}

/**
 * @typedef {object} Peer
 * @property {string} name
 * @property {'fastcgi' | 'scgi' | 'uwsgi' | 'http'} protocol
 * @property {boolean} keeps whether it can serve more than one request on a connection
 * @property {object} [parameters] of each request, besides nginx's own
 * @property {(place: { path: string, folder: string, processes: number }) => string[] | null}
 *   command for a socket at `path`; null if it is not installed
 */

/** @type {Peer[]} */
export const peers = [
  {
    name: 'node:http',
    protocol: 'http',
    keeps: true,
    command: ({ path }) => [process.execPath, serve, 'node', `unix:${path}`],
  },
  portico('fastcgi', 'FastCGI', true),
  portico('scgi', 'SCGI', false),
  portico('http', 'HTTP', true),
  {
    name: 'node-fastcgi',
    protocol: 'fastcgi',
    // It closes after each answer, whatever KEEP_CONN says (2.0.0).
    keeps: false,
    command({ path }) {
      if (!resolves('node-fastcgi')) return null
      return [process.execPath, join(here, 'node-fastcgi.mjs'), path]
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
  // A kept connection would occupy a worker: with two of them there are none.
  php('php-fpm, 2 workers', false, 2),
  {
    name: 'libfcgi, C',
    protocol: 'fastcgi',
    keeps: true,
    command({ path, folder, processes }) {
      const program = compile(join(here, 'libfcgi.c'), folder, 'libfcgi', '-lfcgi')
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

function portico(gateway, name, keeps) {
  return {
    name: `Portico ${name}`,
    protocol: gateway,
    keeps,
    command({ path }) {
      if (!existsSync(join(root, `dist/handlers/${gateway}.js`))) return null
      return [process.execPath, serve, gateway, `unix:${path}`]
    },
  }
}

function php(name, keeps, workers) {
  return {
    name,
    protocol: 'fastcgi',
    keeps,
    parameters: { SCRIPT_FILENAME: join(here, 'index.php') },
    command({ path, folder, processes }) {
      const program = phpFpm()
      if (!program) return null
      const file = `${path}.conf`
      writeFileSync(file, phpConfiguration(path, folder, workers ?? processes))
      const asRoot = process.getuid() === 0 ? ['-R'] : []
      return [program, '-F', '-n', '-y', file, ...asRoot]
    },
  }
}

function resolves(name) {
  try {
    createRequire(import.meta.url).resolve(name)
    return true
  } catch {
    return false
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

/** Debian has the version in the name: php-fpm8.2. */
function phpFpm() {
  const versions = existsSync('/usr/sbin') ? readdirSync('/usr/sbin') : []
  return findProgram('php-fpm', ...versions.filter((name) => /^php-fpm\d/.test(name)))
}

function phpConfiguration(path, folder, processes) {
  const user = process.getuid() === 0 ? 'user = root\ngroup = root' : ''
  return `
[global]
error_log = ${folder}/php-fpm.log
[www]
${user}
listen = ${path}
listen.backlog = 511
pm = static
pm.max_children = ${processes}
`
}
