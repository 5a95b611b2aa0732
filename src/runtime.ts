/** Which runtime this is, and what is expensive to load in one. */

export type Runtime = 'node' | 'bun' | 'deno'

export const RUNTIME: Runtime = runtimeOf(process.versions)

/** Bun and Deno also have `versions.node`: the version of Node that they imitate. */
export function runtimeOf(versions: NodeJS.ProcessVersions): Runtime {
  if (versions['bun'] !== undefined) return 'bun'
  return versions['deno'] === undefined ? 'node' : 'deno'
}

let fs: typeof import('node:fs') | undefined

/** node:fs on demand: an import of it takes Bun (1.4) a fifth of the start of `node empty.js`. */
export function nodeFs(): typeof import('node:fs') {
  return (fs ??= process.getBuiltinModule('node:fs'))
}
