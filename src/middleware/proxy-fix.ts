/** The client behind a trusted HTTP proxy (werkzeug's ProxyFix; RFC 7239). */
import { isIP } from 'node:net'
import { asApplication } from '../application/detect.ts'
import { ConfigurationError } from '../errors.ts'
import { allowClients } from '../address-list.ts'
import type { Application, ApplicationClass, Environ } from '../types.ts'
import { type Hop, parseForwarded } from './forwarded.ts'

/** What a proxy can be believed about. */
export type ProxyField = 'for' | 'proto' | 'host' | 'port' | 'prefix'

/** Whom `proxyFix` believes, and what. */
export interface ProxyFixOptions {
  /**
   * The proxies: addresses and CIDR blocks, and 'unix' for whoever connects to a Unix socket. Each
   * one on the way has to be among them.
   */
  readonly trusted: readonly string[]
  /** How many proxies there are at most. Default: 1. */
  readonly count?: number | undefined
  /**
   * What they set themselves, whatever a client sends: X-Forwarded-For, -Proto, -Host, -Port and
   * -Prefix. Default: `['for', 'proto']`.
   */
  readonly fields?: readonly ProxyField[] | undefined
  /** True: they speak of for, proto and host in `Forwarded` (RFC 7239), not in X-Forwarded-*. */
  readonly forwarded?: boolean | undefined
}

/**
 * Puts what trusted proxies say of the client in the place of what the proxy's own connection says.
 *
 * It acts behind HTTPHandler only: over CGI, FastCGI and SCGI the web server tells it anyway.
 *
 * @param app the application; it sees the client in REMOTE_ADDR, `wsgi.url_scheme`, HTTPS, HTTP_HOST,
 *   SERVER_NAME, SERVER_PORT and SCRIPT_NAME, as far as these are in `fields`.
 * @param options `trusted`, `count`, `fields`, `forwarded`.
 * @returns the application. What comes from elsewhere, or is malformed, is passed over.
 * @throws {ConfigurationError} for an empty or malformed list, or a count under 1.
 * @example
 * import { proxyFix } from 'portico/middleware'
 *
 * const application = proxyFix(
 *   (environ, startResponse) => {
 *     startResponse('200 OK', [['Content-Type', 'text/plain']])
 *     return [environ['portico.gateway'] === 'http' ? environ.REMOTE_ADDR : '192.0.2.1']
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
  const { count = 1, fields = ['for', 'proto'], forwarded = false, trusted } = options ?? {}
  if (!Number.isSafeInteger(count) || count < 1) {
    throw new ConfigurationError(`proxyFix: ${count} is no number of proxies`)
  }
  const trusts = trustIn(trusted)
  return (environ, startResponse) => {
    if (environ['portico.gateway'] === 'http' && trusts(environ['REMOTE_ADDR'])) {
      const values = forwarded ? forwardedValues(environ) : xForwardedValues(environ)
      if (values) fix(environ, values, new Set(fields), countHops(values('for'), count, trusts))
    }
    return application(environ, startResponse)
  }
}

type Trusts = (address: string | undefined) => boolean

/** What was said of a field, the nearest proxy's word last. */
type Values = (field: ProxyField) => string[]

function trustIn(list: readonly string[]): Trusts {
  if (!Array.isArray(list)) {
    throw new ConfigurationError(
      "proxyFix: trusted is an array of addresses and CIDR blocks, and 'unix' for a Unix socket",
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

/** How many of the last words are those of trusted proxies: each was heard by the one before it. */
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
    // A proxy that replaces what it was given leaves fewer words than there are proxies.
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
  if (name !== undefined) {
    environ['HTTP_HOST'] = host
    environ.SERVER_NAME = name
    environ.SERVER_PORT = hostPort ?? usualPort(environ)
  }
  if (/^\d{1,5}$/.test(port)) {
    environ.SERVER_PORT = port
    const known = HOST.exec(environ['HTTP_HOST'] ?? '')?.[1]
    if (known !== undefined) environ['HTTP_HOST'] = `${known}:${port}`
  }
  // A port that the scheme implies is left out, as clients do themselves.
  environ['HTTP_HOST'] &&= environ['HTTP_HOST'].replace(new RegExp(`:${usualPort(environ)}$`), '')
  if (PREFIX.test(prefix)) environ.SCRIPT_NAME = prefix.replace(/\/$/, '') + environ.SCRIPT_NAME
}

function usualPort(environ: Environ): string {
  return environ['wsgi.url_scheme'] === 'https' ? '443' : '80'
}

/** 192.0.2.1, 192.0.2.1:80, 2001:db8::1, [2001:db8::1]:80; no names, and nothing obfuscated. */
function readAddress(text: string): string | undefined {
  const address = text.replace(/^\[([^\]]*)\](?::\d+)?$|^(\d+\.\d+\.\d+\.\d+):\d+$/, '$1$2')
  return isIP(address) > 0 && !address.includes('%') ? address : undefined
}

const HOST = /^(\[[\da-f:.]+\]|[\w.~-]+)(?::(\d{1,5}))?$/i
const PREFIX = /^(?:\/[\w~!$&'()*+,;=:@-][\w.~!$&'()*+,;=:@-]*)+\/?$/
