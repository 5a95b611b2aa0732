/** Node's own modules, where they cost nothing because this process has loaded them. */

/** `node:diagnostics_channel`, if it is loaded: on Node 20 a process need not have it. */
export function loadedDiagnostics(): typeof import('node:diagnostics_channel') | undefined {
  const { moduleLoadList } = process as { moduleLoadList?: readonly string[] }
  if (!moduleLoadList?.includes('NativeModule diagnostics_channel')) return undefined
  return process.getBuiltinModule('node:diagnostics_channel')
}
