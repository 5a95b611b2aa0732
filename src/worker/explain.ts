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
 * Where a syntax error is. For an ES module that was imported dynamically Node names neither the
 * file nor the line, except when the error ends the process. So other processes look for it: one
 * parses only this file; the other one links it with its imports, which runs nothing of them.
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
