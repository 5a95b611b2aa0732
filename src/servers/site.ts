/** What an administrator wants of a web server, in one form for all of them. */
import { dirname } from 'node:path'
import { ConfigurationError } from '../errors.ts'

/** One application at one mount point behind one web server. */
export interface Site {
  /** How the web server reaches the application. */
  gateway: 'cgi' | 'fastcgi' | 'scgi' | 'http'
  /** What the application listens on: `unix:PATH` or `HOST:PORT`. Not used with `cgi`. */
  to: string
  /** `''` for an application at the root, or a prefix such as `/app`. */
  mount: string
  /** The absolute path of the application's file, for servers that start it themselves. */
  program: string
  /** The host name of the site, or `_` for every name. */
  hostname: string
  /** Where the web server listens: `PORT` on every address, IPv4 and IPv6, or `ADDRESS:PORT`. */
  listen: string
  /** Whether the administrator has named the port: Caddy then gets no certificate by itself. */
  hasPort?: boolean | undefined
  /** Whether the client gets each part of a response as soon as the application has sent it. */
  streaming: boolean
  /** Idle connections to the application that the web server keeps; 0 opens one per request. */
  keepAlive: number
  /** The largest request body, in MiB. */
  maxBody: number
  /** Seconds for which the application may send nothing. */
  timeout: number
  /** The web server's user and group, which need access to a Unix socket. */
  user: string
  group: string
  /** A directory of files that the web server sends itself, below a path such as `/static`. */
  files?: { at: string; directory: string } | undefined
  /** The certificate and its key, as PEM files. */
  tls?: { certificate: string; key: string } | undefined
  /** Basic authentication by an htpasswd file. */
  auth?: Authentication | undefined
}

/** The defaults of `portico init`. `timeout` is that of nginx's fastcgi_read_timeout. */
export const DEFAULTS = {
  to: 'unix:/run/portico/app.sock',
  mount: '',
  hostname: '_',
  listen: '80',
  streaming: true,
  keepAlive: 16,
  maxBody: 64,
  timeout: 60,
} as const satisfies Partial<Site>

export interface Authentication {
  realm: string
  /** An htpasswd file. */
  file: string
  /** The lines of the file, for servers that keep users in their configuration, if it can be read. */
  users?: readonly { name: string; hash: string }[] | undefined
}

/** A file of configuration. */
export interface ConfigFile {
  /** Where it belongs: absolute, or relative to the directory of the application. */
  path: string
  text: string
  /** Permissions other than the usual 0644. */
  mode?: number
  /** Whether a different file that is there does as well. */
  suffices?(present: string): boolean
}

/** Where a temporary instance of a web server lives. */
export interface InstanceSettings {
  directory: string
  /** `ADDRESS:PORT`, on which it listens. */
  listen: string
  /** The user of its workers, or undefined where one user runs everything. */
  user: string | undefined
  /** Lines in the language of the server that come before those of the applications. */
  additions?: string | undefined
}

/** A workaround that an administrator has to know about. */
export interface Quirk {
  /** Such as `nginx 1.22` or `Apache 2.4.59 and newer`. */
  versions: string
  /** What users or the administrator see. */
  symptom: string
  /** What the configuration, or the application, does about it. */
  remedy: string
}

/** All that Portico knows of a web server's configuration. */
export interface ServerDescription {
  /** As `portico init` and the documentation have it. */
  name: string
  title: string
  /** Gateways that it speaks. */
  gateways: readonly Site['gateway'][]
  /** The parts of a site that it can configure; absent if it can configure all. */
  takes?: readonly ('tls' | 'auth' | 'files')[]
  /**
   * The files that the user of the web server, or of the service, runs, where nothing else starts the
   * application.
   */
  runs?(site: Site): string[]
  /** What will not work at this site. */
  warnings?(site: Site): string[]
  /** The executable, and the packages of Debian and Ubuntu that bring it. */
  program?: string
  packages?: readonly string[]
  /** Complete files. */
  configure(site: Site): ConfigFile[]
  /** Commands, in their order, that put the files into use. The last one loads them. */
  activate(site: Site): string[]
  /** Commands that undo what those of `activate` have changed besides the files. */
  deactivate?(site: Site): string[]
  /** The path of a distribution's own site, which gets requests for host names that no site has. */
  defaultSite?: string
  /** A command that checks the installed configuration. */
  check?: readonly string[]
  /**
   * The main file of an instance apart from all others. The settings of the whole server are those of
   * the first site. A longer mount point comes before a shorter one.
   */
  instance?(sites: readonly [Site, ...Site[]], settings: InstanceSettings): string
  /** The arguments that run an instance in the foreground. */
  args?(file: string, settings: InstanceSettings): string[]
  /** Gateways over which it cannot send the mount point, so that the application has to have it as scriptName. */
  needsScriptName?: readonly Site['gateway'][]
  quirks: readonly Quirk[]
}

/** Commands that make the socket's directory, which the web server's group can enter. */
export function makeSocketDirectory({ to, gateway, group }: Site): string[] {
  const path = gateway === 'cgi' ? undefined : unixPath(to)
  if (path === undefined) return []
  return [`install -d -m 2750 -o "\${SUDO_USER:-$(id -un)}" -g ${group} ${dirname(path)}`]
}

/** The path of a `unix:PATH` address, or undefined. */
export function unixPath(address: string): string | undefined {
  return address.startsWith('unix:') ? address.slice('unix:'.length) : undefined
}

/** `HOST:PORT` in its two parts; without a host it is `''`. An IPv6 address keeps its brackets. */
export function hostAndPort(address: string): { host: string; port: string } {
  const colon = address.lastIndexOf(':')
  return { host: address.slice(0, Math.max(colon, 0)), port: address.slice(colon + 1) }
}

/** An IPv6 address without its brackets, for servers that have the port elsewhere. */
export function withoutBrackets(host: string): string {
  return host.replace(/^\[(.*)\]$/, '$1')
}

/**
 * The users of an htpasswd file, for a server that accepts only some kinds of hashes. `flag` makes
 * htpasswd write such a hash.
 *
 * @throws {ConfigurationError} if the file cannot be read, or has a hash of another kind
 */
export function usersOf(
  { users, file }: Authentication,
  server: string,
  known: RegExp,
  flag: string,
): readonly { name: string; hash: string }[] {
  if (users === undefined) {
    throw new ConfigurationError(
      `--auth: cannot read ${file}, whose users ${server} needs; create it with: htpasswd -c${flag} ${file} NAME`,
    )
  }
  const other = users.find(({ hash }) => !known.test(hash))
  if (other === undefined) return users
  throw new ConfigurationError(
    `--auth: ${server} does not know the hash of ${other.name}'s password; make another one: htpasswd -${flag} ${file} ${other.name}`,
  )
}

/** The text, escaped for a regular expression (PCRE). */
export function quoteRegExp(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`)
}

/** Joins lines; what is undefined, false or `''` is left out. A text may have lines of its own. */
export function lines(...parts: readonly (string | false | undefined)[]): string {
  return parts.filter((part) => part !== undefined && part !== false && part !== '').join('\n')
}

/** Indents each line that is not empty. */
export function indent(text: string, by = '    '): string {
  return text.replaceAll(/^(?=.)/gm, by)
}

/** Values without a meaning in any configuration language: no quotes, spaces, braces, `$`. */
const PLAIN = /^[\w./:@%+,~-]*$/

/** `HOST:PORT`, where the host may be an IPv6 address in brackets. */
const ADDRESS = /^(?:\[[\da-f:.]+\]|[\w.-]+):\d{1,5}$/i

/**
 * Checks what comes from a command line before it gets into a configuration file.
 *
 * @throws {ConfigurationError} for a value that could be syntax in a configuration language
 */
export function checkSite(site: Site): Site {
  const { to, listen, mount } = site
  const texts: [name: string, value: string | undefined][] = [
    ['--listen', unixPath(to)],
    ['--mount', mount],
    ['FILE', site.program],
    ['--hostname', site.hostname],
    ['--static', site.files?.at],
    ['--static', site.files?.directory],
    ['--tls', site.tls?.certificate],
    ['--tls', site.tls?.key],
    ['--auth', site.auth?.file],
    ...(site.auth?.users ?? []).map(({ name }): [string, string] => ['--auth', name]),
  ]
  for (const [name, value = ''] of texts) {
    if (PLAIN.test(value)) continue
    throw new ConfigurationError(
      `${name}: ${JSON.stringify(value)} has a character that configuration files cannot hold everywhere; use letters, digits and . / : @ % + , ~ _ -`,
    )
  }
  if (unixPath(to) === undefined && !ADDRESS.test(to)) {
    throw new ConfigurationError(
      `--listen: ${JSON.stringify(to)} must be unix:PATH or HOST:PORT, such as 127.0.0.1:9000`,
    )
  }
  if (!/^\d{1,5}$/.test(listen) && !ADDRESS.test(listen)) {
    throw new ConfigurationError(
      `--port: ${JSON.stringify(listen)} must be PORT or ADDRESS:PORT, such as 8080 or [::1]:8080`,
    )
  }
  if (mount !== '' && !/^\/.*[^/]$/.test(mount)) {
    throw new ConfigurationError(
      `--mount: ${JSON.stringify(mount)} must begin with a slash and not end with one`,
    )
  }
  return site
}
