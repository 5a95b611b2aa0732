/** How the build divides the modules of src/ and handlers/ into files. */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'

const ENTRIES = readdirSync('src/exports').map((file) => file.replace(/\.ts$/, ''))

/** A declaration that loads a module: not a type, not on demand. */
const IMPORT = /^(?:import|export)\s(?!type\b)(?:[^'"();]*?from\s*)?['"]([^'"]+)['"]/gm

/** The files that an entry loads, and the modules of Node. */
function loadedBy(entry: string): { files: Set<string>; modulesOfNode: string[] } {
  const files = new Set([entry])
  const others = new Set<string>()
  for (const file of files) {
    for (const [, name] of readFileSync(file, 'utf8').matchAll(IMPORT)) {
      if (name!.startsWith('.')) files.add(join(dirname(file), name!))
      else others.add(name!)
    }
  }
  return { files, modulesOfNode: [...others].filter((name) => name.startsWith('node:')) }
}

/** Node has loaded these before a program starts. */
const ALWAYS_LOADED = ['node:buffer', 'node:fs', 'node:path', 'node:url']

test.each(ENTRIES)('The built entry %s loads no module of Node that its sources do not', (name) => {
  const source = loadedBy(`src/exports/${name}.ts`)
  const built = loadedBy(`dist/src/exports/${name}.js`)
  const needed = new Set([...source.modulesOfNode, ...ALWAYS_LOADED])
  expect(built.modulesOfNode.filter((module) => !needed.has(module))).toStrictEqual([])
  expect(built.files.size).toBeLessThan(25)
})

test('Each module of the sources is in one file of the build', () => {
  const where = new Map<string, string[]>()
  for (const directory of ['dist/src', 'dist/handlers']) {
    for (const name of readdirSync(directory, { recursive: true, encoding: 'utf8' })) {
      if (!name.endsWith('.js')) continue
      const file = join(directory, name)
      for (const [, module] of readFileSync(file, 'utf8').matchAll(
        /^\/\/ ((?:src|handlers)\/.+)$/gm,
      )) {
        where.set(module!, [...(where.get(module!) ?? []), file])
      }
    }
  }
  expect(where.size).toBeGreaterThan(300)
  expect([...where].filter(([, files]) => files.length > 1)).toStrictEqual([])
})

test('No two files of the build import each other, directly or through others', () => {
  const chunks = readdirSync('dist/src/chunks').map((name) => join('dist/src/chunks', name))
  const importers = chunks.filter((chunk) => {
    const imported = [...loadedBy(chunk).files].filter((file) => file !== chunk)
    return imported.some((file) => loadedBy(file).files.has(chunk))
  })
  expect(importers).toStrictEqual([])
})
