/**
 * What a bundler does not know about a program: where it reads files beside itself, which template
 * engines it names, and whether it listens by itself.
 *
 * In the bundle, the directory of the entry is the directory of the `.cgi`, and files in directories
 * below it keep their relative paths.
 */
import { existsSync, readFileSync, realpathSync, statSync } from 'node:fs'
import { basename, dirname, join, relative, resolve, sep } from 'node:path'
import { ConfigurationError } from '../errors.ts'
import { precompute } from './precompute.ts'

export interface Findings {
  /** Files and directories that the program reads, relative to the entry's directory. */
  readonly assets: Set<string>
  /** Packages that Express loads by a name that is only known at run time. */
  readonly engines: Set<string>
  /** Packages that load a native addon by a name that is only known at run time. */
  readonly addons: Set<string>
  /** Packages that read files of their own, which are not in the bundle. */
  readonly readers: Set<string>
  /** Imports of modules whose names are only known at run time. */
  readonly variables: Set<string>
  /** Files with settings, which are not copied. */
  readonly settings: Set<string>
  /** What cannot be found out, as the beginning of a sentence. */
  readonly unclear: Set<string>
  /** Whether a file of the project calls `listen`. */
  listens: boolean
}

/** Binary modules: a file of the bundle cannot be loaded as one of these. */
export const BINARIES = /\.(?:node|wasm)$/

/** What each file has of its own, and its name in a bundle. The bundler replaces free names only. */
export const OWN_NAMES = {
  __dirname: '__portico_dirname',
  __filename: '__portico_filename',
  'import.meta': '__portico_import_meta',
} as const

/** The `#!` line, comments and directives: a declaration can only follow them. */
const PROLOGUE =
  /^(?:#!.*\n)?(?:(?:\s|\/\/.*\n|\/\*(?:[^*]|\*(?!\/))*\*\/)*(?:'use [a-z]+'|"use [a-z]+")[ \t]*;?)*/

/** How a file finds out that it is the entry. */
const OWN_FILE = String.raw`(?:(?:\w+\.)?fileURLToPath\(\s*import\.meta\.url\s*\)|import\.meta\.(?:url|filename)|__filename)`
const STARTED =
  String.raw`(?:(?:\w+\.)?pathToFileURL\(\s*process\.argv\[1\]!?\s*\)(?:\.href|\.toString\(\))?|` +
  'process\\.argv\\[1\\]|`file://\\$\\{process\\.argv\\[1\\]\\}`)'
const IS_MAIN = new RegExp(
  String.raw`\brequire\.main\s*===?\s*module\b|\bmodule\s*===?\s*require\.main\b|` +
    String.raw`(?<![\w$.])${OWN_FILE}\s*===?\s*${STARTED}|(?<![\w$.])${STARTED}\s*===?\s*${OWN_FILE}(?![\w$(.])`,
  'g',
)
const READS =
  /\b(?:readFile|readdir|createReadStream|readFileSync|readdirSync)\s*\([^;\n]*(?:__dirname|import\.meta)/

/** A package that loads a native addon by a name that it finds at run time, and has no other way. */
const LOADS_ADDON =
  /(?<!\btry\s*\{\s*(?:module\.exports\s*=\s*)?)\brequire\(\s*['"](?:bindings|node-gyp-build|@mapbox\/node-pre-gyp)['"]\s*\)\s*\(/

/** A package that looks for a native addon at several paths, such as sharp. */
const FINDS_ADDON =
  /\.node['"`][^]*\brequire\(\s*\w+\s*\)|\brequire\(\s*(['"`])[^'"`\n]*\.node\1\s*\)/

/** What stands for the file's own directory, and for the working directory, which is that of the entry. */
const OWN = String.raw`(?:__dirname|import\.meta\.dirname)`
const WORKING = String.raw`process\.cwd\(\)`
/** The first arguments of `join` and `resolve`, and whether there are others. */
const WORDS = String.raw`((?:\s*,\s*(?:'[^'\n]*'|"[^"\n]*"))+)(\s*,\s*[^\s)])?`

/** A path that begins with literals. If it is open, something follows that is only known at run time. */
type Named = readonly [name: string, open: boolean]

/** The paths that a text names after `directory`, a pattern: as arguments, in a sum, or in a template. */
function* namedAfter(text: string, directory: string): Generator<Named> {
  for (const [, words, more] of text.matchAll(
    new RegExp(String.raw`\b(?:join|resolve)\(\s*${directory}${WORDS}`, 'g'),
  )) {
    const literals = [...words!.matchAll(/'([^']*)'|"([^"]*)"/g)].map(([, a, b]) => a ?? b!)
    yield [literals.join('/'), more !== undefined]
  }
  for (const [, , name, more] of text.matchAll(
    new RegExp(String.raw`(?<![\w$.])${directory}\s*\+\s*(['"])([^'"\n]+)\1(\s*\+)?`, 'g'),
  )) {
    yield [name!, more !== undefined]
  }
  for (const [, name, more] of text.matchAll(
    new RegExp(`\`\\$\\{${directory}\\}([^\`$]+)(\\$\\{)?`, 'g'),
  )) {
    yield [name!, more !== undefined]
  }
  // res.sendFile('index.html', { root: __dirname })
  for (const [, , name] of text.matchAll(
    new RegExp(
      String.raw`\bsendFile\(\s*(['"])([^'"\n]+)\1\s*,\s*\{\s*root:\s*${directory}\s*\}`,
      'g',
    ),
  )) {
    yield [name!, false]
  }
}

/** The literal of a URL beside the file. */
const URL_BESIDE = /\bnew URL\(\s*(['"])(?![a-z][a-z+.-]*:|\/)([^'"\n]+)\1\s*,\s*import\.meta\.url/g
/** The same with a name that is only known at run time. */
const OPEN_URL_BESIDE =
  /\bnew URL\(\s*`(?![a-z][a-z+.-]*:|\/)([^`$]+)\$\{[^`]*`\s*,\s*import\.meta\.url/g
/** A variable for the directory of an ES module, which has no `__dirname` on Node 20.10. */
const OWN_DIRECTORY =
  /\b(?:const|let|var)\s+(\w+)\s*=\s*(?:\w+\.)?dirname\(\s*(?:\w+\.)?fileURLToPath\(\s*import\.meta\.url\s*\)\s*\)/g
/** The same, from `import.meta`. */
const META_DIRECTORY =
  /\b(?:const|let|var)\s*\{[^{}]*\bdirname\b(?:\s*:\s*(\w+))?[^{}]*\}\s*=\s*import\.meta\b(?!\.)/g
/** An import of names from a file of the project. */
const NAMED_IMPORT = /\bimport\s*\{([^}]*)\}\s*from\s*(['"])(\.{1,2}\/[^'"]+)\2/g
/** Calls whose literal argument is a path in the working directory. */
const IN_DIRECTORY = [
  /\bstatic\(\s*(['"])([^'"]+)\1/g,
  /\bserveStatic\(\s*\{[^}]*\broot:\s*(['"])([^'"]+)\1/g,
  /\.set\(\s*['"]views['"]\s*,\s*(['"])([^'"]+)\1/g,
  /\bresolve\(\s*(['"])([^'"/][^'"]*)\1\s*\)/g,
  /\b(?:readFile|readFileSync|readdir|readdirSync|createReadStream|fork|new Worker)\(\s*(['"])([^'"/][^'"]*)\1/g,
]
/** Settings with secrets, which a web server would send to anyone from its directory. */
const ENV_FILE = /\bloadEnvFile\s*\(|(['"])dotenv(?:\/config)?\1/
/** The directory as a value of its own, from which something else may make a path. */
const PASSED_ON =
  /(?:(?<!\broot\s*)[:=,[]|(?<!\b(?:const|let|var|import|export)\s*)\{)\s*(?:__dirname|import\.meta\.dirname)\s*[,;}\]\n]/
/** A file that starts itself once more, or makes a `require` in another way. */
const SELF = [
  /\b(?:new Worker|fork)\(\s*(?:__filename|process\.argv\[1\]|import\.meta\.filename|(?:new URL|(?:\w+\.)?fileURLToPath)\(\s*import\.meta\.url\s*\))/,
  /\bcreateRequire(?:\s+as\b|\()/,
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
    addons: new Set(),
    readers: new Set(),
    variables: new Set(),
    settings: new Set(),
    unclear: new Set(),
    listens: false,
  }
}

/** The text of a file for the bundle; adds to `findings`. `main` is the file that the program begins with. */
export function transform(path: string, text: string, main: string, findings: Findings): string {
  const inPackage = packageOf(path)
  const base = dirname(main)
  const name = relative(base, path).replaceAll(sep, '/')
  if (inPackage === 'portico') return relocate(text, name, false)
  let changed = precompute(path, text)
  if (inPackage === undefined) {
    const isMain = path === main || realpathSync(main) === path
    if (isMain) changed = changed.replace(IS_MAIN, 'true')
    changed = withOwnRequire(changed)
    inspect(path, changed, base, findings)
    changed = relocate(changed, name, isMain)
  } else {
    if (LOADS_ADDON.test(text)) throw addonError(`The package ${inPackage}`, inPackage)
    if (FINDS_ADDON.test(text)) findings.addons.add(inPackage)
    if (READS.test(text)) findings.readers.add(inPackage)
    changed = relocate(changed, name, false)
  }
  return changed.replace(STANDARD_ERROR, '2').replace(ENTRY_DIRECTORY, '$1 = __portico_url("")')
}

function inspect(path: string, text: string, base: string, findings: Findings): void {
  const own = dirname(path)
  const shownAs = relative(base, path)
  const add = (file: string, open = false): void => {
    const inside = relative(base, file)
    if (basename(file).startsWith('.env')) findings.settings.add(inside)
    else if (open) addOpen(file, inside)
    else if (!existsSync(file)) return
    else if (inside.startsWith('..')) {
      throw new ConfigurationError(
        `${path} reads ${file}, which is outside of ${base}. Move it below the directory of the entry`,
      )
    } else if (inside !== '') findings.assets.add(inside)
  }
  // What follows can be the rest of a name, so it may be any file of the directory.
  const addOpen = (file: string, inside: string): void => {
    const directory = isDirectory(file) ? inside : dirname(inside)
    if (directory === '' || directory === '.' || directory.startsWith('..')) {
      findings.unclear.add(`${shownAs} reads files whose names are only known at run time`)
    } else if (existsSync(join(base, directory))) findings.assets.add(directory)
  }
  for (const [, , name] of text.matchAll(URL_BESIDE)) add(resolve(own, name!))
  for (const [, name] of text.matchAll(OPEN_URL_BESIDE)) add(resolve(own, name!), true)
  for (const [name, open] of namedAfter(text, OWN)) add(join(own, name), open)
  for (const [name, open] of namedAfter(text, WORKING)) add(join(base, name), open)
  for (const [variable, directory] of directoriesOf(path, text)) {
    for (const [name, open] of namedAfter(text, variable)) add(join(directory, name), open)
  }
  for (const pattern of IN_DIRECTORY) {
    for (const [, , name] of text.matchAll(pattern)) add(resolve(base, name!))
  }
  if (ENV_FILE.test(text)) findings.settings.add('.env')
  for (const pattern of SELF) {
    const [found] = pattern.exec(text) ?? []
    if (found !== undefined) findings.unclear.add(`${shownAs} has ${found}, which is not followed`)
  }
  if (PASSED_ON.test(text)) findings.unclear.add(`${shownAs} passes its directory on`)
  for (const [, name] of text.matchAll(ENGINE)) {
    findings.engines.add(name!)
    add(join(base, 'views'))
  }
  for (const [call] of text.matchAll(VARIABLE_IMPORT)) {
    findings.variables.add(`${shownAs} has ${call}`)
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
  const found = [...text.matchAll(OWN_DIRECTORY), ...text.matchAll(META_DIRECTORY)]
  return new Map(found.map(([, name = 'dirname']) => [name, dirname(path)]))
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false
}

/** Declares what a file knows about itself, on the line that it begins with. */
function relocate(text: string, path: string, isMain: boolean): string {
  const declared = [
    ['__dirname', `${OWN_NAMES.__dirname}=__portico_path(${JSON.stringify(dirname(path))})`],
    ['__filename', `${OWN_NAMES.__filename}=__portico_path(${JSON.stringify(path)})`],
    [
      'import.meta',
      `${OWN_NAMES['import.meta']}=__portico_meta(${JSON.stringify(path)},${isMain})`,
    ],
  ].filter(([name]) => text.includes(name!))
  if (declared.length === 0) return text
  const start = PROLOGUE.exec(text)![0].length
  const names = declared.map(([, declaration]) => declaration).join(',')
  return `${text.slice(0, start)};const ${names};${text.slice(start)}`
}

/** The functions that `relocate` uses, and `require` with the engines of the entry. */
export const BANNER = [
  'const __portico_modules = Object.create(null)',
  'const __portico_path = (path) => require("node:path").join(__dirname, path)',
  'const __portico_url = (path) => require("node:url").pathToFileURL(__portico_path(path)).href',
  'const __portico_meta = (path, main) => ({ __proto__: null, main, ' +
    'get dirname() { return __portico_path(path + "/..") }, get filename() { return __portico_path(path) }, ' +
    'get url() { return __portico_url(path) }, resolve: (name) => ' +
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
