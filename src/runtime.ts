/** Which runtime this is. */

export type Runtime = 'node' | 'bun' | 'deno'

export const RUNTIME: Runtime = runtimeOf(process.versions)

/** Bun and Deno also have `versions.node`: the version of Node that they imitate. */
export function runtimeOf(versions: NodeJS.ProcessVersions): Runtime {
  if (versions['bun'] !== undefined) return 'bun'
  return versions['deno'] === undefined ? 'node' : 'deno'
}
