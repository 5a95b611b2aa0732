/**
 * What a bundler does not know about a program: where it reads files beside itself, which template
 * engines it names, and whether it listens by itself.
 *
 * In the bundle, the directory of the entry is the directory of the `.cgi`, and files in directories
 * below it keep their relative paths.
 */
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve, sep } from 'node:path'
import { ConfigurationError } from '../errors.ts'
import { precompute } from './precompute.ts'

export interface Findings {
  /** Files and directories that the program reads, relative to the entry's directory. */
  readonly assets: Set<string>
  /** Packages that Express loads by a name that is only known at run time. */
  readonly engines: Set<string>
  /** Packages that read files of their own, which are not in the bundle. */
  readonly readers: Set<string>
  /** Imports of modules whose names are only known at run time. */
  readonly variables: Set<string>
  /** Whether a file of the project calls `listen`. */
  listens: boolean
}

/** Binary modules: a file of the bundle cannot be loaded as one of these. */
export const BINARIES = /\.(?:node|wasm)$/

const DIRECTORY = /(?<![\w$.'"`/])__(dirname|filename)\b(?!\s*[:=](?!=)|['"`])/g
const META = /\bimport\.meta\b(?:\.(url|dirname|filename)\b|(?=\.resolve\b)|(?!\s*\??\.))/g
/** The file has these names from somewhere else: a declaration, a pattern or an import. */
const DECLARED =
  /\b(?:const|let|var)\s+__(?:dirname|filename)\b|\b(?:const|let|var|import)\s*\{[^{}]*\b__(?:dirname|filename)\b[^{}]*\}/
const READS =
  /\b(?:readFile|readdir|createReadStream|readFileSync|readdirSync)\s*\([^;\n]*(?:__dirname|import\.meta)/

/** A package that loads a native addon by a name that it finds at run time, and has no other way. */
const LOADS_ADDON =
  /(?<!\btry\s*\{\s*(?:module\.exports\s*=\s*)?)\brequire\(\s*['"](?:bindings|node-gyp-build|@mapbox\/node-pre-gyp)['"]\s*\)\s*\(/

/** What stands for the file's own directory, and for the working directory, which is that of the entry. */
const OWN = String.raw`(?:__dirname|import\.meta\.dirname)`
const WORKING = String.raw`process\.cwd\(\)`
/** Literal arguments of `join` and `resolve`. */
const WORDS = String.raw`((?:\s*,\s*(?:'[^'\n]*'|"[^"\n]*"))+)\s*,?\s*\)`

/** The paths that a text names by literals after `directory`, a pattern: as arguments, in a sum, or in a template. */
function* namedAfter(text: string, directory: string): Generator<string> {
  for (const [, words] of text.matchAll(
    new RegExp(String.raw`\b(?:join|resolve)\(\s*${directory}${WORDS}`, 'g'),
  )) {
    yield [...words!.matchAll(/'([^']*)'|"([^"]*)"/g)].map(([, a, b]) => a ?? b!).join('/')
  }
  for (const [, , name] of text.matchAll(
    new RegExp(String.raw`(?<![\w$.])${directory}\s*\+\s*(['"])([^'"\n]+)\1`, 'g'),
  )) {
    yield name!
  }
  for (const [, name] of text.matchAll(new RegExp(`\`\\$\\{${directory}\\}([^\`$]+)\``, 'g'))) {
    yield name!
  }
  // res.sendFile('index.html', { root: __dirname })
  for (const [, , name] of text.matchAll(
    new RegExp(
      String.raw`\bsendFile\(\s*(['"])([^'"\n]+)\1\s*,\s*\{\s*root:\s*${directory}\s*\}`,
      'g',
    ),
  )) {
    yield name!
  }
}

/** The literal of a URL beside the file. */
const URL_BESIDE = /\bnew URL\(\s*(['"])(?![a-z][a-z+.-]*:|\/)([^'"\n]+)\1\s*,\s*import\.meta\.url/g
/** A variable for the directory of an ES module, which has no `__dirname` on Node 20.10. */
const OWN_DIRECTORY =
  /\b(?:const|let|var)\s+(\w+)\s*=\s*(?:\w+\.)?dirname\(\s*(?:\w+\.)?fileURLToPath\(\s*import\.meta\.url\s*\)\s*\)/g
/** An import of names from a file of the project. */
const NAMED_IMPORT = /\bimport\s*\{([^}]*)\}\s*from\s*(['"])(\.{1,2}\/[^'"]+)\2/g
/** Calls whose literal argument is a path in the working directory. */
const IN_DIRECTORY = [
  /\bstatic\(\s*(['"])([^'"]+)\1/g,
  /\bserveStatic\(\s*\{[^}]*\broot:\s*(['"])([^'"]+)\1/g,
  /\.set\(\s*['"]views['"]\s*,\s*(['"])([^'"]+)\1/g,
  /\bresolve\(\s*(['"])([^'"/][^'"]*)\1\s*\)/g,
  /\b(?:readFile|readFileSync|readdir|readdirSync|createReadStream)\(\s*(['"])([^'"/][^'"]*)\1/g,
]
/** `require` of an ES module, by which it loads CommonJS modules and JSON. */
const CREATED =
  /\b(?:const|let|var)\s+(\w+)\s*=\s*(?:\w+\.)?createRequire\(\s*import\.meta\.(?:url|filename)\s*\);?/g
/** A module whose name is only known at run time; esbuild knows those that begin with a directory. */
const VARIABLE_IMPORT =
  /(?<![\w$.])(?:import|require)\(\s*(?:[\w$.]+|`[^`]*\$\{[^`]*`|(['"])[^'"]*\1\s*\+[^)]*)\s*\)/g
const ENGINE = /\.set\(\s*['"]view engine['"]\s*,\s*['"]([\w@/-]+)['"]/g

/** The package debug reads this at each start. Creating the stream `process.stderr` takes a millisecond. */
const STANDARD_ERROR = /\bprocess\.stderr\.fd\b(?!\s*=[^=])/g

/**
 * Astro's Node adapter, 8 to 11, looks for the directory of its entry above the running file, by the name that it
 * had in the build. Without one it throws, or never ends. In a bundle it is the directory of the `.cgi`.
 */
const ENTRY_DIRECTORY =
  /\bwhile\s*\(!(\w+)\.endsWith\(serverFolder\)\)\s*\{(?:[^{}]|\$\{[^{}]*\})*?\b\1\s*=\s*(?:\w+\.)?dirname\(\1\);?\s*\}/

export function noFindings(): Findings {
  return {
    assets: new Set(),
    engines: new Set(),
    readers: new Set(),
    variables: new Set(),
    listens: false,
  }
}

/** The text of a file for the bundle; adds to `findings`. */
export function transform(path: string, text: string, base: string, findings: Findings): string {
  const inPackage = packageOf(path)
  if (inPackage === 'portico') return text
  if (inPackage === undefined) inspect(path, text, base, findings)
  else {
    if (LOADS_ADDON.test(text)) throw addonError(`The package ${inPackage}`, inPackage)
    if (READS.test(text)) findings.readers.add(inPackage)
  }
  const quick = precompute(path, inPackage === undefined ? withOwnRequire(text) : text)
    .replace(STANDARD_ERROR, '2')
    .replace(ENTRY_DIRECTORY, '$1 = __portico_url("")')
  return relocate(quick, relative(base, path).replaceAll(sep, '/'))
}

function inspect(path: string, text: string, base: string, findings: Findings): void {
  const add = (file: string): void => {
    if (!existsSync(file)) return
    const inside = relative(base, file)
    if (inside.startsWith('..')) {
      throw new ConfigurationError(
        `${path} reads ${file}, which is outside of ${base}. Move it below the directory of the entry`,
      )
    }
    if (inside !== '') findings.assets.add(inside)
  }
  const own = dirname(path)
  for (const [, , name] of text.matchAll(URL_BESIDE)) add(resolve(own, name!))
  for (const name of namedAfter(text, OWN)) add(join(own, name))
  for (const name of namedAfter(text, WORKING)) add(join(base, name))
  for (const [variable, directory] of directoriesOf(path, text)) {
    for (const name of namedAfter(text, variable)) add(join(directory, name))
  }
  for (const pattern of IN_DIRECTORY) {
    for (const [, , name] of text.matchAll(pattern)) add(resolve(base, name!))
  }
  for (const [, name] of text.matchAll(ENGINE)) {
    findings.engines.add(name!)
    add(join(base, 'views'))
  }
  for (const [call] of text.matchAll(VARIABLE_IMPORT)) {
    findings.variables.add(`${relative(base, path)} has ${call}`)
  }
  if (/\.listen\s*\(/.test(text)) findings.listens = true
}

/**
 * The variables of a file that hold a directory of the project: its own, or that of a file from which it imports the
 * variable, as the handler of SvelteKit does.
 */
function directoriesOf(path: string, text: string): Map<string, string> {
  const found = ownDirectories(path, text)
  for (const [, names, , specifier] of text.matchAll(NAMED_IMPORT)) {
    const from = resolve(dirname(path), specifier!)
    if (!existsSync(from) || packageOf(from) !== undefined) continue
    const exported = ownDirectories(from, readFileSync(from, 'utf8'))
    for (const item of names!.split(',')) {
      const [name = '', local = name] = item.trim().split(/\s+as\s+/)
      const directory = exported.get(name)
      if (directory !== undefined && /^\w+$/.test(local)) found.set(local, directory)
    }
  }
  return found
}

/** The bundler knows `require`, but not a function that the program makes. */
function withOwnRequire(text: string): string {
  let changed = text
  for (const [declaration, name] of text.matchAll(CREATED)) {
    changed = changed
      .replace(declaration, () => (name === 'require' ? '' : `const ${name} = require;`))
      .replaceAll(new RegExp(String.raw`(?<![\w$.])${name}(?=\(\s*['"])`, 'g'), 'require')
  }
  return changed
}

function ownDirectories(path: string, text: string): Map<string, string> {
  return new Map([...text.matchAll(OWN_DIRECTORY)].map(([, name]) => [name!, dirname(path)]))
}

/** Replaces what a file knows about its own path by an expression that holds in the bundle. */
function relocate(text: string, path: string): string {
  const changed = text.replace(META, (_, what: string | undefined) =>
    what === undefined
      ? `__portico_meta(${JSON.stringify(path)})`
      : what === 'url'
        ? `__portico_url(${JSON.stringify(path)})`
        : `__portico_path(${JSON.stringify(what === 'dirname' ? dirname(path) : path)})`,
  )
  if (DECLARED.test(text)) return changed
  return changed.replace(
    DIRECTORY,
    (_, what: string) =>
      `__portico_path(${JSON.stringify(what === 'dirname' ? dirname(path) : path)})`,
  )
}

/** The functions that `relocate` uses, and `require` with the engines of the entry. */
export const BANNER = [
  'const __portico_modules = Object.create(null)',
  'const __portico_path = (path) => require("node:path").join(__dirname, path)',
  'const __portico_url = (path) => require("node:url").pathToFileURL(__portico_path(path)).href',
  'const __portico_meta = (path) => ({ __proto__: null, dirname: __portico_path(path + "/.."), ' +
    'filename: __portico_path(path), main: false, url: __portico_url(path), resolve: (name) => ' +
    '/^(?:\\.{0,2}\\/|[a-z]+:)/.test(name) ? new URL(name, __portico_url(path)).href : ' +
    'require("node:url").pathToFileURL(require.resolve(name)).href })',
].join(';')

/** `require` finds the engines that the entry has put into `__portico_modules`. */
export const REQUIRE = [
  'require = ((own) => Object.assign((id) => (__portico_modules[id] ? __portico_modules[id]() : own(id)), own))(require)',
].join(';')

/** Where the files of Portico are. */
const OWN_FILES = [join(import.meta.dirname, '..'), join(import.meta.dirname, '../../handlers')]

/** The package that a file belongs to; undefined for files of the project. */
export function packageOf(path: string): string | undefined {
  if (OWN_FILES.some((directory) => path.startsWith(directory + sep))) return 'portico'
  const parts = path.split(/[/\\\\]/)
  const at = parts.lastIndexOf('node_modules')
  if (at < 0) return undefined
  const name = parts[at + 1]!
  return name.startsWith('@') ? `${name}/${parts[at + 2]}` : name
}

/** @throws {ConfigurationError} always: such a file cannot be in the bundle. */
export function refuseBinary(path: string): never {
  const owner = packageOf(path)
  const what = owner === undefined ? path : `${path} of the package ${owner}`
  if (path.endsWith('.node')) throw addonError(what, owner)
  throw new ConfigurationError(
    `${what} is imported as a module, which CommonJS cannot. Read it instead: ` +
      'readFileSync(new URL("./x.wasm", import.meta.url))',
  )
}

function addonError(what: string, owner: string | undefined): ConfigurationError {
  return new ConfigurationError(
    `${what} is a native addon, which cannot be in a bundle. Use a package in JavaScript, or keep it ` +
      `outside with --external ${owner ?? 'NAME'} and upload its node_modules`,
  )
}
