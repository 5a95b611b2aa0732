/** Describes why an application does not load. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { inspect } from 'node:util'
import { ConfigurationError } from '../errors.ts'
import { withoutLoader } from './with-source.ts'

/** Milliseconds for another process to find the line of a syntax error. */
const SEARCH_TIME = 5_000

/**
 * The error as text: one line for a mistake in the configuration, otherwise the stack.
 *
 * @param file the application's file.
 */
export function explain(error: unknown, file: string): string {
  if (error instanceof ConfigurationError) return error.message
  const line = needsTsx(error) ?? whyUnreadable(error, file) ?? whyNotInstalled(error)
  if (line !== undefined) return line
  if (error instanceof SyntaxError && !/^(?:file:|\/|[A-Z]:\\)/.test(error.stack ?? '')) {
    return whereSyntaxFails(file) ?? withoutLoader(inspect(error))
  }
  return withoutLoader(inspect(error))
}

/** Why the file itself cannot be imported: it is gone, or this user may not read it. */
function whyUnreadable(error: unknown, file: string): string | undefined {
  const { code, url, path } = (error ?? {}) as NodeJS.ErrnoException & { readonly url?: string }
  if (code === 'ERR_MODULE_NOT_FOUND' && url === pathToFileURL(file).href) {
    return `${file} does not exist, or ${thisUser()} may not enter its directory`
  }
  return code === 'EACCES' && path === file ? `${file}: ${thisUser()} may not read it` : undefined
}

/** Which package is missing, and where it is imported. */
function whyNotInstalled(error: unknown): string | undefined {
  const {
    code,
    message = '',
    requireStack,
  } = (error ?? {}) as Partial<NodeJS.ErrnoException> & {
    readonly requireStack?: readonly string[]
  }
  const [, name, importer = requireStack?.[0]] =
    code === 'ERR_MODULE_NOT_FOUND'
      ? (/^Cannot find package '([^']+)' imported from (.+)$/m.exec(message) ?? [])
      : code === 'MODULE_NOT_FOUND'
        ? (/^Cannot find module '([^']+)'/.exec(message) ?? [])
        : []
  const [installed] = /^(?:@[\w.-]+\/)?[\w-][\w.-]*/.exec(name ?? '') ?? []
  if (installed === undefined || importer === undefined) return undefined
  const where = `${importer}${lineWith(importer, name!)}`
  return `${where} imports the package '${installed}', which is not installed: npm install ${installed}`
}

/** ':12' for the first line of a file that has `name` in quotes; empty if none has. */
function lineWith(file: string, name: string): string {
  try {
    const lines = readFileSync(file, 'utf8').split('\n')
    const index = lines.findIndex((line) => quotes(line, name))
    return index < 0 ? '' : `:${index + 1}`
  } catch {
    return ''
  }
}

/** Whether a line has `name`, or a path below it, in quotes. */
function quotes(line: string, name: string): boolean {
  return ['"', "'", '`'].some((mark) =>
    [mark, '/'].some((end) => line.includes(`${mark}${name}${end}`)),
  )
}

function thisUser(): string {
  const id = process.getuid?.()
  return id === undefined ? 'this user' : `the user of this process (uid ${id})`
}

/**
 * For an error about TypeScript that this Node does not run by itself: what to install.
 *
 * @param error what importing the application has thrown.
 */
export function needsTsx(error: unknown): string | undefined {
  const { code, message = '', stack = '' } = (error ?? {}) as Partial<NodeJS.ErrnoException>
  if ((process.features as { readonly typescript?: unknown }).typescript) return undefined
  const [, file] =
    code === 'ERR_UNKNOWN_FILE_EXTENSION'
      ? (/"\.[cm]?ts" for (.+)$/.exec(message) ?? [])
      : error instanceof SyntaxError
        ? // `require()` reads it as JavaScript.
          (/^(\/.+\.[cm]?ts):\d+$/m.exec(stack) ?? [])
        : []
  return file === undefined ? undefined : tsxText(file)
}

/** One line for a file that needs tsx. */
export function tsxText(file: string): string {
  return (
    `${file} is TypeScript, which Node ${process.versions.node} cannot run by itself. ` +
    (hasTsx(file)
      ? "Load the project's tsx: NODE_OPTIONS='--import tsx' portico serve FILE"
      : 'Install tsx in the project (npm install --save-dev tsx), or use Node 22.18 or later')
  )
}

function hasTsx(file: string): boolean {
  try {
    createRequire(pathToFileURL(file)).resolve('tsx')
    return true
  } catch {
    return false
  }
}

/**
 * The location of a syntax error. For a dynamically imported ES module, Node names neither the file
 * nor the line, unless the error ends the process. So other processes look for it: one parses only
 * this file, and the other one links it with its imports, without running them.
 */
function whereSyntaxFails(file: string): string | undefined {
  const { href } = pathToFileURL(file)
  const attempts = [
    ['--check', file],
    ['--input-type=module', '--eval', `import ${JSON.stringify(href)}`],
  ]
  for (const attempt of attempts) {
    try {
      execFileSync(process.execPath, [...process.execArgv, ...attempt], {
        stdio: ['ignore', 'ignore', 'pipe'],
        timeout: SEARCH_TIME,
        encoding: 'utf8',
      })
    } catch (failure) {
      const { stderr } = failure as { readonly stderr?: string }
      // The frames are those of Node's loader.
      const text = stderr?.replace(/\n {4}at [^]*$/, '').trim()
      if (text?.includes('SyntaxError')) return text
    }
  }
  return undefined
}
