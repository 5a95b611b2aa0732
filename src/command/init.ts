/** `portico init`: configuration files for web servers and supervisors. */
import { existsSync, readFileSync } from 'node:fs'
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { spawnSync } from 'node:child_process'
import { basename, join, resolve } from 'node:path'
import { ConfigurationError } from '../errors.ts'
import { suggestion } from '../options/names.ts'
import { descriptions } from '../servers/descriptions.ts'
import { difference } from '../servers/difference.ts'
import { findProgram, findUser, groupOf } from '../servers/find.ts'
import {
  type Authentication,
  checkSite,
  type ConfigFile,
  DEFAULTS,
  type ServerDescription,
  type Site,
} from '../servers/site.ts'
import type { Call, Command } from './commands.ts'
import { EXIT } from './exit-codes.ts'
import type { FlagValues } from './flags.ts'
import { exposed, hints, start, warnings } from './init-hints.ts'
import { noSuchFile, UsageError } from './usage-error.ts'

const NAMES = descriptions.map(({ name }) => name)

/** What a browser shows when it asks for the password. */
const REALM = 'Restricted'

/** Flags that some servers have no use for. */
const FEATURES = [
  ['tls', 'tls'],
  ['auth', 'auth'],
  ['static', 'files'],
] as const

const GATEWAYS = ['fastcgi', 'scgi', 'http', 'cgi'] as const

export const command: Command = {
  operands: 'SERVER [FILE]',
  count: [1, 2],
  completes: NAMES,
  flags: {
    gateway: {
      kind: 'choice',
      choices: GATEWAYS,
      help: 'how the web server reaches the application',
    },
    listen: {
      kind: 'text',
      value: 'ADDRESS',
      help: 'where the application listens, unix:PATH or HOST:PORT',
      default: DEFAULTS.to,
    },
    mount: {
      kind: 'text',
      value: 'PATH',
      help: 'the path of the application, such as /app',
      default: '/',
    },
    hostname: {
      kind: 'text',
      value: 'NAME',
      help: 'the host name of the site',
      default: 'every name',
    },
    port: {
      kind: 'text',
      value: '[ADDRESS:]PORT',
      help: 'where the web server listens',
      default: '80, or 443',
    },
    tls: { kind: 'text', value: 'CERT,KEY', help: 'two PEM files, for HTTPS' },
    auth: { kind: 'text', value: 'FILE', help: 'an htpasswd file, for Basic authentication' },
    static: { kind: 'text', value: 'PATH=DIR', help: 'files that the web server sends itself' },
    streaming: {
      kind: 'switch',
      negative: true,
      help: 'let the web server buffer requests and responses',
    },
    keepAlive: {
      kind: 'count',
      range: [0, 1024],
      help: 'idle connections to the application',
      default: DEFAULTS.keepAlive,
    },
    maxBody: {
      kind: 'count',
      range: [1, 1_000_000],
      value: 'MIB',
      help: 'the largest request body',
      default: DEFAULTS.maxBody,
    },
    timeout: {
      kind: 'time',
      range: [1000, 86_400_000],
      help: 'how long the application may be silent',
      default: DEFAULTS.timeout * 1000,
    },
    write: {
      kind: 'text',
      value: 'DIR',
      help: 'write the files into a directory; never overwrites',
    },
    force: {
      kind: 'switch',
      help: 'overwrite with --write or --install, and keep the old file as FILE.bak',
    },
    install: {
      kind: 'switch',
      help: 'write the files where they belong, and load them; undo everything if that fails',
    },
    check: { kind: 'switch', help: 'compare the installed files with what would be written' },
    try: { kind: 'switch', help: 'start the web server with the files, and send it requests' },
  },
  notes: [`SERVER is one of ${NAMES.slice(0, 6).join(', ')},`, `${NAMES.slice(6).join(', ')}.`],
  run,
}

async function run(call: Call): Promise<number> {
  const { operands, values, out, err } = call
  const [name = '', file = 'app.mjs'] = operands
  const description = descriptions.find((each) => each.name === name)
  if (description === undefined) {
    throw new UsageError(`init: unknown server '${name}'. ${suggestion(name, NAMES)}`)
  }
  const site = siteOf(description, file, values)
  if (operands[1] !== undefined && !existsSync(file))
    throw noSuchFile(`init: no such file: ${file}`)
  if (values['try'] === true) {
    const { tryServer } = await import('../servers/try.ts')
    return (await tryServer(description, site, out)) ? EXIT.done : EXIT.failed
  }
  if (values['install'] === true) {
    const { install } = await import('../servers/install.ts')
    err(warnings(description, site).join(''))
    if (!install(description, site, values['force'] === true, call)) return EXIT.failed
    for (const line of start(description, site)) out(`then: ${line}\n`)
    return EXIT.done
  }
  const files = description.configure(site)
  if (values['check'] === true) return check(description, files, call)
  err(warnings(description, site).join(''))
  if (typeof values['write'] === 'string') {
    err(exposed(files, site, resolve(values['write'])))
    return write(values['write'], files, values['force'] === true, call)
  }
  for (const each of files) {
    if (files.length > 1) out(`### ${each.path}\n`)
    out(each.text)
  }
  err(hints(description, site, files))
  return EXIT.done
}

/** The site that the flags describe. */
function siteOf(description: ServerDescription, file: string, values: FlagValues): Site {
  const text = (key: string): string | undefined => values[key] as string | undefined
  const gateway = (values['gateway'] ?? description.gateways[0]) as Site['gateway']
  if (!description.gateways.includes(gateway)) {
    throw new UsageError(
      `init: ${description.title} does not speak ${gateway} here; --gateway is ${description.gateways.join(', ')}`,
    )
  }
  for (const [flag, what] of FEATURES) {
    if (values[flag] === undefined || (description.takes?.includes(what) ?? true)) continue
    throw new UsageError(`init: ${description.title} has no --${flag}`)
  }
  const tls = pair(text('tls'), ',', '--tls', 'CERT,KEY')
  const files = pair(text('static'), '=', '--static', 'PATH=DIR')
  const auth = text('auth')
  const user = findUser(description.program)
  return checked({
    gateway,
    to: text('listen') ?? DEFAULTS.to,
    mount: (text('mount') ?? DEFAULTS.mount).replace(/^\/$/, ''),
    program: resolve(file),
    hostname: text('hostname') ?? DEFAULTS.hostname,
    listen: text('port') ?? (tls ? '443' : DEFAULTS.listen),
    hasPort: values['port'] !== undefined,
    streaming: values['streaming'] !== false,
    keepAlive: (values['keepAlive'] as number | undefined) ?? DEFAULTS.keepAlive,
    maxBody: (values['maxBody'] as number | undefined) ?? DEFAULTS.maxBody,
    timeout: Math.ceil(
      ((values['timeout'] as number | undefined) ?? DEFAULTS.timeout * 1000) / 1000,
    ),
    user,
    group: groupOf(user),
    tls: tls && { certificate: resolve(tls[0]), key: resolve(tls[1]) },
    files: files && { at: files[0].replace(/\/$/, ''), directory: resolve(files[1]) },
    auth: auth === undefined ? undefined : authenticationOf(resolve(auth)),
  })
}

/** @throws {UsageError} for a value that cannot be in a configuration file */
function checked(site: Site): Site {
  try {
    return checkSite(site)
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error
    throw new UsageError(`init: ${error.message}`, { cause: error })
  }
}

/**
 * An htpasswd file, with its users if it can be read.
 *
 * @throws {UsageError} if a line is not NAME:HASH
 */
function authenticationOf(file: string): Authentication {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch {
    // Most web servers read it themselves, and it may be for them only.
    return { realm: REALM, file }
  }
  const users = text
    .split('\n')
    .filter((line) => /^[^#\s]/.test(line))
    .map((line) => {
      const [, name, hash] = /^([^:\s]+):([^:\s]+)(?::.*)?$/.exec(line.trim()) ?? []
      if (name !== undefined && hash !== undefined) return { name, hash }
      throw new UsageError(`init: --auth: ${file} has a line that is not NAME:HASH`)
    })
  return { realm: REALM, file, users }
}

function pair(
  text: string | undefined,
  separator: string,
  flag: string,
  form: string,
): [string, string] | undefined {
  if (text === undefined) return undefined
  const [first = '', second = '', ...others] = text.split(separator)
  if (first === '' || second === '' || others.length > 0) {
    throw new UsageError(`init: ${flag} must be ${form} (got '${text}')`)
  }
  return [first, second]
}

async function write(
  directory: string,
  files: readonly ConfigFile[],
  force: boolean,
  { out, err }: Call,
): Promise<number> {
  await mkdir(directory, { recursive: true })
  let code: number = EXIT.done
  for (const file of files) {
    const { path, text, mode = 0o644 } = file
    const target = join(directory, basename(path))
    const present = await contentOf(target)
    if (present === text || (present !== undefined && file.suffices?.(present))) {
      out(`unchanged ${target}\n`)
      continue
    }
    if (present !== undefined && !force) {
      err(`${target} is there and differs (--force overwrites it and keeps ${target}.bak):\n`)
      out(difference(present, text))
      code = EXIT.failed
      continue
    }
    if (present !== undefined) await copyFile(target, `${target}.bak`)
    // 'wx' if there was no file: one that has appeared meanwhile is not overwritten.
    await writeFile(target, text, { mode, flag: present === undefined ? 'wx' : 'w' })
    out(`wrote ${target}\n`)
  }
  return code
}

async function check(
  { check: program, title }: ServerDescription,
  files: readonly ConfigFile[],
  { out, err }: Call,
): Promise<number> {
  let code: number = EXIT.done
  for (const file of files) {
    const { path, text } = file
    const present = await contentOf(path)
    if (present === text || (present !== undefined && file.suffices?.(present))) {
      out(`${path}: as it would be written\n`)
      continue
    }
    code = EXIT.failed
    if (present === undefined) err(`${path}: not there\n`)
    else out(`${path}: differs\n${difference(present, text)}`)
  }
  if (program === undefined) return code
  const [name = '', ...args] = program
  const path = findProgram(name)
  if (path === undefined) return code
  const { status, stderr, stdout } = spawnSync(path, args, { encoding: 'utf8' })
  if (status === 0) {
    out(`${title} accepts its installed configuration\n`)
    return code
  }
  err(`${title} refuses its installed configuration:\n${stderr || stdout}`)
  return EXIT.failed
}

async function contentOf(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
