/** `bundle`: an application as one executable file for a host without npm. */
import { Buffer } from 'node:buffer'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { stripVTControlCharacters } from 'node:util'
import { ConfigurationError } from '../errors.ts'
import { type Bundled, type BundlerName, type BundleRequest, findBundler } from './bundlers.ts'
import { forBun, withCodeCache } from './code-cache.ts'
import { DataFiles } from './data.ts'
import {
  BANNER,
  BINARIES,
  type Findings,
  noFindings,
  OWN_NAMES,
  packageOf,
  refuseBinary,
  REQUIRE,
  transform,
} from './sources.ts'
import { copyAssets, refuseCopies, warningsOf } from './copies.ts'
import { residentFile } from './front.ts'

export type BundleTarget = 'node20' | 'node22' | 'node24' | 'bun'

export interface BundleOptions {
  readonly file: string
  readonly output: string
  readonly kind: 'cgi' | 'resident' | 'fcgi'
  readonly target?: BundleTarget | undefined
  readonly bundler?: BundlerName | undefined
  /** Packages that stay outside, to be uploaded beside the file. */
  readonly external?: readonly string[] | undefined
  /** The runtime's path on the host; default: `node` or `bun`, found in PATH. */
  readonly runtime?: string | undefined
  readonly resident?: ResidentOptions | undefined
}

export interface ResidentOptions {
  /** Seconds without a request after which the process ends. */
  readonly idle?: number | undefined
  /** MiB of V8's heap. */
  readonly memory?: number | undefined
  /** Variables that the process keeps from the request that starts it. */
  readonly environment?: readonly string[] | undefined
  /** A script of `sh` in place of Perl. */
  readonly shell?: boolean | undefined
}

export interface BundleReport {
  readonly output: string
  readonly bytes: number
  readonly bundler: string
  /** Whether the file contains an ES module, which starts slower and has no code cache. */
  readonly esm: boolean
  /** Bytes by package, the largest first; '' is the project. */
  readonly packages: readonly (readonly [name: string, bytes: number])[]
  /** What was copied beside the file. */
  readonly copied: readonly string[]
  readonly warnings: readonly string[]
}

/**
 * The defaults. `idle` is in seconds: shared hosts end idle processes after minutes. `memory` is in
 * MiB: hosts often allow 1 GiB for all processes of a user.
 */
export const DEFAULTS = { target: 'node20', idle: 180, memory: 192 } as const
/** Seconds after which the resident process is replaced: it may have leaks. */
const LIFETIME = 3600
/** MiB of resident memory that the process may use in addition to V8's heap. */
const OVERHEAD = 128

/**
 * Bundles `file`.
 *
 * @throws {ConfigurationError} if there is no bundler, or the program has something that cannot be
 *   in a bundle; the message names it.
 */
export async function bundle(options: BundleOptions): Promise<BundleReport> {
  const file = resolve(options.file)
  if (!existsSync(file)) throw new ConfigurationError(`no such file: ${options.file}`)
  const bundler = await findBundler(dirname(file), options.bundler)
  let data: DataFiles | undefined
  const attempt = async (format: 'cjs' | 'esm', findings: Findings): Promise<Bundled> => {
    data = hasCodeCache(options, format) ? new DataFiles() : undefined
    const before = { listens: findings.listens, engines: findings.engines.size }
    const made = await bundler.bundle(requestFor(options, file, format, findings, data))
    // The entry depends on what the files of the program contain.
    const same = before.listens === findings.listens && before.engines === findings.engines.size
    return same ? made : bundler.bundle(requestFor(options, file, format, findings, data))
  }
  const findings = noFindings()
  let esm = false
  let made: Bundled
  try {
    made = await attempt('cjs', findings)
  } catch (error) {
    if (!needsEsm(error)) throw asConfigurationError(error, options.file)
    esm = true
    made = await attempt('esm', findings).catch((second: unknown) => {
      throw asConfigurationError(second, options.file)
    })
  }
  refuseExternal(options, esm)
  refuseCopies(options.output, dirname(file), findings.assets)
  refuseSource(options, [file, ...made.sizes.keys()])
  write(options.output, textOf(options, made.code, esm, data))
  return {
    output: options.output,
    bytes: statSync(options.output).size,
    bundler: bundler.name,
    esm,
    packages: byPackage([...made.sizes, ...(data?.sizes ?? [])]),
    copied: copyAssets(dirname(file), dirname(resolve(options.output)), findings.assets),
    warnings: warningsOf(findings, dirname(file), bundler.name),
  }
}

function requestFor(
  options: BundleOptions,
  file: string,
  format: 'cjs' | 'esm',
  findings: Findings,
  data: DataFiles | undefined,
): BundleRequest {
  const base = dirname(file)
  const isBun = options.target === 'bun'
  const names = format === 'cjs' ? '' : isBun ? BUN_BANNER : ESM_BANNER
  return {
    entry: entryFor(options, file, findings),
    directory: base,
    format,
    external: [...(options.external ?? []), ...(isBun ? BUN_MODULES : [])],
    // Bun translates newer syntax than this, but it runs a bundle as it is.
    target: isBun ? 'es2024' : (options.target ?? DEFAULTS.target),
    banner: `${names}${BANNER};${findings.engines.size > 0 ? `${REQUIRE};` : ''}`,
    transform: (path, text) => {
      const own = isBun && packageOf(path) === 'portico'
      return transform(path, own ? text.replace(BUFFER, '') : text, file, findings)
    },
    names: OWN_NAMES,
    assets: { filter: BINARIES, load: refuseBinary },
    json: (path, text) => data?.replace(path, text),
  }
}

/** A module of `src/bundle/`, as a string literal. */
function ownModule(name: string): string {
  const extension = import.meta.url.endsWith('.ts') ? '.ts' : '.js'
  return JSON.stringify(join(import.meta.dirname, '../bundle', name + extension))
}

/** The module that the bundler starts with. Imports run in order, so the program's comes last. */
function entryFor({ kind, resident }: BundleOptions, file: string, findings: Findings): string {
  const settings = [
    ...(findings.listens ? ['listening'] : []),
    ...(kind === 'resident'
      ? [
          `idle: ${resident?.idle ?? DEFAULTS.idle}`,
          `lifetime: ${LIFETIME}`,
          `maxMemory: ${((resident?.memory ?? DEFAULTS.memory) + OVERHEAD) * 2 ** 20}`,
        ]
      : []),
  ]
  return [
    `import { serve } from ${ownModule(`run-${kind}`)}`,
    ...(findings.listens ? [`import { listening } from ${ownModule('capture-listen')}`] : []),
    `import * as program from ${JSON.stringify(file)}`,
    ...[...findings.engines].map(
      (name) =>
        `__portico_modules[${JSON.stringify(name)}] = () => require(${JSON.stringify(name)})`,
    ),
    `serve(program, { ${settings.join(', ')} })`,
  ].join('\n')
}

/** A code cache is for programs that start at each request, and V8 has none for ES modules. */
function hasCodeCache({ kind, target }: BundleOptions, format: 'cjs' | 'esm'): boolean {
  return kind === 'cgi' && target !== 'bun' && format === 'cjs'
}

function textOf(
  options: BundleOptions,
  code: string,
  esm: boolean,
  data: DataFiles | undefined,
): string {
  const { kind, target = DEFAULTS.target, resident = {} } = options
  const program = esm && target !== 'bun' ? asCommonJs(code, basename(options.output)) : code
  if (kind === 'resident') {
    return residentFile({
      program,
      shell: resident.shell ?? false,
      node: options.runtime ?? 'node',
      flags: [`--max-old-space-size=${resident.memory ?? DEFAULTS.memory}`],
      environment: resident.environment ?? [],
    })
  }
  const runtime = options.runtime ?? `/usr/bin/env ${target === 'bun' ? 'bun' : 'node'}`
  const head = `#!${runtime}\n`
  if (target === 'bun') return forBun(program, { head, esm })
  return data === undefined
    ? `${head}${program}\n`
    : withCodeCache({ source: program, head, data: data.texts, madeBy: 'first-run' })
}

/** Top-level await exists in ES modules only. */
function needsEsm(error: unknown): boolean {
  return /top-level await/i.test((error as Error).message)
}

const FILE = "Symbol.for('portico.file')"
const ESM_BANNER = `let { require, __filename, __dirname } = globalThis[${FILE}];`

const BUN_BANNER =
  'let require = import.meta.require, __filename = import.meta.path, __dirname = import.meta.dir;'
/** Bun (1.4) loads node:buffer in a millisecond, and has the same class as a global. */
const BUFFER = /^import \{ Buffer \} from ['"]node:buffer['"];?$/m
/** Modules of Bun. */
const BUN_MODULES = ['bun', 'bun:*']

/** A CommonJS program that contains an ES module as a data URL, and imports it. */
function asCommonJs(code: string, name: string): string {
  // Without a name, each line of a stack trace would contain the URL, and so the whole program.
  const named = Buffer.from(`${code}\n//# sourceURL=${encodeURI(name)}\n`)
  const url = `data:text/javascript;base64,${named.toString('base64')}`
  // An error is thrown on a line of its own, because Node prints that line.
  return `globalThis[${FILE}] = { require, __filename, __dirname }
const loaded = import('${url}')
const waiting = () => {
  process.exitCode = 13 // As Node does.
  require('node:fs').writeSync(2, 'A top-level await of this program never settles\\n')
}
process.once('beforeExit', waiting)
loaded.then(
  () => process.removeListener('beforeExit', waiting),
  (error) => process.nextTick(() => {
    throw error
  }),
)`
}

/** A bundler's error about the program as a ConfigurationError; other errors unchanged. */
function asConfigurationError(error: unknown, file: string): unknown {
  if (error instanceof ConfigurationError) return error
  const { errors, message } = error as {
    errors?: { text?: string; detail?: unknown }[]
    message?: string
  }
  // esbuild has what a plugin threw as the detail of an error; rolldown, as the error itself.
  const own = errors
    ?.flatMap((each) => [each, each.detail])
    .find((each) => each instanceof ConfigurationError)
  if (own !== undefined) return own
  if (!errors) return error
  // rolldown colours its messages, with or without a terminal.
  const plain = stripVTControlCharacters(message ?? '')
  return new ConfigurationError(`${file} cannot be bundled: ${plain}`, { cause: error })
}

/** @throws {ConfigurationError} if the program is an ES module for Node and has packages outside, which it cannot find. */
function refuseExternal({ external = [], file, target }: BundleOptions, esm: boolean): void {
  if (!esm || target === 'bun' || external.length === 0) return
  throw new ConfigurationError(
    `${file} cannot be bundled: an ES module in a bundle finds no package outside (--external ${external[0]}). ` +
      'Move the top-level await into an async function',
  )
}

/** @throws {ConfigurationError} if the output would overwrite a file of the program. */
function refuseSource({ output }: BundleOptions, sources: readonly string[]): void {
  if (!existsSync(output)) return
  const written = realpathSync(output)
  if (!sources.some((path) => existsSync(path) && realpathSync(path) === written)) return
  throw new ConfigurationError(
    `-o ${output} is a file of the program, and would be overwritten. Name another one: -o app.cgi`,
  )
}

/**
 * Writes a file in one step, so that a web server never runs half of it.
 *
 * @throws {ConfigurationError} if that is not possible; an older file stays as it is.
 */
function write(path: string, text: string): void {
  const part = join(dirname(resolve(path)), `.${basename(path)}.${process.pid}`)
  try {
    mkdirSync(dirname(resolve(path)), { recursive: true })
    writeFileSync(part, text)
    // Not writable by a group: suEXEC refuses such a file.
    chmodSync(part, 0o755)
    renameSync(part, path)
  } catch (error) {
    rmSync(part, { force: true })
    throw new ConfigurationError(`${path} cannot be written: ${(error as Error).message}`, {
      cause: error,
    })
  }
}

function byPackage(sizes: readonly (readonly [path: string, bytes: number])[]): [string, number][] {
  const sums = new Map<string, number>()
  for (const [path, bytes] of sizes) {
    const name = packageOf(path) ?? ''
    sums.set(name, (sums.get(name) ?? 0) + bytes)
  }
  return [...sums].filter(([, bytes]) => bytes > 0).toSorted((a, b) => b[1] - a[1])
}
