/** `portico bundle`: an application as one file for a host without npm. */
import { basename, dirname, join, resolve } from 'node:path'
import { bundle, DEFAULTS, type BundleReport, type BundleTarget } from '../bundle/bundle.ts'
import type { BundlerName } from '../bundle/bundlers.ts'
import type { Call, Command } from './commands.ts'
import { findEntry } from './entry.ts'
import { EXIT } from './exit-codes.ts'
import { noSuchFile, UsageError } from './usage-error.ts'

const TARGETS: readonly BundleTarget[] = ['node20', 'node22', 'node24', 'bun']
const BUNDLERS: readonly BundlerName[] = ['esbuild', 'rolldown']

/** Packages that the report names; the others are one sum. */
const LISTED = 5

export const command: Command = {
  operands: 'FILE',
  count: [1, 1],
  flags: {
    output: {
      kind: 'text',
      short: 'o',
      value: 'PATH',
      help: 'the file to write',
      default: 'FILE as .cgi',
    },
    resident: { kind: 'switch', help: 'one process serves all requests, and ends when idle' },
    fcgi: { kind: 'switch', help: 'make a file for mod_fcgid' },
    target: {
      kind: 'choice',
      choices: TARGETS,
      value: 'NAME',
      help: 'the oldest runtime that must run the file',
      default: DEFAULTS.target,
    },
    node: {
      kind: 'text',
      value: 'PATH',
      help: 'the path of Node or Bun on the host, if it is not in PATH',
    },
    external: { kind: 'text', value: 'NAME', repeatable: true, help: 'a package to leave out' },
    bundler: {
      kind: 'choice',
      choices: BUNDLERS,
      value: 'NAME',
      help: 'the bundler',
      default: 'the one that is installed',
    },
    idle: {
      kind: 'time',
      value: 'TIME',
      help: '--resident: end after this time without a request',
      default: DEFAULTS.idle * 1000,
    },
    memory: {
      kind: 'count',
      range: [32, 65_536],
      value: 'MIB',
      help: '--resident: the largest heap of V8',
      default: DEFAULTS.memory,
    },
    env: {
      kind: 'text',
      value: 'NAME',
      repeatable: true,
      help: '--resident: keep this variable of the first request',
    },
    shell: { kind: 'switch', help: '--resident: a shell script instead of Perl' },
  },
  notes: [
    'portico bundle app.js -o public/app.cgi',
    'portico bundle app.js --resident --node /opt/nodejs20/bin/node -o public/app.cgi',
  ],
  async run({ operands: [given = ''], values, out }: Call) {
    const flags = values as {
      output?: string
      resident?: boolean
      fcgi?: boolean
      target?: BundleTarget
      node?: string
      external?: string[]
      bundler?: BundlerName
      idle?: number
      memory?: number
      env?: string[]
      shell?: boolean
    }
    if (flags.resident && flags.fcgi) {
      throw new UsageError('bundle: --resident and --fcgi exclude each other')
    }
    if (flags.resident && flags.target === 'bun') {
      throw new UsageError('bundle: --resident runs on Node; leave out --target bun')
    }
    for (const name of ['idle', 'memory', 'env', 'shell'] as const) {
      if (flags[name] !== undefined && !flags.resident) {
        throw new UsageError(`bundle: --${name} needs --resident`)
      }
    }
    const entry = findEntry(process.cwd(), given, 'bundle')
    if ('missing' in entry) throw noSuchFile(entry.missing)
    const file = entry.file === resolve(given) ? given : entry.file
    const kind = flags.resident ? 'resident' : flags.fcgi ? 'fcgi' : 'cgi'
    const report = await bundle({
      file,
      output: flags.output ?? defaultOutput(file, kind),
      kind,
      target: flags.target,
      bundler: flags.bundler,
      external: flags.external,
      runtime: flags.node,
      resident: {
        // Whole seconds, because the script that starts the process counts in seconds.
        idle: flags.idle === undefined ? undefined : Math.max(1, Math.round(flags.idle / 1000)),
        memory: flags.memory,
        environment: flags.env,
        shell: flags.shell,
      },
    })
    out(describe(report))
    return EXIT.done
  },
}

function defaultOutput(file: string, kind: 'cgi' | 'resident' | 'fcgi'): string {
  const name = basename(file).replace(/\.[cm]?[jt]sx?$/, '')
  return join(dirname(file), `${name}.${kind === 'fcgi' ? 'fcgi' : 'cgi'}`)
}

function describe(report: BundleReport): string {
  const shown = report.packages.slice(0, LISTED)
  const rest = report.packages.slice(LISTED).reduce((sum, [, bytes]) => sum + bytes, 0)
  const parts = shown.map(([name, bytes]) => `${name || 'this project'} ${size(bytes)}`)
  if (rest > 0) parts.push(`${report.packages.length - LISTED} others ${size(rest)}`)
  const lines = [
    `${report.output}: ${size(report.bytes)}, by ${report.bundler}`,
    `  ${parts.join(', ')}`,
    ...(report.esm ? ['  top-level await: an ES module inside, without a code cache'] : []),
    ...report.copied.map((name) => `  with ${name}: upload it beside the file`),
    ...report.warnings.map((warning) => `  warning: ${warning}`),
  ]
  return `${lines.join('\n')}\n`
}

function size(bytes: number): string {
  return bytes < 1_048_576
    ? `${Math.ceil(bytes / 1024)} KiB`
    : `${(bytes / 1_048_576).toFixed(1)} MiB`
}
