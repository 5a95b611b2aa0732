/** Finds the file of the application. */
import { readFileSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'

const NAMES = ['app', 'server', 'index'] as const
const EXTENSIONS = ['ts', 'mts', 'mjs', 'js', 'cjs'] as const

/** A file, or one line that says why it is missing. */
export type Entry = { readonly file: string } | { readonly missing: string }

/**
 * The file to serve, as an absolute path in which symbolic links are not resolved. Without a name,
 * or for a directory, it is app, server or index with an extension of JavaScript or TypeScript, or
 * else `main` of package.json.
 *
 * @param directory the working directory.
 * @param command the command that needs the file, for the message.
 */
export function findEntry(directory: string, given: string | undefined, command = 'serve'): Entry {
  const path = resolve(directory, given ?? '.')
  const kind = kindOf(path)
  if (kind === 'file') return { file: path }
  if (kind === 'other') return { missing: `${given} is not a file` }
  if (kind === 'directory') {
    const found = inDirectory(path)
    if (found !== undefined) return { file: found }
    const where = given === undefined ? 'in this directory' : `in ${given}`
    return {
      missing:
        `no application ${where}. Name its file: portico ${command} FILE. ` +
        `(Tried ${NAMES.join(', ')} with .${EXTENSIONS.join(', .')}, and "main" of package.json)`,
    }
  }
  // `portico serve app` means app.js, as for `node app`.
  const extension = EXTENSIONS.find((each) => kindOf(`${path}.${each}`) === 'file')
  if (extension !== undefined) return { file: `${path}.${extension}` }
  return { missing: `no such file: ${given}` }
}

function inDirectory(directory: string): string | undefined {
  for (const name of NAMES) {
    for (const extension of EXTENSIONS) {
      const file = join(directory, `${name}.${extension}`)
      if (kindOf(file) === 'file') return file
    }
  }
  const main = mainOf(join(directory, 'package.json'))
  const file = main === undefined ? undefined : resolve(directory, main)
  return file !== undefined && kindOf(file) === 'file' ? file : undefined
}

function mainOf(path: string): string | undefined {
  try {
    const { main } = JSON.parse(readFileSync(path, 'utf8')) as { readonly main?: unknown }
    return typeof main === 'string' ? main : undefined
  } catch {
    return undefined
  }
}

function kindOf(path: string): 'file' | 'directory' | 'other' | 'missing' {
  const status = statSync(path, { throwIfNoEntry: false })
  if (status === undefined) return 'missing'
  if (status.isDirectory()) return 'directory'
  return status.isFile() ? 'file' : 'other'
}

/**
 * The working directory as the shell entered it. `process.cwd()` has symbolic links resolved, so
 * that a reload after `ln -sfn releases/2 current` would run the old release.
 */
export function logicalDirectory(env: NodeJS.ProcessEnv = process.env): string {
  const cwd = process.cwd()
  const { PWD: logical } = env
  if (logical === undefined || !logical.startsWith('/')) return cwd
  const there = statSync(logical, { throwIfNoEntry: false })
  const here = statSync(cwd)
  return there !== undefined && there.ino === here.ino && there.dev === here.dev ? logical : cwd
}
