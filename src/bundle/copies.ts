/** The files that are copied beside a bundle, and what may be wrong with them. */
import { cpSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { isBuiltin } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import { ConfigurationError } from '../errors.ts'
import { SCRIPT } from './bundlers.ts'
import type { Findings } from './sources.ts'

/** What a script loads. */
const LOADED = /(?:\bfrom\s*|\bimport\s*\(?\s*|\brequire\(\s*)(['"])([^'"\n]+)\1/g

/** Copies what the program reads; returns a line for each. */
export function copyAssets(from: string, to: string, assets: ReadonlySet<string>): string[] {
  const copied: string[] = []
  for (const name of assets) {
    if (from !== to) cpSync(join(from, name), join(to, name), { recursive: true })
    const isDirectory = statSync(join(from, name)).isDirectory()
    const files = isDirectory ? readdirSync(join(from, name), { recursive: true }).length : 1
    copied.push(isDirectory ? `${name}/ (${files} files)` : name)
  }
  return copied
}

/** @throws {ConfigurationError} if a directory would be copied into itself. */
export function refuseCopies(output: string, base: string, assets: ReadonlySet<string>): void {
  const to = dirname(resolve(output))
  if (to === base) return
  const around = [...assets].find((name) => `${to}/`.startsWith(`${join(base, name)}/`))
  if (around === undefined) return
  throw new ConfigurationError(
    `-o ${output} is inside ${around}, which the program reads and which has to be copied beside the bundle. ` +
      'Write the bundle into a directory of its own: -o site/app.cgi',
  )
}

/** What may be missing in the bundle, or beside it. */
export function warningsOf(findings: Findings, base: string, bundler: string): string[] {
  const copied = [...findings.assets].flatMap((name) =>
    statSync(join(base, name)).isDirectory()
      ? readdirSync(join(base, name), { recursive: true, encoding: 'utf8' }).map((each) =>
          join(name, each),
        )
      : name,
  )
  const all = new Set(copied)
  return [
    ...[...findings.addons].map(
      (name) =>
        `${name} loads a native addon, which is not in the bundle. If the program uses it, keep it outside ` +
        `with --external ${name} and upload its node_modules`,
    ),
    ...[...findings.readers].map(
      (name) =>
        `${name} reads its own files, which are not in the bundle: test it without node_modules`,
    ),
    // esbuild takes all files that such a name can mean, if it begins with a directory and has an extension.
    ...[...findings.variables]
      .filter((where) => bundler !== 'esbuild' || !/\([`'"]\.{1,2}\/[^]*\.\w+[`'"]/.test(where))
      .map((where) => `${where}, a module that may not be in the bundle. Write its name out`),
    ...[...findings.unclear].map(
      (what) => `${what}: upload what it needs, and test the bundle in an empty directory`,
    ),
    ...[...findings.settings].map(
      (name) =>
        `${name} is not copied, because the web server could send it to anyone. Set its variables in the ` +
        'web server, or upload it and forbid access to it',
    ),
    ...copied.map((name) => faultOfCopy(base, name, all)).filter((fault) => fault !== undefined),
  ]
}

/**
 * Why a script that is copied beside the bundle, as that of a worker, may not run there; undefined if nothing is wrong.
 *
 * @param assets what is copied.
 */
function faultOfCopy(base: string, name: string, assets: ReadonlySet<string>): string | undefined {
  if (!SCRIPT.test(name)) return undefined
  const text = readFileSync(join(base, name), 'utf8')
  const missing = [...text.matchAll(LOADED)]
    .map(([, , specifier]) => specifier!)
    .filter((specifier) => !isBuiltin(specifier))
    .filter((specifier) => !assets.has(join(dirname(name), specifier)))
  if (missing.length > 0) {
    return `${name} is copied as it is, without what it loads: ${[...new Set(missing)].join(', ')}`
  }
  return name.endsWith('ts')
    ? `${name} is copied as it is: TypeScript, which Node 20 cannot run`
    : undefined
}
