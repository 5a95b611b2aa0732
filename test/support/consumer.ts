/** A project that has installed the built package, for tests of what its users get. */
import { execFile } from 'node:child_process'
import { mkdir, symlink, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { makeDirectory } from '../servers/process.ts'

/** Packages that examples import, and what `tsc` needs of Node. */
const DEPENDENCIES = ['@hono', '@types', 'fastify', 'hono', 'undici-types']

const COMPILER_OPTIONS = {
  target: 'es2022',
  module: 'nodenext',
  moduleResolution: 'nodenext',
  strict: true,
  noUncheckedIndexedAccess: true,
  allowImportingTsExtensions: true,
  rewriteRelativeImportExtensions: true,
  types: ['node'],
  rootDir: '.',
  outDir: 'out',
}

/** Makes the project's directory: an ES module package with a strict tsconfig.json. */
export async function makeConsumer(
  compilerOptions: Readonly<Record<string, unknown>> = {},
): Promise<string> {
  const directory = await makeDirectory('portico-consumer')
  const modules = join(directory, 'node_modules')
  await mkdir(modules)
  await symlink(resolve('.'), join(modules, 'portico'))
  for (const name of DEPENDENCIES) {
    await symlink(resolve('node_modules', name), join(modules, name))
  }
  await writeFile(join(directory, 'package.json'), '{ "type": "module" }')
  await writeFile(
    join(directory, 'tsconfig.json'),
    JSON.stringify({
      compilerOptions: { ...COMPILER_OPTIONS, ...compilerOptions },
      exclude: ['node_modules', 'out'],
    }),
  )
  return directory
}

/** Runs `tsc`; resolves to what it prints, which is nothing where all types are right. */
export async function compileConsumer(directory: string): Promise<string> {
  const compiler = resolve('node_modules/typescript/bin/tsc')
  return new Promise((done) => {
    execFile(
      process.execPath,
      [compiler, '-p', '.'],
      { cwd: directory },
      (_error, stdout, stderr) => done(stdout + stderr),
    )
  })
}
