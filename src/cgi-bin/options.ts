/** The options of `cgiBin`: types, defaults, checks. */
import { statSync } from 'node:fs'
import { resolve } from 'node:path'
import { ConfigurationError } from '../errors.ts'
import { checkNames } from '../options/names.ts'
import { MAX_SIZE, MAX_TIME } from '../options/row.ts'
import { isInteger, refuse } from '../options/values.ts'
import type { Application } from '../types.ts'

/** Times are in milliseconds, sizes in bytes. */
export interface CgiBinOptions {
  /** Variables for every script; they replace those of the request. */
  readonly env?: Readonly<Record<string, string>> | undefined
  /**
   * Names of further variables that scripts get: of the request if the web server sends them, else
   * of this process.
   */
  readonly inherit?: readonly string[] | undefined
  /** DOCUMENT_ROOT, and the beginning of PATH_TRANSLATED. Default: what the web server sends, else the directory. */
  readonly documentRoot?: string | undefined
  /** The working directory of scripts. Default: the directory of the script. */
  readonly cwd?: string | undefined
  /** For how long a script may neither write output nor read its body. 0: no limit. Default: 60 s. */
  readonly timeout?: number | undefined
  /** For how long a script may run. 0: no limit. Default: 1 h. */
  readonly maxTime?: number | undefined
  /** The longest response body. Infinity: no limit. Default: 1 GiB. */
  readonly maxOutput?: number | undefined
  /** The longest request body without a Content-Length, which is stored first. Default: 1 GiB. */
  readonly maxStored?: number | undefined
  /** How many scripts run at once in this process. Default: 32. */
  readonly maxScripts?: number | undefined
  /** How many more requests wait, for at most `timeout`; further ones get a 503. Default: 128. */
  readonly maxWaiting?: number | undefined
  /**
   * The application to which scripts redirect with a path (RFC 3875, section 6.2.2) that is not below
   * the mount point. Default: the client is redirected.
   */
  readonly redirects?: Application | undefined
}

/** Apache's Timeout and nginx's fastcgi_read_timeout are 60 s. */
const TIMEOUT = 60_000

/** Long enough for a large download. After an hour, no one waits for the script. */
const MAX_RUN = 3_600_000

/** Larger than any page, and small enough that an endless loop does not fill a client's disk. */
const MAX_OUTPUT = 2 ** 30

/** A body of unknown length goes to the temporary directory first. */
const MAX_STORED = 2 ** 30

/** A script with its interpreter takes some 10 MiB: these fit into 512 MiB. */
const MAX_SCRIPTS = 32

/** Four times as many: with scripts of 100 ms, the last one waits for half a second. */
const MAX_WAITING = 128

/** Options with every default filled in. */
export interface Settings extends Record<keyof typeof DEFAULTS, number> {
  /** As it was given, but absolute: a symbolic link is resolved for each request. */
  readonly directory: string
  readonly env: Readonly<Record<string, string>>
  readonly inherit: readonly string[]
  readonly documentRoot: string | undefined
  readonly cwd: string | undefined
  readonly redirects: Application | undefined
}

/** The defaults, which docs/cgi-bin.md lists. */
export const DEFAULTS = {
  timeout: TIMEOUT,
  maxTime: MAX_RUN,
  maxOutput: MAX_OUTPUT,
  maxStored: MAX_STORED,
  maxScripts: MAX_SCRIPTS,
  maxWaiting: MAX_WAITING,
} as const

export const OPTION_NAMES = [
  'env',
  'inherit',
  'documentRoot',
  'cwd',
  'timeout',
  'maxTime',
  'maxOutput',
  'maxStored',
  'maxScripts',
  'maxWaiting',
  'redirects',
] as const satisfies readonly (keyof CgiBinOptions)[]

const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]*$/

/** @throws {ConfigurationError} for anything that cannot work. */
export function checked(directory: string, options: CgiBinOptions): Settings {
  checkNames('cgiBin', options, OPTION_NAMES)
  const settings: Settings = {
    env: {},
    inherit: [],
    ...DEFAULTS,
    documentRoot: undefined,
    cwd: undefined,
    redirects: undefined,
    ...Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)),
    directory: typeof directory === 'string' ? resolve(directory) : '',
  }
  const wrong = (name: keyof CgiBinOptions, expected: string) =>
    refuse('cgiBin', name, settings[name], expected)
  if (process.platform === 'win32') {
    throw new ConfigurationError(
      'cgiBin does not work on Windows, which cannot run a script by its first line',
    )
  }
  if (!directory || !isDirectory(settings.directory)) {
    throw new ConfigurationError(
      `cgiBin: the first argument must be the path of a directory (got ${JSON.stringify(directory) ?? 'nothing'})`,
    )
  }
  const { env, inherit, redirects } = settings
  if (typeof env !== 'object' || env === null || !Object.entries(env).every(isVariable)) {
    wrong('env', "an object of variables, { LANG: 'C.UTF-8' } for example, without HTTP_PROXY")
  }
  if (!Array.isArray(inherit) || !inherit.every((name) => isVariable([name, '']))) {
    wrong('inherit', "an array of names, ['HOME'] for example, without HTTP_PROXY")
  }
  for (const name of ['documentRoot', 'cwd'] as const) {
    const path = settings[name]
    if (path !== undefined && (typeof path !== 'string' || !path.startsWith('/'))) {
      wrong(name, 'an absolute path')
    }
  }
  for (const name of ['timeout', 'maxTime'] as const) {
    if (!isInteger(settings[name], 0, MAX_TIME)) wrong(name, 'a whole number of ms, 0 or more')
  }
  for (const name of ['maxOutput', 'maxStored'] as const) {
    if (settings[name] !== Infinity && !isInteger(settings[name], 0, MAX_SIZE)) {
      wrong(name, 'a whole number of bytes, or Infinity')
    }
  }
  if (!isInteger(settings.maxScripts, 1)) wrong('maxScripts', 'a whole number, 1 or more')
  if (!isInteger(settings.maxWaiting, 0)) wrong('maxWaiting', 'a whole number, 0 or more')
  if (redirects !== undefined && typeof redirects !== 'function') {
    wrong('redirects', 'an application')
  }
  return settings
}

function isVariable([name, value]: readonly [name: string, value: unknown]): boolean {
  return (
    typeof name === 'string' &&
    VARIABLE.test(name) &&
    name !== 'HTTP_PROXY' &&
    typeof value === 'string' &&
    !value.includes('\0')
  )
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false
}
