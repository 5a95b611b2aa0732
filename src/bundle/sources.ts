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
  /** Whether a file of the project calls `listen`. */
  listens: boolean
}

/** Binary modules: a file of the bundle cannot be loaded as one of these. */
export const BINARIES = /\.(?:node|wasm)$/

const DIRECTORY = /(?<![\w$.'"`/])__(dirname|filename)\b(?!\s*[:=](?!=)|['"`])/g
const META = /\bimport\.meta\.(url|dirname|filename)\b/g
const DECLARED = /\b(?:const|let|var)\s+__(?:dirname|filename)\b/
const READS =
  /\b(?:readFile|readdir|createReadStream|readFileSync|readdirSync)\s*\([^;\n]*(?:__dirname|import\.meta)/

/** Calls whose literal argument is a path beside the file. */
const BESIDE = [
  /\bnew URL\(\s*(['"])(\.{1,2}\/[^'"]+)\1\s*,\s*import\.meta\.url/g,
  /\b(?:join|resolve)\(\s*(?:__dirname|import\.meta\.dirname)\s*,\s*(['"])([^'"]+)\1/g,
]
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
]
const ENGINE = /\.set\(\s*['"]view engine['"]\s*,\s*['"]([\w@/-]+)['"]/g

/** The package debug reads this at each start. Creating the stream `process.stderr` takes a millisecond. */
const STANDARD_ERROR = /\bprocess\.stderr\.fd\b(?!\s*=[^=])/g

/**
 * Astro's Node adapter, 8 and 9, looks for the directory of its entry above the running file, by the name that it
 * had in the build. Without one it never ends, not even at the root. In a bundle it is the directory of the `.cgi`.
 */
const ENTRY_DIRECTORY =
  /\bwhile\s*\(!(\w+)\.endsWith\(serverFolder\)\)\s*\{\s*\1\s*=\s*(?:\w+\.)?dirname\(\1\);?\s*\}/

export function noFindings(): Findings {
  return { assets: new Set(), engines: new Set(), readers: new Set(), listens: false }
}

/** The text of a file for the bundle; adds to `findings`. */
export function transform(path: string, text: string, base: string, findings: Findings): string {
  const inPackage = packageOf(path)
  if (inPackage === 'portico') return text
  if (inPackage === undefined) inspect(path, text, base, findings)
  else if (READS.test(text)) findings.readers.add(inPackage)
  const quick = precompute(path, text)
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
  for (const pattern of BESIDE) {
    for (const [, , name] of text.matchAll(pattern)) add(resolve(dirname(path), name!))
  }
  for (const [variable, directory] of directoriesOf(path, text)) {
    const calls = new RegExp(
      String.raw`\b(?:join|resolve)\(\s*${variable}\s*,\s*(['"])([^'"]+)\1`,
      'g',
    )
    for (const [, , name] of text.matchAll(calls)) add(resolve(directory, name!))
  }
  for (const pattern of IN_DIRECTORY) {
    for (const [, , name] of text.matchAll(pattern)) add(resolve(base, name!))
  }
  for (const [, name] of text.matchAll(ENGINE)) {
    findings.engines.add(name!)
    add(join(base, 'views'))
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

function ownDirectories(path: string, text: string): Map<string, string> {
  return new Map([...text.matchAll(OWN_DIRECTORY)].map(([, name]) => [name!, dirname(path)]))
}

/** Replaces what a file knows about its own path by an expression that holds in the bundle. */
function relocate(text: string, path: string): string {
  const changed = text.replace(META, (_, what: string) =>
    what === 'url'
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
].join(';')

/** `require` finds the engines that the entry has put into `__portico_modules`. */
export const REQUIRE = [
  'require = ((own) => Object.assign((id) => (__portico_modules[id] ? __portico_modules[id]() : own(id)), own))(require)',
].join(';')

/** Where the files of Portico are. */
const OWN = [join(import.meta.dirname, '..'), join(import.meta.dirname, '../../handlers')]

/** The package that a file belongs to; undefined for files of the project. */
export function packageOf(path: string): string | undefined {
  if (OWN.some((directory) => path.startsWith(directory + sep))) return 'portico'
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
  throw new ConfigurationError(
    path.endsWith('.node')
      ? `${what} is a native addon, which cannot be in a bundle. Use a package in JavaScript, or keep it ` +
          `outside with --external ${owner ?? 'NAME'} and upload its node_modules`
      : `${what} is imported as a module, which CommonJS cannot. Read it instead: ` +
          'readFileSync(new URL("./x.wasm", import.meta.url))',
  )
}
