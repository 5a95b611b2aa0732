/**
 * Builds the package into dist/: ES modules with their types, the one CommonJS file that
 * `require('portico/cgi')` loads, the one of the scripts in cgi-bin/, and those of the command.
 *
 * The build is made in a temporary directory, and each file is then renamed to its final path, so
 * that a process that runs meanwhile always finds a complete dist/.
 */
import { execFileSync } from 'node:child_process'
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { basename, dirname, join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { rolldown } from 'rolldown'
import { writeModules } from './modules.mjs'
import { commandsOnDemand, onDemand } from './on-demand.mjs'

process.chdir(resolve(import.meta.dirname, '..'))
const started = new Date()
const out = basename(mkdtempSync('dist-'))
process.on('exit', () => rmSync(out, { recursive: true, force: true }))

// The types: the one configuration, for the part of it that is published.
writeFileSync(
  `${out}/tsconfig.json`,
  JSON.stringify({
    extends: '../tsconfig.json',
    compilerOptions: { rootDir: '..', outDir: '.', emitDeclarationOnly: true },
    include: ['../src', '../handlers'],
  }),
)
const typescript = dirname(createRequire(import.meta.url).resolve('typescript/package.json'))
execFileSync(process.execPath, [join(typescript, 'bin/tsc'), '-p', out], { stdio: 'inherit' })
rmSync(`${out}/tsconfig.json`)
// Only those that a program can import, directly or through others.
const entries = readdirSync(`${out}/src/exports`).map((file) => `src/exports/${file}`)
const published = declarationsOf(entries)
for (const file of filesIn(out)) if (!published.has(file)) rmSync(join(out, file))

// The command up to its servers. As one CommonJS file it keeps 6 MiB less in memory than as modules,
// which need Node's loader for them. Other commands are modules, loaded on demand.
const commands = commandsOnDemand()
const command = await rolldown({
  input: 'src/command/main.ts',
  platform: 'node',
  logLevel: 'warn',
  plugins: [commands.plugin],
})
await writeCommonJS(command, `${out}/src/command/portico.cjs`)

await writeModules(out, [...commands.found])

const bundle = await rolldown({
  input: 'src/exports/cgi.ts',
  platform: 'node',
  logLevel: 'warn',
  plugins: [onDemand],
})
// `require('portico/cgi')`. V8 parses all of it at each request, and a minified file takes a quarter
// less time. Names of functions stay, and the map leads to the lines of src/.
await bundle.write({
  file: `${out}/cgi.cjs`,
  format: 'cjs',
  codeSplitting: false,
  comments: false,
  minify: { compress: true, mangle: { keepNames: true }, codegen: { removeWhitespace: true } },
  sourcemap: true,
})
// `require('./portico.cjs')`. It is read as it is, and loads from a code cache, without parsing.
const { output } = await bundle.generate({
  format: 'cjs',
  codeSplitting: false,
  comments: false,
  minify: false,
})
await bundle.close()
const codeCache = pathToFileURL(`${out}/src/bundle/code-cache.js`).href
const { forBun, withCodeCache } = await import(codeCache)
const minified = readFileSync(`${out}/cgi.cjs`, 'utf8').replace(/\/\/# sourceMappingURL=.*\s*$/, '')
// Bun runs it as it is, without a translation, but only if it is ASCII.
writeFileSync(`${out}/cgi.bun.cjs`, forBun(inAscii(minified)))
const source = inAscii(output[0].code.replaceAll('/* @__PURE__ */ ', ''))
writeFileSync(
  `${out}/portico.cjs`,
  withCodeCache({
    source: source.replaceAll(/\bimport\(/g, '__portico_import('),
    names: output[0].exports,
    madeBy: 'command',
  }),
)

// The process with the application in development. One file loads in a third of the time of the
// modules, which counts at each start.
const child = await rolldown({
  input: 'src/development/child.ts',
  platform: 'node',
  logLevel: 'warn',
})
await writeCommonJS(child, `${out}/src/development/child.cjs`)

// Its declarations once more, where TypeScript reads them as those of a CommonJS file.
for (const file of declarationsOf(['src/exports/cgi.d.ts'])) {
  mkdirSync(dirname(`${out}/commonjs/${file}`), { recursive: true })
  copyFileSync(`${out}/${file}`, `${out}/commonjs/${file}`)
}

renameSync(`${out}/portico.cjs`, 'cgi-bin/portico.cjs')
// For the Node that builds; on another one `node portico.cjs --code-cache` makes another.
for (const name of readdirSync('cgi-bin')) if (name.endsWith('.cache')) rmSync(`cgi-bin/${name}`)
execFileSync(process.execPath, ['cgi-bin/portico.cjs', '--code-cache'], {
  env: { PATH: process.env.PATH },
  // The error has what it writes to stderr.
  stdio: ['ignore', 'ignore', 'pipe'],
})
const built = filesIn(out)
for (const file of built) {
  mkdirSync(dirname(join('dist', file)), { recursive: true })
  renameSync(join(out, file), join('dist', file))
}
const stamp = 'commonjs/package.json'
for (const file of filesIn('dist')) {
  if (!built.includes(file) && file !== stamp) rmSync(join('dist', file), { force: true })
}
// Written last: tests compare its time with that of the sources.
writeFileSync(`${out}/stamp`, '{ "type": "commonjs" }\n')
utimesSync(`${out}/stamp`, started, started)
renameSync(`${out}/stamp`, join('dist', stamp))

async function writeCommonJS(made, file) {
  const { output: files } = await made.generate({
    format: 'cjs',
    codeSplitting: false,
    comments: false,
  })
  await made.close()
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, inAscii(files[0].code))
}

/** As ASCII, which is the fastest to read. There are other characters in strings only. */
function inAscii(text) {
  return text.replace(/[^\0-\x7f]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** The declarations with all that they import. */
function declarationsOf(files) {
  const found = new Set(files)
  // A set also iterates over what is added meanwhile.
  for (const file of found) {
    const text = readFileSync(`${out}/${file}`, 'utf8')
    for (const [, path] of text.matchAll(/(?:from |import\()?['"](\.[^'"]+)\.[jt]s['"]/g)) {
      found.add(join(dirname(file), `${path}.d.ts`))
    }
  }
  return found
}

function filesIn(directory) {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name).slice(directory.length + 1))
}
