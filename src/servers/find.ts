/** Finds a web server on this machine: its program, version, user and directories. */
import { execFileSync, spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync, readFileSync } from 'node:fs'
import { delimiter, isAbsolute, join } from 'node:path'
import type { ServerDescription } from './site.ts'

/** A web server that is installed here. */
export interface Found {
  path: string
  /** As the program states it, such as `nginx/1.22.1`; `''` if it does not. */
  version: string
}

/** Debian keeps servers in /usr/sbin, which an ordinary user's PATH leaves out. */
const EXTRA_PATH = ['/usr/sbin', '/usr/local/sbin']

/** Apache has another name outside Debian. */
const OTHER_NAMES: Readonly<Record<string, string>> = { apache2: 'httpd' }

/** How long a program may take to state its version. */
const VERSION_TIMEOUT = 5_000

/** Finds an executable by its name or absolute path; returns its path, or undefined. */
export function findProgram(program: string): string | undefined {
  const directories = isAbsolute(program)
    ? ['']
    : [...(process.env['PATH'] ?? '').split(delimiter), ...EXTRA_PATH]
  for (const name of [program, OTHER_NAMES[program]]) {
    if (name === undefined) continue
    const found = directories.map((directory) => join(directory, name)).find(isExecutable)
    if (found !== undefined) return found
  }
  return undefined
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** The server of a description, or undefined where it is not installed. */
export function findServer({ program }: ServerDescription): Found | undefined {
  const path = program === undefined ? undefined : findProgram(program)
  if (path === undefined) return undefined
  for (const flag of ['-v', 'version', '--version']) {
    const { stdout, stderr } = spawnSync(path, [flag], {
      encoding: 'utf8',
      timeout: VERSION_TIMEOUT,
    })
    const version = /\b(?:[A-Za-z0-9]+[/ ])?v?\d+\.\d+(?:\.\d+)*/.exec(`${stdout}\n${stderr}`)?.[0]
    if (version !== undefined) return { path, version }
  }
  return { path, version: '' }
}

/** Where each server's own configuration names the user of its workers. */
const USERS: Readonly<Record<string, readonly [file: string, pattern: RegExp][]>> = {
  nginx: [['/etc/nginx/nginx.conf', /^\s*user\s+([\w-]+)/m]],
  apache2: [
    ['/etc/apache2/envvars', /^export APACHE_RUN_USER=([\w-]+)/m],
    ['/etc/httpd/conf/httpd.conf', /^\s*User\s+([\w-]+)/m],
  ],
  lighttpd: [['/etc/lighttpd/lighttpd.conf', /^\s*server\.username\s*=\s*"([\w-]+)"/m]],
  haproxy: [['/etc/haproxy/haproxy.cfg', /^\s*user\s+([\w-]+)/m]],
  h2o: [['/etc/h2o/h2o.conf', /^user:\s*([\w-]+)/m]],
  caddy: [['/etc/passwd', /^(caddy):/m]],
}

/** The user that the web server's workers run as: from its own configuration, else the usual one. */
export function findUser(program: string | undefined): string {
  for (const [file, pattern] of USERS[program ?? ''] ?? []) {
    const user = existsSync(file) ? pattern.exec(readFileSync(file, 'utf8'))?.[1] : undefined
    if (user !== undefined) return user
  }
  const passwd = existsSync('/etc/passwd') ? readFileSync('/etc/passwd', 'utf8') : ''
  return (
    ['www-data', 'nginx', 'apache', 'http'].find((name) => passwd.includes(`${name}:`)) ?? 'nobody'
  )
}

/** The main group of a user; the user's own name where the system does not know it. */
export function groupOf(user: string): string {
  try {
    return execFileSync('id', ['-gn', user], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim()
  } catch {
    return user
  }
}
