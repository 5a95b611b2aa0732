#!/usr/bin/env node
/**
 * Measures a CGI request: the time in which a process starts, responds and exits.
 *
 * No script in Node can be faster than `node empty.js`, so all results are ratios to it. With
 * `--check` it exits with 1 if Portico exceeds a limit.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { compareStarts, emptyNode, pythonHello, writeScript } from './cgi.mjs'
import { findProgram, readOptions, root, temporaryDirectory } from './common.mjs'

const options = readOptions('Measures the start and end of CGI scripts that say hello.', {
  rounds: [60, 'processes of each kind'],
  check: [false, 'fail if a limit is exceeded'],
})

/** The ratios to `node empty.js` that Portico promises not to exceed. */
const BY_PATH = 1.09
const BY_PACKAGE = 1.19
const BUN = 0.6

const application = `
function application(environ, startResponse) {
  startResponse('200 OK', [['Content-Type', 'text/plain; charset=utf-8']])
  return ['Hello, world!\\n']
}
`
const byHand = `
const body = 'Hello, world!\\n'
require('node:fs').writeSync(1, 'Content-Type: text/plain\\r\\n\\r\\n' + body)
`

function prepare() {
  const directory = temporaryDirectory()
  const script = (name, text) => writeScript(directory, name, text)
  const built = join(root, 'cgi-bin/portico.cjs')
  if (!existsSync(built)) throw new Error('It is not built: run `npm run build` first')
  cpSync(built, join(directory, 'portico.cjs'))
  cpSync(built, join(directory, 'uncached.cjs'))
  spawnSync(process.execPath, [join(directory, 'portico.cjs'), '--code-cache'], { env: {} })
  mkdirSync(join(directory, 'node_modules'))
  symlinkSync(root, join(directory, 'node_modules/portico'))

  const run = 'new CGIHandler().run(application)\n'
  const load = (from) => `const { CGIHandler } = require('${from}')\n${application}${run}`
  const imported = `import { CGIHandler } from 'portico/cgi'\n${application}${run}`
  const runs = (from) => `import { run } from '${from}'\n${application}run(application)\n`
  const candidates = [
    emptyNode(directory),
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
      command: node(script('by-import.mjs', imported)),
    },
    // The same file would serve over the other gateways, too.
    ...['portico/auto', 'portico'].map((from) => ({
      name: `import '${from}'`,
      command: node(script(`${from.replace('/', '-')}.mjs`, runs(from))),
    })),
  ]
  const others = [...bunHellos(directory, load, imported), ...denoHellos(directory, load)]
  return [...candidates, ...others, pythonHello(directory)].filter(Boolean)
}

function node(file) {
  return [process.execPath, file]
}

/** The same under Bun, if it is installed. */
function bunHellos(directory, load, imported) {
  const bun = findProgram('bun')
  if (bun === undefined) return []
  const script = (name, text) => [bun, writeScript(directory, name, text)]
  const source = writeScript(directory, 'application.cjs', `module.exports = ${application}`)
  const bundle = join(directory, 'bundle.cgi')
  const command = [join(root, 'bin/portico.cjs'), 'bundle', source, '-o', bundle]
  execFileSync(process.execPath, [...command, '--target', 'bun', '--node', bun])
  return [
    { name: 'bun empty.js', command: [bun, join(directory, 'empty.js')], output: /^$/ },
    { name: '  writeSync by hand', command: script('bun-by-hand.cgi', byHand) },
    {
      name: "  require('./portico.cjs')",
      command: script('bun-by-path.cgi', load('./portico.cjs')),
      bar: BUN,
    },
    {
      name: "  require('portico/cgi')",
      command: script('bun-by-package.cgi', load('portico/cgi')),
      bar: BUN,
    },
    {
      name: "  import 'portico/cgi'",
      command: script('bun-by-import.mjs', imported),
      bar: BUN,
    },
    { name: '  portico bundle --target bun', command: [bundle], bar: BUN },
  ]
}

/** The same under Deno, if it is installed. */
function denoHellos(directory, load) {
  const deno = findProgram('deno')
  if (deno === undefined) return []
  const flags = ['run', '--allow-all', '--quiet']
  const script = (name, text) => [deno, ...flags, writeScript(directory, name, text)]
  return [
    { name: 'deno empty.js', command: script('deno-empty.js', ''), output: /^$/ },
    { name: '  writeSync by hand', command: script('deno-by-hand.cjs', byHand) },
    {
      name: "  require('./portico.cjs')",
      command: script('deno-by-path.cjs', load('./portico.cjs')),
    },
  ]
}

if (!compareStarts(prepare(), options) && options.check) process.exitCode = 1
