/**
 * The front of a resident bundle: a script that hands each CGI request over to one resident process.
 * In Perl it starts that process itself; in `sh` it needs `cgi-fcgi` of libfcgi for the warm requests.
 */
import type { FrontSettings } from './front-settings.ts'
import { perlFront } from './front-perl.ts'
import { shellFront } from './front-shell.ts'

/** The line after which the program begins, in both front scripts. */
const END = '\n__END__\n'

/** The variables that say where a process runs, and nothing about a request. */
const ENVIRONMENT = ['PATH', 'HOME', 'USER', 'LOGNAME', 'LANG', 'LANGUAGE', 'TZ', 'TMPDIR']

const START: FrontSettings['start'] = {
  // Longer than readyTime, so that a waiting request can use the process that another one starts.
  lockTime: 25,
  // A large application on a shared host takes seconds; web servers give a CGI script 60 s or more.
  readyTime: 20,
  retryAfter: 10,
  // As --block-timeout of portico serve. Apache and nginx wait for 60 s.
  blockTime: 30,
  maxLog: 256 * 1024,
  threads: 2,
}

export interface ResidentFile {
  /** CommonJS. */
  readonly program: string
  readonly shell?: boolean
  readonly node?: string
  readonly flags?: readonly string[]
  /** More variables for the resident process. */
  readonly environment?: readonly string[]
}

/** The text of a resident bundle: the front script, and the program after it. */
export function residentFile(file: ResidentFile): string {
  const render = file.shell ? shellFront : perlFront
  const settings = {
    node: file.node ?? 'node',
    flags: file.flags ?? [],
    environment: [...ENVIRONMENT, ...(file.environment ?? [])],
    start: START,
  }
  const line = render({ ...settings, loader: '' }).split('\n').length - 1
  const text = render({ ...settings, loader: loaderFor(line) })
  return `${text}(function (exports, require, module, __filename, __dirname) {\n${file.program}\n})\n`
}

/** On one line, so that the line numbers do not depend on it. */
function loaderFor(line: number): string {
  return [
    "'use strict'",
    "const fs = require('node:fs'), vm = require('node:vm'), { createRequire } = require('node:module')",
    "const { dirname } = require('node:path')",
    'const filename = process.argv[1]',
    "const text = fs.readFileSync(filename, 'utf8')",
    `const program = text.slice(text.indexOf(${JSON.stringify(END)}) + ${END.length})`,
    'const own = createRequire(filename)',
    "const main = { exports: {}, filename, id: '.', loaded: false, require: own }",
    'const importModuleDynamically = vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER',
    `const script = new vm.Script(program, { filename, lineOffset: ${line}, importModuleDynamically })`,
    // Node prints the line on which an error was thrown, and those of a program are very long.
    'const failed = (error) => process.nextTick(() => { throw error })',
    'const run = script.runInThisContext()',
    'try { run.call(main.exports, main.exports, own, main, filename, dirname(filename)) } catch (error) { failed(error) }',
  ].join('; ')
}
