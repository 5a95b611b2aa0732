/** Describes why an application does not load. */
import { execFileSync } from 'node:child_process'
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
  if (error instanceof SyntaxError && !/^(?:file:|\/|[A-Z]:\\)/.test(error.stack ?? '')) {
    return whereSyntaxFails(file) ?? inspect(error)
  }
  return inspect(error)
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
