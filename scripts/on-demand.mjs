import { dirname, relative, resolve } from 'node:path'

/** A rolldown plugin for portico.cjs: what it loads on demand is found in the package, by name. */
const MODULES = {
  '../bridge/from-node.ts': 'portico/node',
  '../bridge/from-fetch.ts': 'portico/fetch',
  '../validate/validator.ts': 'portico/validate',
}

/** The global Buffer is there without node:buffer, which Bun (1.4) loads in a millisecond. */
const BUFFER = '\0buffer'

export const onDemand = {
  name: 'on-demand',
  /** @param {string} source */
  resolveId(source) {
    if (source === 'node:buffer') return BUFFER
    const id = MODULES[source]
    return id === undefined ? undefined : { id, external: true }
  },
  /** @param {string} id */
  load(id) {
    return id === BUFFER ? 'export const { Buffer } = globalThis' : undefined
  },
}

/** What `portico serve` needs. */
const SERVERS = new Set(['./serve.ts', '../development/develop.ts', '../master/serve.ts'])

/**
 * For the file of the command: all that is imported on demand is a module beside it.
 *
 * @returns {{ plugin: object, found: Set<string> }} a rolldown plugin, and the sources that it found
 */
export function commandsOnDemand() {
  const found = new Set()
  const plugin = {
    name: 'commands-on-demand',
    /**
     * @param {string} source
     * @param {string | undefined} importer
     * @param {{ readonly kind: string }} how
     */
    resolveId(source, importer, { kind }) {
      if (kind !== 'dynamic-import' || SERVERS.has(source)) return undefined
      const file = resolve(dirname(importer ?? ''), source)
      found.add(relative('', file))
      const path = relative('src/command', file).replace(/\.ts$/, '.js')
      return { id: path.replace(/^(?!\.)/, './'), external: true }
    },
  }
  return { plugin, found }
}
