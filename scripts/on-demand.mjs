/** A rolldown plugin for portico.cjs: what it loads on demand is found in the package, by name. */
const MODULES = {
  '../bridge/from-node.ts': 'portico/node',
  '../bridge/from-fetch.ts': 'portico/fetch',
  '../validate/validator.ts': 'portico/validate',
}

export const onDemand = {
  name: 'on-demand',
  /** @param {string} source */
  resolveId(source) {
    const id = MODULES[source]
    return id === undefined ? undefined : { id, external: true }
  },
}
