/**
 * The ES modules of the package. The public entries and the programs keep their paths below `src/`;
 * all else is in a few files, `src/chunks/*.js`. Node takes about a millisecond to load a file, and
 * the sources of `import 'portico'` are 112 files.
 *
 * All entries are built together, so that a module is in one file only. The state of the process,
 * such as the application that is being loaded, would exist twice otherwise.
 *
 * A module that needs another file (`import.meta.url`) names it from the directory above its own:
 * `new URL('../worker/main.js', import.meta.url)`. That is right in `src/chunks/` also.
 */
import { readdirSync } from 'node:fs'
import { resolve } from 'node:path'
import { rolldown } from 'rolldown'

const publicEntry = (name) => `src/exports/${name}.ts`
const handler = (name) => `handlers/${name}.ts`

const ENTRIES = [
  ...readdirSync('src/exports').map((file) => `src/exports/${file}`),
  // Programs that Portico starts.
  'src/worker/main.ts',
  'src/worker/watchdog-thread.ts',
  'src/comparison/cgi-child.ts',
  // Modules that `portico bundle` puts beside an application.
  'src/bundle/run-cgi.ts',
  'src/bundle/run-fcgi.ts',
  'src/bundle/run-resident.ts',
  'src/bundle/capture-listen.ts',
  // For this build, bench/ and test/suites/.
  'src/bundle/code-cache.ts',
  'src/protocol/fastcgi-web-server.ts',
  'src/servers/apache-instance.ts',
  ...['cgi', 'fastcgi', 'http', 'scgi'].map(handler),
]

/**
 * Writes the modules into the directory `out`.
 *
 * @param {string} out
 * @param {readonly string[]} commands the modules that the command imports on demand
 */
export async function writeModules(out, commands) {
  const entries = [...new Set([...ENTRIES, ...commands])]
  /** The chunk of each module. One that is not here is where rolldown puts it. */
  let chunks = new Map()
  const divide = {
    name: 'divide-into-chunks',
    buildEnd() {
      chunks = divideIntoChunks(this, commands)
    },
  }
  const bundle = await rolldown({
    input: Object.fromEntries(entries.map((entry) => [entry.replace(/\.ts$/, ''), entry])),
    platform: 'node',
    logLevel: 'warn',
    external: /^(?![./])/,
    preserveEntrySignatures: 'allow-extension',
    plugins: [divide],
  })
  await bundle.write({
    dir: out,
    format: 'esm',
    entryFileNames: '[name].js',
    chunkFileNames: 'src/chunks/[name].js',
    comments: false,
    minify: false,
    minifyInternalExports: false,
    codeSplitting: {
      includeDependenciesRecursively: false,
      groups: [{ debugName: 'chunks', name: (id) => chunks.get(id) ?? null }],
    },
  })
  await bundle.close()
}

/**
 * A module belongs to the first of these sets that contains it. What a module imports is in the same
 * set or in one before it, so no two chunks import each other. The sets are chosen so that an entry
 * loads no module of Node that it does not need: `portico/cgi` does not load `node:net`.
 */
function divideIntoChunks(context, commands) {
  const [auto, cgi, fastcgi, fetch, forms, http, middleware, scgi, testing, validate] = [
    'auto',
    'cgi',
    'fastcgi',
    'fetch',
    'forms',
    'http',
    'middleware',
    'scgi',
    'testing',
    'validate',
  ].map((name) => withImports(publicEntry(name)))
  const fromNode = withImports('src/bridge/from-node.ts')
  const fromFetch = withImports('src/bridge/from-fetch.ts')
  const worker = withImports('src/worker/main.ts')
  const servers = union(both(fastcgi, scgi), both(fastcgi, http), both(scgi, http))
  const clients = both(withImports('src/command/request.ts'), testing)
  const sets = {
    core: union(
      both(cgi, union(auto, fastcgi, middleware)),
      withImports('src/application/host.ts'),
      withImports('src/application/load.ts'),
    ),
    options: both(auto, union(fetch, forms, middleware)),
    gateways: both(auto, fastcgi),
    cgi: withImports(handler('cgi')),
    auto: withImports(handler('auto')),
    addresses: both(middleware, servers),
    adapted: both(fetch, http),
    // src/worker/with-source.ts knows the name.
    'load-hosted': withImports('src/application/load-hosted.ts'),
    listen: both(worker, servers),
    server: servers,
    fastcgi: withImports(handler('fastcgi')),
    scgi: withImports(handler('scgi')),
    http: withImports(handler('http')),
    wsgiref: both(validate, union(fetch, middleware)),
    bridge: both(fromNode, fromFetch),
    'from-node': fromNode,
    'from-fetch': fromFetch,
    validator: withImports('src/validate/validator.ts'),
    clients: new Set([...clients].filter((id) => !worker.has(id) && !middleware.has(id))),
    command: shared(commands.map(withImports)),
  }
  const chunks = new Map()
  for (const [name, ids] of Object.entries(sets)) {
    for (const id of ids) if (!chunks.has(id)) chunks.set(id, name)
  }
  return chunks

  /** A module with all that it imports, but not on demand. */
  function withImports(entry) {
    const found = new Set([resolve(entry)])
    // A set also iterates over what is added meanwhile.
    for (const id of found) {
      for (const imported of context.getModuleInfo(id)?.importedIds ?? []) found.add(imported)
    }
    return found
  }
}

function both(a, b) {
  return new Set([...a].filter((id) => b.has(id)))
}

function union(...sets) {
  const all = new Set()
  for (const set of sets) for (const id of set) all.add(id)
  return all
}

/** What is in two of the sets, or in more. */
function shared(sets) {
  return union(...sets.flatMap((a, at) => sets.slice(at + 1).map((b) => both(a, b))))
}
