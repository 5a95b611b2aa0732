/**
 * The bundlers that `portico bundle` can use: esbuild or rolldown, whichever the project has. Both
 * take the same plugin: a text for some modules, and a check of others.
 */
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { ConfigurationError } from '../errors.ts'

export interface BundleRequest {
  /** The text of the entry, and the directory for its imports. */
  readonly entry: string
  readonly directory: string
  readonly format: 'cjs' | 'esm'
  /** Package names that stay outside. */
  readonly external: readonly string[]
  /** Names of the language level: 'node20'. */
  readonly target: string
  /** Free names, and the names to replace them with. */
  readonly names: Readonly<Record<string, string>>
  /** Text before the program. */
  readonly banner: string
  /** Called for each JavaScript or TypeScript file with its text; returns the text to use. */
  readonly transform: (path: string, text: string) => string
  /** Called for each file with one of these endings. Throws, or returns JavaScript. */
  readonly assets: { readonly filter: RegExp; readonly load: (path: string) => string }
  /** Called for each JSON file with its text. Returns JavaScript, or undefined to leave it as it is. */
  readonly json: (path: string, text: string) => string | undefined
}

export interface Bundled {
  readonly code: string
  /** Bytes of the program that come from each file. */
  readonly sizes: ReadonlyMap<string, number>
}

export interface Bundler {
  readonly name: string
  bundle(request: BundleRequest): Promise<Bundled>
}

const NAMES = ['esbuild', 'rolldown'] as const
export type BundlerName = (typeof NAMES)[number]

/**
 * The bundler of the project in `directory`.
 *
 * @throws {ConfigurationError} if neither is installed; the message says what to install.
 */
export async function findBundler(directory: string, name?: BundlerName): Promise<Bundler> {
  const tried = name === undefined ? NAMES : [name]
  for (const from of [join(directory, 'x'), import.meta.url]) {
    for (const each of tried) {
      let path: string
      try {
        path = createRequire(from).resolve(each)
      } catch {
        continue
      }
      const module = (await import(path)) as { default?: unknown }
      return BUNDLERS[each](module.default ?? module)
    }
  }
  throw new ConfigurationError(
    `bundle needs ${tried.join(' or ')}, which ${tried.length === 1 ? 'is' : 'are'} not installed ` +
      `in ${directory}. Run: npm install --save-dev ${tried[0]}`,
  )
}

const BUNDLERS: Readonly<Record<BundlerName, (module: unknown) => Bundler>> = {
  esbuild: (module) => ({ name: 'esbuild', bundle: (request) => byEsbuild(module, request) }),
  rolldown: (module) => ({ name: 'rolldown', bundle: (request) => byRolldown(module, request) }),
}

/** The names of scripts. */
export const SCRIPT = /\.[cm]?[jt]sx?$/
const JSON_FILE = /\.json$/

/** The part of esbuild's interface that is used. */
interface Esbuild {
  build(options: object): Promise<{
    outputFiles: { text: string }[]
    metafile: { outputs: Record<string, { inputs: Record<string, { bytesInOutput: number }> }> }
  }>
}

interface Importing {
  readonly path: string
  readonly importer: string
  readonly kind: string
  readonly resolveDir: string
  readonly pluginData?: unknown
}

interface EsbuildHooks {
  onResolve(
    options: { filter: RegExp },
    resolve: (importing: Importing) => Promise<{ path: string; external: boolean } | undefined>,
  ): void
  resolve(
    path: string,
    options: { kind: string; importer: string; resolveDir: string; pluginData: unknown },
  ): Promise<{ errors: readonly object[] }>
  onLoad(
    options: { filter: RegExp },
    load: (file: { path: string }) => Promise<{ contents: string; loader: string } | undefined>,
  ): void
}

/** Marks what the plugin itself asks esbuild to resolve. */
const asked = {}

async function byEsbuild(module: unknown, request: BundleRequest): Promise<Bundled> {
  const esbuild = module as Esbuild
  const { readFile } = await import('node:fs/promises')
  const plugin = {
    name: 'portico',
    setup(hooks: EsbuildHooks) {
      // An optional dependency that is not installed, such as class-validator for NestJS, stays outside.
      // As without a bundle, the program fails only when it needs that package.
      hooks.onResolve(
        { filter: /^[@\w]/ },
        async ({ path, importer, kind, resolveDir, pluginData }) => {
          const optional = kind === 'dynamic-import' || kind === 'require-call'
          if (pluginData === asked || !optional || !/[/\\]node_modules[/\\]/.test(importer))
            return undefined
          const { errors } = await hooks.resolve(path, {
            kind,
            importer,
            resolveDir,
            pluginData: asked,
          })
          return errors.length > 0 ? { path, external: true } : undefined
        },
      )
      hooks.onLoad({ filter: request.assets.filter }, async ({ path }) => ({
        contents: request.assets.load(path),
        loader: 'js',
      }))
      hooks.onLoad({ filter: JSON_FILE }, async ({ path }) => {
        const contents = request.json(path, await readFile(path, 'utf8'))
        return contents === undefined ? undefined : { contents, loader: 'js' }
      })
      hooks.onLoad({ filter: SCRIPT }, async ({ path }) => {
        const text = await readFile(path, 'utf8')
        const contents = request.transform(path, text)
        if (contents === text) return undefined
        const extension = /[^.]*$/.exec(path)![0]
        return { contents, loader: extension.replace(/^[cm]/, '') }
      })
    },
  }
  const result = await esbuild.build({
    stdin: {
      contents: request.entry,
      resolveDir: request.directory,
      sourcefile: 'portico:entry',
      loader: 'js',
    },
    absWorkingDir: request.directory,
    bundle: true,
    write: false,
    metafile: true,
    platform: 'node',
    format: request.format,
    target: request.target,
    external: request.external,
    define: request.names,
    banner: { js: request.banner },
    // Names stay, because stack traces show them and some frameworks read them.
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: 'none',
    logLevel: 'silent',
    plugins: [plugin],
  })
  const sizes = new Map<string, number>()
  for (const { inputs } of Object.values(result.metafile.outputs)) {
    for (const [path, { bytesInOutput }] of Object.entries(inputs)) {
      sizes.set(join(request.directory, path), bytesInOutput)
    }
  }
  return { code: result.outputFiles[0]!.text, sizes }
}

/** The part of rolldown's interface that is used. */
interface Rolldown {
  rolldown(options: object): Promise<{
    generate(options: object): Promise<{
      output: { code: string; modules: Record<string, { renderedLength: number }> }[]
    }>
    close(): Promise<void>
  }>
}

interface RolldownContext {
  resolve(id: string, importer: string, options: object): Promise<object | null>
}

const ENTRY = '\0portico:entry'

async function byRolldown(module: unknown, request: BundleRequest): Promise<Bundled> {
  const plugin = {
    name: 'portico',
    async resolveId(
      this: RolldownContext,
      id: string,
      importer: string | undefined,
      { kind }: { kind?: string },
    ): Promise<object | string | null | undefined> {
      if (id === ENTRY) return id
      // rolldown leaves what it does not find outside, also what no program can do without.
      if (kind !== 'import-statement' || !importer || /[/\\]node_modules[/\\]/.test(importer)) {
        return undefined
      }
      const found = await this.resolve(id, importer, { kind, skipSelf: true })
      if (found) return found
      throw new ConfigurationError(`${importer} imports ${id}, which is not installed`)
    },
    load(id: string): string | undefined {
      if (id === ENTRY) return request.entry
      return request.assets.filter.test(id) ? request.assets.load(id) : undefined
    },
    transform(text: string, id: string): object | string | undefined {
      if (JSON_FILE.test(id)) {
        const code = request.json(id, text)
        return code === undefined ? undefined : { code, moduleType: 'js' }
      }
      if (!SCRIPT.test(id) || id === ENTRY) return undefined
      const changed = request.transform(id, text)
      return changed === text ? undefined : changed
    },
  }
  const build = await (module as Rolldown).rolldown({
    input: ENTRY,
    cwd: request.directory,
    platform: 'node',
    external: request.external.map((name) => (name === 'bun:*' ? /^bun:/ : name)),
    logLevel: 'silent',
    transform: { target: request.target, define: request.names },
    plugins: [plugin],
  })
  try {
    const { output } = await build.generate({
      format: request.format,
      banner: request.banner,
      codeSplitting: false,
      comments: false,
      charset: 'ascii', // As esbuild does by itself.
      minify: { compress: true, mangle: false, codegen: { removeWhitespace: true } },
    })
    const [chunk] = output
    const sizes = new Map(
      Object.entries(chunk!.modules).map(([path, { renderedLength }]) => [path, renderedLength]),
    )
    return { code: chunk!.code, sizes }
  } finally {
    await build.close()
  }
}
