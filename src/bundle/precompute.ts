/**
 * Removes work that some packages do at each start: a bundle contains the result, or computes it on first
 * use. The modules behave as before. A module whose text is not the expected one stays as it is.
 */
import { createRequire } from 'node:module'
import { compileFunction } from 'node:vm'

/** The text of a module of a package, with less to do at its start. */
export function precompute(path: string, text: string): string {
  if (/[/\\]mime-types[/\\]index\.js$/.test(path)) return withTypes(path, text)
  if (/[/\\]depd[/\\]index\.js$/.test(path)) return text.replace(SITE, FILE)
  return text
}

/**
 * depd 2 uses only the file name of this call site. To compute the line as well, V8 searches the whole
 * bundle for line breaks, which takes a millisecond.
 */
const SITE = /var site = callSiteLocation\(stack\[1\]\)\s+var file = site\[0\]\n/
const FILE =
  "var file = stack[1].isEval() ? callSiteLocation(stack[1])[0] : stack[1].getFileName() || '<anonymous>'\n"

/** mime-types 2 and 3. */
const POPULATE = /^populateMaps\(exports\.extensions, exports\.types\)$/m
const DATABASE = /^var db = require\('mime-db'\)$/m

interface MimeTypes {
  readonly types: Readonly<Record<string, string>>
  readonly extensions: Readonly<Record<string, readonly string[]>>
  charset(type: string): string | false
  contentType(type: string): string | false
  extension(type: string): string | false
  lookup(path: string): string | false
}

/**
 * mime-types builds tables of 1,200 extensions whenever it is loaded, by Express or Koa for example.
 * That is a third of the time in which a bundled Express application starts. In a bundle it has the table
 * of types and the charsets, and builds the others when they are used.
 */
function withTypes(path: string, text: string): string {
  if (!POPULATE.test(text) || !DATABASE.test(text)) return text
  const load = createRequire(path)
  try {
    const own = load(path) as MimeTypes
    const database = load('mime-db') as Readonly<Record<string, { charset?: string }>>
    const charsets = Object.entries(database)
      .filter(([, { charset }]) => charset !== undefined)
      .map(([type, { charset }]) => [type, { charset }])
    const changed = text
      .replace(DATABASE, () => `let db = ${table(Object.fromEntries(charsets))}`)
      .replace(POPULATE, () => `exports.types = ${table(own.types)}\n${populateLater(text)}`)
    const made = { exports: {} as MimeTypes }
    compileFunction(changed, ['module', 'exports', 'require'])(made, made.exports, load)
    return isSame(own, made.exports, Object.keys(database)) ? changed : text
  } catch {
    return text // An unknown version.
  }
}

/** An object without a prototype. */
function table(value: object): string {
  return JSON.stringify(value).replace('{', '{"__proto__":null,')
}

/** Delays the package's own function, which fills the other tables, until one of them is used. */
function populateLater(text: string): string {
  const names = ['extensions', '_extensionConflicts'].filter((name) => text.includes(name))
  return `{
    for (const name of ${JSON.stringify(names)}) {
      const empty = exports[name]
      const set = (value) => Object.defineProperty(exports, name, { configurable: true, enumerable: true, writable: true, value })
      Object.defineProperty(exports, name, { configurable: true, enumerable: true, set, get: () => (set(empty), populateOnce(), exports[name]) })
    }
    let populated = false
    function populateOnce() {
      if (populated) return
      populated = true
      const { types } = exports
      exports.types = Object.create(null)
      db = require('mime-db')
      populateMaps(exports.extensions, exports.types)
      exports.types = types
    }
  }`
}

function isSame(one: MimeTypes, two: MimeTypes, types: readonly string[]): boolean {
  const results = (own: MimeTypes): string =>
    JSON.stringify([
      types.map((type) => [own.charset(type), own.contentType(type), own.extension(type)]),
      Object.keys(own.types).map((name) => [own.lookup(name), own.contentType(name)]),
      own,
    ])
  return results(one) === results(two)
}
