/** Builds the package before the tests that load dist/, once in a run, and only if it is stale. */
import { execFileSync } from 'node:child_process'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'

const SOURCES = ['src', 'handlers', 'scripts', 'tsconfig.json', 'package-lock.json']

// Each vitest project that needs the build loads its own copy of this file.
const built = Symbol.for('portico.test.built')
const state = globalThis as { [built]?: true }

export function setup(): void {
  if (state[built]) return
  state[built] = true
  if (!isFresh()) execFileSync(process.execPath, ['scripts/build.mjs'], { stdio: 'inherit' })
}

/** Whether the last build began after the last change. */
function isFresh(): boolean {
  // The build writes this file last, with the time at which it began.
  const stamp = statSync('dist/commonjs/package.json', { throwIfNoEntry: false })
  const script = statSync('cgi-bin/portico.cjs', { throwIfNoEntry: false })
  if (stamp === undefined || script === undefined) return false
  return SOURCES.every((path) => newest(path) < stamp.mtimeMs)
}

/** A directory's own time changes when a file in it is removed or renamed. */
function newest(path: string): number {
  const status = statSync(path)
  const names = status.isDirectory() ? readdirSync(path) : []
  return Math.max(status.mtimeMs, ...names.map((name) => newest(join(path, name))))
}
