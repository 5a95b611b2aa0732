/** Describes why an application does not load. */
import { execFileSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { inspect } from 'node:util'
import { ConfigurationError } from '../errors.ts'

/** Milliseconds for another process to find the line of a syntax error. */
const SEARCH_TIME = 5_000

/**
 * The error as text: one line for a mistake in the configuration, otherwise the stack.
 *
 * @param file the application's file.
 */
export function explain(error: unknown, file: string): string {
  if (error instanceof ConfigurationError) return error.message
  const line = needsTsx(error) ?? whyUnreadable(error, file)
  if (line !== undefined) return line
  if (error instanceof SyntaxError && !/^(?:file:|\/|[A-Z]:\\)/.test(error.stack ?? '')) {
    return whereSyntaxFails(file) ?? inspect(error)
  }
  return inspect(error)
}

/** Why the file itself cannot be imported: it is gone, or this user may not read it. */
function whyUnreadable(error: unknown, file: string): string | undefined {
  const { code, url, path } = (error ?? {}) as NodeJS.ErrnoException & { readonly url?: string }
  if (code === 'ERR_MODULE_NOT_FOUND' && url === pathToFileURL(file).href) {
    return `${file} does not exist, or ${thisUser()} may not enter its directory`
  }
  return code === 'EACCES' && path === file ? `${file}: ${thisUser()} may not read it` : undefined
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
