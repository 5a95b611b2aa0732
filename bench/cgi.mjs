/**
 * Shared by the benchmarks of CGI: the variables of a request, the scripts of other languages, and
 * turns of processes that start, respond and exit.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { findProgram, median, medianRatio, printTable, show } from './common.mjs'

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

/** The output of a script. */
const HELLO = /^(?:Status: 200 OK\r\n)?(?:[\w-]+: .*\r\n)+\r\nHello, world!\n$/

const WSGI = `
from wsgiref.handlers import CGIHandler
def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain; charset=utf-8')])
    return [b'Hello, world!\\n']
CGIHandler().run(application)
`
const PERL = `print "Content-Type: text/plain\\r\\n\\r\\nHello, world!\\n";\n`
const C = `#include <stdio.h>
int main(void) { fputs("Content-Type: text/plain\\r\\n\\r\\nHello, world!\\n", stdout); }
`

/** @typedef {{ name: string, command: string[], output?: RegExp, environment?: object, bar?: number }} Candidate */

/** Writes a script with mode 755; returns its path. */
export function writeScript(directory, name, text) {
  const path = join(directory, name)
  writeFileSync(path, text, { mode: 0o755 })
  return path
}

/** Every script is compared with a Node that does nothing. */
export function emptyNode(directory) {
  const command = [process.execPath, writeScript(directory, 'empty.js', '')]
  return { name: 'node empty.js', command, output: /^$/ }
}

/** @returns {Candidate | undefined} Python's CGIHandler, if Python is installed */
export function pythonHello(directory) {
  const python = pythonProgram()
  if (python === undefined) return undefined
  const script = writeScript(directory, 'hello.py', `#!${python}\n${WSGI}`)
  return { name: 'Python wsgiref CGIHandler', command: [script] }
}

/** A web server's user can run that of the system; another one may be a wrapper, and knows the real one. */
function pythonProgram() {
  if (existsSync('/usr/bin/python3')) return '/usr/bin/python3'
  const python = findProgram('python3')
  return (
    python && execFileSync(python, ['-c', 'import sys; print(sys.executable)']).toString().trim()
  )
}

/** @returns {Candidate[]} hello in the other languages whose programs are installed */
export function otherHellos(directory) {
  const candidates = []
  const compiler = findProgram('cc', 'gcc', 'clang')
  if (compiler) {
    const source = writeScript(directory, 'hello.c', C)
    execFileSync(compiler, ['-O2', '-o', join(directory, 'hello-c'), source])
    candidates.push({ name: 'C', command: [join(directory, 'hello-c')] })
  }
  const perl = findProgram('perl')
  if (perl) {
    const script = writeScript(directory, 'hello.pl', `#!${perl}\n${PERL}`)
    candidates.push({ name: 'Perl', command: [script] })
  }
  const php = findProgram('php-cgi')
  if (php) {
    const script = writeScript(directory, 'hello.php', '<?php echo "Hello, world!\\n";\n')
    // It runs SCRIPT_FILENAME, and only if a web server has set REDIRECT_STATUS.
    const environment = { SCRIPT_FILENAME: script, REDIRECT_STATUS: '200' }
    candidates.push({ name: 'php-cgi', command: [php], environment })
  }
  const python = pythonHello(directory)
  return python ? [...candidates, python] : candidates
}

/**
 * The time from start to exit in ms.
 *
 * @param {Candidate} candidate
 */
export function measure({ name, command: [program, ...args], output = HELLO, environment }) {
  const start = performance.now()
  const { status, stdout, stderr } = spawnSync(program, args, {
    env: { ...request, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const end = performance.now()
  if (status !== 0 || !output.test(stdout.toString('latin1'))) {
    throw new Error(`${name} failed (${status}):\n${stdout.toString()}${stderr.toString()}`)
  }
  return end - start
}

/**
 * Measures the candidates in turns and prints a table; the ratios are medians of the ratios to the
 * first candidate in the same round.
 *
 * @param {Candidate[]} candidates
 * @returns {boolean} whether all bars are kept
 */
export function compareStarts(candidates, options) {
  const times = candidates.map(() => [])
  for (const candidate of candidates) measure(candidate) // The first run reads the files from disk.
  for (let round = 0; round < options.rounds; round += 1) {
    // Each round starts with another candidate, so that the order differs.
    for (let turn = 0; turn < candidates.length; turn += 1) {
      const i = (round + turn) % candidates.length
      times[i].push(measure(candidates[i]))
    }
  }
  const ratios = times.map((list) => medianRatio(list, times[0]))
  console.log(`Node ${process.version}, ${options.rounds} rounds\n`)
  printTable(
    ['command', 'median ms', 'min ms', 'ratio', 'ratio of min', 'bar'],
    candidates.map(({ name, bar }, i) => [
      name,
      show(median(times[i])),
      show(Math.min(...times[i])),
      show(ratios[i], 2),
      show(Math.min(...times[i]) / Math.min(...times[0]), 2),
      bar === undefined ? '' : `${bar.toFixed(2)} ${ratios[i] <= bar ? 'kept' : 'MISSED'}`,
    ]),
    options,
  )
  return candidates.every(({ bar = Infinity }, i) => ratios[i] <= bar)
}
