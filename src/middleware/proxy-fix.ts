/** The client's address, host and scheme from trusted proxies (werkzeug's ProxyFix; RFC 7239). */
import { isIP } from 'node:net'
import { allowClients } from '../address-list.ts'
import { asApplication } from '../application/detect.ts'
import { checkNames, suggestion } from '../options/names.ts'
import { briefly, isInteger, refuse } from '../options/values.ts'
import { ConfigurationError } from '../errors.ts'
import type { Application, ApplicationClass, Environ } from '../types.ts'
import { type Hop, parseForwarded } from './forwarded.ts'

/** What a proxy can report. */
export type ProxyField = (typeof FIELDS)[number]

const FIELDS = ['for', 'proto', 'host', 'port', 'prefix'] as const

export interface ProxyFixOptions {
  /**
   * The proxies: addresses, CIDR blocks, and 'unix' for connections to a Unix socket. Each proxy on
   * the way has to be among them.
   */
  readonly trusted: readonly string[]
  /** The largest number of proxies on the way. Default: 1. */
  readonly count?: number | undefined
  /**
   * The fields that the proxies set themselves, whatever the client sends: X-Forwarded-For, -Proto,
   * -Host, -Port and -Prefix. Default: `['for', 'proto']`.
   */
  readonly fields?: readonly ProxyField[] | undefined
  /** True: for, proto and host come from `Forwarded` (RFC 7239), not from X-Forwarded-*. */
  readonly forwarded?: boolean | undefined
}

/**
 * Replaces the proxy's address, host and scheme in the environ with the client's, as reported by the proxy.
 *
 * It works with every gateway. Over CGI, FastCGI and SCGI, REMOTE_ADDR is the address that the web
 * server sees, so it is for web servers that are behind a proxy themselves.
 *
 * @param app the application. It finds the client in REMOTE_ADDR, `wsgi.url_scheme`, HTTPS, HTTP_HOST,
 *   SERVER_NAME, SERVER_PORT, SCRIPT_NAME and REQUEST_URI, as far as these are in `fields`.
 * @param options `trusted`, `count`, `fields`, `forwarded`.
 * @returns the application. Headers from other addresses, and malformed ones, are ignored.
 * @throws {ConfigurationError} for an empty or malformed list, a value out of range or an unknown
 *   option.
 * @example
 * import { proxyFix } from 'portico/middleware'
 *
 * const application = proxyFix(
 *   (environ, startResponse) => {
 *     startResponse('200 OK', [['Content-Type', 'text/plain']])
 *     return [String(environ.REMOTE_ADDR)]
 *   },
 *   { trusted: ['127.0.0.1', '::1'] },
 * )
 * // GET / with X-Forwarded-For: 203.0.113.9, 192.0.2.1 → 200 192.0.2.1
 */
export function proxyFix(
  app: Application | ApplicationClass,
  options: ProxyFixOptions,
): Application {
  const application = asApplication(app)
  checkNames('proxyFix', options ?? {}, ['trusted', 'count', 'fields', 'forwarded'])
  const { count = 1, fields = ['for', 'proto'], forwarded = false, trusted } = options ?? {}
  const trusts = trustIn(trusted)
  if (!isInteger(count, 1)) refuse('proxyFix', 'count', count, 'a whole number, 1 or more')
  if (!Array.isArray(fields)) {
    refuse('proxyFix', 'fields', fields, `an array of ${FIELDS.join(', ')}`)
  }
  for (const field of fields) {
    if (FIELDS.includes(field)) continue
    throw new ConfigurationError(
      `proxyFix: unknown field ${briefly(field)} in fields. ${suggestion(String(field), FIELDS)}`,
    )
  }
  if (typeof forwarded !== 'boolean') refuse('proxyFix', 'forwarded', forwarded, 'true or false')
  return (environ, startResponse) => {
    if (isTrusted(environ, trusts)) {
      const values = forwarded ? forwardedValues(environ) : xForwardedValues(environ)
      if (values) fix(environ, values, new Set(fields), countHops(values('for'), count, trusts))
    }
    return application(environ, startResponse)
  }
}

type Trusts = (address: string | undefined) => boolean

/** The values of a field, the one from the nearest proxy last. */
type Values = (field: ProxyField) => string[]

function trustIn(list: readonly string[]): Trusts {
  if (!Array.isArray(list)) {
    throw new ConfigurationError(
      "proxyFix: trusted must be an array of addresses and CIDR blocks, or 'unix' for a Unix socket",
    )
  }
  const addresses = list.filter((entry) => entry !== 'unix')
  const unix = addresses.length < list.length
  const admits = addresses.length > 0 || !unix ? allowClients(addresses, 'proxyFix: trusted') : null
  return (address) => {
    if (address === undefined) return unix
    const remoteFamily = address.includes(':') ? 'IPv6' : 'IPv4'
    return admits?.({ remoteAddress: address, remoteFamily }) ?? false
  }
}

/** HTTPHandler has no REMOTE_ADDR for a Unix socket; nginx writes 'unix:'. */
function isTrusted(environ: Environ, trusts: Trusts): boolean {
  const { REMOTE_ADDR: address, 'portico.gateway': gateway } = environ
  if (address === 'unix:' || (!address && gateway === 'http')) return trusts(undefined)
  return Boolean(address) && trusts(address)
}

function xForwardedValues(environ: Environ): Values {
  return (field) => {
    const value = environ[`HTTP_X_FORWARDED_${field.toUpperCase() as Uppercase<ProxyField>}`]
    return value === undefined ? [] : value.split(',').map((it) => it.trim())
  }
}

function forwardedValues(environ: Environ): Values | undefined {
  const hops: readonly Hop[] | undefined = parseForwarded(environ['HTTP_FORWARDED'] ?? '')
  return hops && ((field) => hops.map((hop) => hop.get(field) ?? ''))
}

/** How many of the last values are from trusted proxies: each proxy adds the address before it. */
function countHops(addresses: string[], count: number, trusts: Trusts): number {
  let hops = 1
  while (hops < count && hops < addresses.length) {
    const address = readAddress(addresses.at(-hops) ?? '')
    if (address === undefined || !trusts(address)) break
    hops += 1
  }
  return hops
}

function fix(environ: Environ, values: Values, fields: Set<ProxyField>, hops: number): void {
  const read = (field: ProxyField): string => {
    const list = fields.has(field) ? values(field) : []
    // A proxy that replaces the header leaves fewer values than there are proxies.
    return list.at(-Math.min(hops, list.length)) ?? ''
  }
  const address = readAddress(read('for'))
  const proto = read('proto').toLowerCase()
  const host = read('host')
  const port = read('port')
  const prefix = read('prefix')
  if (address !== undefined) {
    environ['REMOTE_ADDR'] = address
    delete environ['REMOTE_PORT']
    delete environ['REMOTE_HOST']
  }
  if (proto === 'http' || proto === 'https') {
    environ['wsgi.url_scheme'] = proto
    if (proto === 'https') environ['HTTPS'] = 'on'
    else delete environ['HTTPS']
    environ.SERVER_PORT = proto === 'https' ? '443' : '80'
  }
  const [, name, hostPort] = HOST.exec(host) ?? []
  if (name !== undefined && (!hostPort || isPort(hostPort))) {
    environ['HTTP_HOST'] = hostPort ? host : name
    environ.SERVER_NAME = name
    environ.SERVER_PORT = hostPort || usualPort(environ)
  }
  if (isPort(port)) {
    environ.SERVER_PORT = port
    const known = HOST.exec(environ['HTTP_HOST'] ?? '')?.[1]
    if (known !== undefined) environ['HTTP_HOST'] = `${known}:${port}`
  }
  // Clients leave out the port that the scheme implies.
  environ['HTTP_HOST'] &&= environ['HTTP_HOST'].replace(new RegExp(`:${usualPort(environ)}$`), '')
  if (PREFIX.test(prefix)) addPrefix(environ, prefix.replace(/\/$/, ''))
}

/**
 * Adds the prefix to REQUEST_URI as well, which has the client's spelling of the path. Otherwise the
 * two would disagree, and bridges would have to encode the path again.
 */
function addPrefix(environ: Environ, prefix: string): void {
  const uri = environ['REQUEST_URI']
  environ.SCRIPT_NAME =
    prefix.replace(/%([\da-f]{2})/gi, (_, hex: string) =>
      String.fromCharCode(Number.parseInt(hex, 16)),
    ) + environ.SCRIPT_NAME
  if (uri?.startsWith('/')) environ['REQUEST_URI'] = prefix + uri
}

function isPort(text: string): boolean {
  return /^[1-9]\d{0,4}$/.test(text) && Number(text) <= 65_535
}

function usualPort(environ: Environ): string {
  return environ['wsgi.url_scheme'] === 'https' ? '443' : '80'
}

/**
 * Reads 192.0.2.1, 192.0.2.1:80, 2001:db8::1 and [2001:db8::1]:80; undefined for a name or an
 * obfuscated identifier. An address has the spelling of a direct connection's REMOTE_ADDR: IPv4 in
 * IPv6 is IPv4, and IPv6 is short and in lower case (RFC 5952).
 */
function readAddress(text: string): string | undefined {
  const address = text.replace(/^\[([^\]]*)\](?::\d+)?$|^(\d+\.\d+\.\d+\.\d+):\d+$/, '$1$2')
  const version = isIP(address)
  if (version === 4) return address
  if (version === 0 || address.includes('%')) return undefined
  const short = new URL(`http://[${address}]`).hostname.slice(1, -1)
  const [, high, low] = /^::ffff:([\da-f]+):([\da-f]+)$/.exec(short) ?? []
  if (high === undefined || low === undefined) return short
  return [high, low].flatMap(twoBytes).join('.')
}

/** The bytes of a group of an IPv6 address. */
function twoBytes(group: string): [number, number] {
  const value = Number.parseInt(group, 16)
  return [value >> 8, value & 0xff]
}

/** The port may be empty (RFC 3986, section 3.2.3), which is the same as none. */
const HOST = /^(\[[\da-f:.]+\]|[\w.~-]+)(?::(\d{0,5}))?$/i
/** Segments of a path: no dot at the start, encoded or not, and no encoded slash or control character inside. */
const PREFIX = /^(?:\/(?!\.|%2e)(?:[\w.~!$&'()*+,;=:@-]|%(?!2f|5c|[01]|7f)[\da-f]{2})+)+\/?$/i
