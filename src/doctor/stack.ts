/** What the stderr of a program says about its error, and the line that has to be corrected. */
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { shownLine } from './finding.ts'
import { textOf } from './processes.ts'

/** `file:///app.mjs:2` or `/app.cjs:2`, the source, and a caret: Node's report of a syntax error. */
const EXCERPT = /^\s*(?:file:\/\/)?(\/[^\n]*?):(\d+)\n([^\n]+)\n\s*\^/m

/** A frame of a stack in a file: `at f (file:///app.mjs:2:9)`. */
const FRAME = /^\s*at (?:.* \()?(?:file:\/\/)?(\/[^\n]*?):(\d+):\d+\)?\s*$/gm

/** Code that is not the application's own. */
const FOREIGN = /\/node_modules\/|\/dist\/src\/|\/bin\/portico\.cjs$/

/** The line of stderr that says what is wrong. */
export function errorIn(err: string): string {
  const lines = err
    .split('\n')
    .map((line) => line.trim())
    .filter(Boolean)
  const line =
    lines.find((each) => /^(?:Uncaught |\w+ \S+: )?(?:\w*Error|\w*Exception)\b/.test(each)) ??
    lines.find((each) => /Error|not found|cannot|denied/i.test(each)) ??
    lines[0]
  return shownLine(line ?? 'no reason is given')
}

/** `FILE:LINE` and its source; undefined if the text has no line of the application. */
export function placeIn(err: string): string | undefined {
  const excerpt = EXCERPT.exec(err)
  if (excerpt !== null && !FOREIGN.test(excerpt[1]!)) {
    return `${pathOf(excerpt[1]!)}:${excerpt[2]}: ${shownLine(excerpt[3]!.trim())}`
  }
  for (const [, file = '', line = ''] of err.matchAll(FRAME)) {
    if (FOREIGN.test(file)) continue
    const path = pathOf(file)
    const source = textOf(path).split('\n')[Number(line) - 1]?.trim()
    return `${path}:${line}${source ? `: ${shownLine(source)}` : ''}`
  }
  return undefined
}

/** Stacks of ES modules have URLs. */
function pathOf(file: string): string {
  try {
    return decodeURIComponent(file)
  } catch {
    return file
  }
}

/** What Node and `portico serve` write about a module or a package that is not there. */
const MISSING = /(?:Cannot find (?:module|package)|imports the package) ['"]([^'"]+)['"]/

/** The module or package that is not there, if the text names one. */
export function missingIn(err: string): string | undefined {
  return MISSING.exec(err)?.[1]
}

/** What to do about an error of the program in `file`. */
export function fixOf(err: string, file: string): string {
  const missing = missingIn(err)
  if (missing !== undefined) return installOf(missing, file)
  if (/Unknown file extension|outside a module|Cannot use import statement/.test(err)) {
    return `mv ${file} ${file.replace(/\.\w+$/, '')}.mjs # or use require() instead of import`
  }
  if (/ES module scope/.test(err)) {
    return `mv ${file} ${file.replace(/\.\w+$/, '')}.cjs # or use import instead of require()`
  }
  const place = placeIn(err)
  return place === undefined ? 'correct the application' : `correct ${place}`
}

/** The command that installs a package; for a path, the path has to be corrected. */
export function installOf(missing: string, file: string): string {
  if (/^(?:[./#]|file:)/.test(missing)) return `correct the path ${missing}, or create the file`
  const name = missing.split('/', missing.startsWith('@') ? 2 : 1).join('/')
  const directory = projectOf(dirname(file))
  if (directory === undefined) return `npm install ${name} # in ${dirname(file)}`
  return names(join(directory, 'package.json'), name)
    ? `npm ${textOf(join(directory, 'package-lock.json')) === '' ? 'install' : 'ci'} # in ${directory}`
    : `npm install ${name} # in ${directory}`
}

/** The nearest directory with a package.json. */
function projectOf(directory: string): string | undefined {
  if (textOf(join(directory, 'package.json')) !== '') return directory
  const parent = dirname(directory)
  return parent === directory ? undefined : projectOf(parent)
}

function names(manifest: string, name: string): boolean {
  try {
    const { dependencies, optionalDependencies, peerDependencies } = JSON.parse(
      readFileSync(manifest, 'utf8'),
    ) as Record<string, object | undefined>
    return [dependencies, optionalDependencies, peerDependencies].some(
      (each) => each !== undefined && name in each,
    )
  } catch {
    return false
  }
}
