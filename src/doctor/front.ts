/** The web server in front of an application: its process, user, configuration and logs. */
import { execFileSync } from 'node:child_process'
import { existsSync, statSync } from 'node:fs'
import { isAbsolute, join } from 'node:path'
import { findProgram, findUser } from '../servers/find.ts'
import { readApache } from './configurations/apache.ts'
import { readCaddy } from './configurations/caddy.ts'
import { readH2o } from './configurations/h2o.ts'
import { readHaproxy } from './configurations/haproxy.ts'
import { readLighttpd } from './configurations/lighttpd.ts'
import { readNginx } from './configurations/nginx.ts'
import type { ConfigurationSource, Setup } from './configurations/setup.ts'
import {
  environmentOf,
  isLocal,
  linkOf,
  listenerOnPort,
  type Process,
  processes,
  textOf,
  workerUid,
} from './processes.ts'

export type ServerName = 'nginx' | 'apache' | 'lighttpd' | 'caddy' | 'haproxy' | 'h2o'

/** A web server, as far as it is known. */
export interface Front {
  readonly name: ServerName
  /** Undefined if it does not run here, or this user may not see it. */
  readonly process: Process | undefined
  /** The user of its workers. */
  readonly user: string | undefined
  /** The main file of its configuration; undefined if it cannot be read here. */
  readonly file: string | undefined
  /** What the configuration says; undefined without `file`. */
  readonly setup: Setup | undefined
}

interface Kind {
  /** How it names itself in SERVER_SOFTWARE and the Server header. */
  readonly software: RegExp
  /** Names of its program. */
  readonly programs: readonly string[]
  readonly files: readonly string[]
  readonly fileFlags: readonly string[]
  readonly directoryFlags: readonly string[]
  read(source: ConfigurationSource): Setup
}

const KINDS: Readonly<Record<ServerName, Kind>> = {
  nginx: {
    software: /^(?:nginx|openresty|angie|freenginx)/i,
    programs: ['nginx', 'openresty', 'angie'],
    files: ['/etc/nginx/nginx.conf', '/usr/local/etc/nginx/nginx.conf'],
    fileFlags: ['-c'],
    directoryFlags: ['-p'],
    read: readNginx,
  },
  apache: {
    software: /^Apache/i,
    programs: ['apache2', 'httpd'],
    files: ['/etc/apache2/apache2.conf', '/etc/httpd/conf/httpd.conf'],
    fileFlags: ['-f'],
    directoryFlags: ['-d'],
    read: readApache,
  },
  lighttpd: {
    software: /^lighttpd/i,
    programs: ['lighttpd'],
    files: ['/etc/lighttpd/lighttpd.conf'],
    fileFlags: ['-f'],
    directoryFlags: [],
    read: readLighttpd,
  },
  caddy: {
    software: /^Caddy/i,
    programs: ['caddy'],
    files: ['/etc/caddy/Caddyfile'],
    fileFlags: ['--config', '-c'],
    directoryFlags: [],
    read: readCaddy,
  },
  haproxy: {
    software: /^HAProxy/i,
    programs: ['haproxy'],
    files: ['/etc/haproxy/haproxy.cfg'],
    fileFlags: ['-f'],
    directoryFlags: [],
    read: readHaproxy,
  },
  h2o: {
    software: /^h2o/i,
    programs: ['h2o'],
    files: ['/etc/h2o/h2o.conf'],
    fileFlags: ['-c', '--conf'],
    directoryFlags: [],
    read: readH2o,
  },
}

const NAMES = Object.keys(KINDS) as ServerName[]

/** The web server that listens to the port of a URL on this machine. */
export function frontOfUrl(url: URL): Front | undefined {
  if (!isLocal(url.hostname)) return undefined
  const port = Number(url.port || (url.protocol === 'https:' ? 443 : 80))
  const process = listenerOnPort(port)
  const name = process === undefined ? undefined : serverOf(process)
  if (process === undefined || name === undefined) return undefined
  return front(name, process, { host: url.hostname, port, path: url.pathname || '/' })
}

/** The web server that names itself so, with the configuration of this machine if the URL is here. */
export function frontOfSoftware(software: string, url: URL): Front | undefined {
  const name = serverNamed(software)
  if (name === undefined) return undefined
  if (!isLocal(url.hostname)) {
    return { name, process: undefined, user: undefined, file: undefined, setup: undefined }
  }
  const port = Number(url.port || (url.protocol === 'https:' ? 443 : 80))
  return front(name, undefined, { host: url.hostname, port, path: url.pathname || '/' })
}

export function serverNamed(software: string): ServerName | undefined {
  return NAMES.find((each) => KINDS[each].software.test(software))
}

/** Web servers that run here, and those that are installed with a configuration. */
export function frontsHere(): Front[] {
  const running = processes()
    .map((process) => ({ process, name: serverOf(process) }))
    .filter(
      ({ process }, _, all) =>
        !all.some((each) => each.name !== undefined && each.process.pid === process.parent),
    )
    .flatMap(({ process, name }) => (name === undefined ? [] : [front(name, process, undefined)]))
  const installed = NAMES.filter(
    (name) =>
      !running.some((each) => each.name === name) &&
      KINDS[name].programs.some((program) => findProgram(program) !== undefined),
  ).map((name) => front(name, undefined, undefined))
  return [...running, ...installed]
}

function serverOf({ name, args }: Process): ServerName | undefined {
  const program = args[0]?.split('/').at(-1) ?? name
  return NAMES.find(
    (each) => KINDS[each].programs.includes(name) || KINDS[each].programs.includes(program),
  )
}

function front(
  name: ServerName,
  process: Process | undefined,
  request: ConfigurationSource['request'],
): Front {
  const kind = KINDS[name]
  const cwd = process === undefined ? '/' : (linkOf(`/proc/${process.pid}/cwd`) ?? '/')
  const given = argumentOf(process?.args ?? [], kind.fileFlags)
  const prefix = argumentOf(process?.args ?? [], kind.directoryFlags)
  const directory = absolute(prefix ?? '/', cwd)
  const file =
    given === undefined
      ? kind.files.find((each) => existsSync(each))
      : absolute(given, prefix ?? cwd)
  const readable = file !== undefined && isReadable(file)
  const program = kind.programs.map((each) => findProgram(each)).find((each) => each !== undefined)
  const variables =
    name === 'apache'
      ? { ...envvars(), ...(process === undefined ? {} : environmentOf(process.pid)) }
      : {}
  const setup = readable
    ? withLogs(kind.read({ file, directory, program, variables, request }), process, name)
    : undefined
  const worker = process === undefined ? undefined : nameOf(workerUid(process))
  return {
    name,
    process,
    user: worker ?? setup?.user ?? findUser(name === 'apache' ? 'apache2' : name),
    file: readable ? file : undefined,
    setup,
  }
}

function absolute(path: string, from: string): string {
  return isAbsolute(path) ? path : join(from, path)
}

function isReadable(file: string): boolean {
  return textOf(file) !== ''
}

function argumentOf(args: readonly string[], flags: readonly string[]): string | undefined {
  const at = args.findIndex((each) => flags.includes(each))
  return at < 0 ? undefined : args[at + 1]
}

/** Debian's Apache gets its variables from a shell script. */
export function envvars(): Record<string, string> {
  const found: Record<string, string> = { APACHE_LOG_DIR: '/var/log/apache2' }
  for (const [, name = '', value = ''] of textOf('/etc/apache2/envvars').matchAll(
    /^export (\w+)=(.*)$/gm,
  )) {
    found[name] = value.replaceAll(/\$SUFFIX|"/g, '')
  }
  return found
}

/** Adds the files that the process has for stdout and stderr, and nginx's `-e`. */
function withLogs(setup: Setup, process: Process | undefined, name: ServerName): Setup {
  if (process === undefined) return setup
  const own = [1, 2].map((fd) => linkOf(`/proc/${process.pid}/fd/${fd}`))
  const early = name === 'nginx' ? argumentOf(process.args, ['-e']) : undefined
  const logs = [...setup.logs, early, ...own].filter(
    (path): path is string => path !== undefined && isFile(path),
  )
  return { ...setup, logs: [...new Set(logs)] }
}

function isFile(path: string): boolean {
  try {
    return isAbsolute(path) && statSync(path).isFile()
  } catch {
    return false
  }
}

function nameOf(uid: number): string | undefined {
  try {
    const name = execFileSync('id', ['-un', String(uid)], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    return name.trim()
  } catch {
    return undefined
  }
}
