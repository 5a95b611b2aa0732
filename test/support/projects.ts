/** Sorts the test files into the vitest projects, by what they use. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

export type Project = 'unit' | 'gateways' | 'servers' | 'slow'

/** Packages from npm, and measurements of memory and time. */
const SLOW = new Set([
  'test/exports/published.test.ts',
  'test/forms/limits.test.ts',
  'test/hostile/memory.test.ts',
])

/** What a test file or its helpers contain when they use sockets, processes or the build. */
const SOCKETS_OR_PROCESSES =
  /^(?!import type).*'node:(?:child_process|http|net)'|\bcgiClient\b|\brequestCgi\b|'dist\//m

/** The test files of a project, as vitest's `include`. */
export function filesOf(project: Project): string[] {
  return readdirSync('test', { recursive: true, encoding: 'utf8' })
    .map((name) => join('test', name))
    .filter((file) => file.endsWith('.test.ts') && projectOf(file) === project)
}

/**
 * A file that starts web servers or a browser belongs to `servers`, one that uses sockets, other
 * processes or the build to `gateways`. The rest is `unit`.
 */
function projectOf(file: string): Project {
  if (SLOW.has(file)) return 'slow'
  const sources = withHelpers(file)
  if ([...sources.keys()].some((path) => /^test\/(servers|browser)\//.test(path))) return 'servers'
  return [...sources.values()].some((text) => SOCKETS_OR_PROCESSES.test(text)) ? 'gateways' : 'unit'
}

/** The text of a test file and of everything in test/ that it imports, by path. */
function withHelpers(file: string, sources = new Map<string, string>()): Map<string, string> {
  if (sources.has(file)) return sources
  const text = readFileSync(file, 'utf8')
  sources.set(file, text)
  for (const [, path] of text.matchAll(/(?:from|import)\s*\(?'(\.[^']+\.ts)'/g)) {
    const helper = join(dirname(file), path!)
    if (helper.startsWith('test/') && existsSync(helper)) withHelpers(helper, sources)
  }
  return sources
}
