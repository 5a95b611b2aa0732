/** The environment of a script (RFC 3875, section 4.1): a whitelist. */
import { encodeText } from '../environ/environ.ts'
import type { Environ } from '../types.ts'
import type { Script } from './find-script.ts'
import type { Settings } from './options.ts'

/**
 * What a script gets of the request's variables, besides HTTP_* and SSL_*: the list of Apache's suEXEC
 * (2.4). The web server may set more for its gateways (PHP_VALUE, LD_PRELOAD); those need `inherit`.
 */
const PASSED: ReadonlySet<string> = new Set(
  // oxfmt-ignore
  [
    'AUTH_TYPE', 'CONTENT_LENGTH', 'CONTENT_TYPE', 'CONTEXT_DOCUMENT_ROOT', 'CONTEXT_PREFIX',
    'DATE_GMT', 'DATE_LOCAL', 'DOCUMENT_ARGS', 'DOCUMENT_NAME', 'DOCUMENT_PATH_INFO', 'DOCUMENT_ROOT',
    'DOCUMENT_URI', 'GATEWAY_INTERFACE', 'HTTPS', 'LAST_MODIFIED', 'PATH_INFO', 'PATH_TRANSLATED',
    'QUERY_STRING', 'QUERY_STRING_UNESCAPED', 'REDIRECT_ERROR_NOTES', 'REDIRECT_HANDLER',
    'REDIRECT_QUERY_STRING', 'REDIRECT_REMOTE_USER', 'REDIRECT_SCRIPT_FILENAME', 'REDIRECT_STATUS',
    'REDIRECT_URL', 'REMOTE_ADDR', 'REMOTE_HOST', 'REMOTE_IDENT', 'REMOTE_PORT', 'REMOTE_USER',
    'REQUEST_METHOD', 'REQUEST_SCHEME', 'REQUEST_URI', 'SCRIPT_FILENAME', 'SCRIPT_NAME', 'SCRIPT_URI',
    'SCRIPT_URL', 'SERVER_ADDR', 'SERVER_ADMIN', 'SERVER_NAME', 'SERVER_PORT', 'SERVER_PROTOCOL',
    'SERVER_SIGNATURE', 'SERVER_SOFTWARE', 'UNIQUE_ID', 'USER_NAME',
  ],
)

/** What a script gets of this process: Go's net/http/cgi passes PATH, suEXEC passes TZ. */
const OWN = ['PATH', 'TZ'] as const

/** The PATH of suEXEC, for a process that has none. */
export const SUEXEC_PATH = '/usr/local/bin:/usr/bin:/bin'

/** Names that a shell and other programs take; others could not be exported. */
const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/

/** A client must not choose the proxy of a script (CVE-2016-5385, "httpoxy"). */
export const NEVER = 'HTTP_PROXY'

/**
 * The variables of a script, as byte strings.
 *
 * @param mount SCRIPT_NAME without the script.
 * @param length CONTENT_LENGTH, if the request has a body.
 */
export function variablesOf(
  environ: Environ,
  mount: string,
  script: Script,
  length: string | undefined,
  { env, inherit, documentRoot, directory }: Settings,
): Map<string, string> {
  const variables = new Map<string, string>()
  for (const name of OWN) {
    const value = process.env[name]
    if (value !== undefined) variables.set(name, encodeText(value))
  }
  if (!variables.has('PATH')) variables.set('PATH', SUEXEC_PATH)
  for (const name in environ) {
    if (!isPassed(name)) continue
    const value: unknown = environ[name]
    if (typeof value === 'string' && NAME.test(name)) variables.set(name, value)
  }
  for (const name of inherit) {
    const value: unknown = environ[name] ?? process.env[name]
    if (typeof value === 'string') {
      variables.set(name, name in environ ? value : encodeText(value))
    }
  }
  hideCredentials(variables)
  const root =
    documentRoot === undefined
      ? environ['DOCUMENT_ROOT'] || encodeText(directory)
      : encodeText(documentRoot)
  const { name, path, pathInfo } = script
  variables.set('GATEWAY_INTERFACE', 'CGI/1.1')
  variables.set('SCRIPT_NAME', mount + name)
  variables.set('SCRIPT_FILENAME', encodeText(path))
  variables.set('DOCUMENT_ROOT', root)
  variables.delete('PATH_INFO')
  variables.delete('PATH_TRANSLATED')
  if (pathInfo !== '') {
    variables.set('PATH_INFO', pathInfo)
    variables.set('PATH_TRANSLATED', root.replace(/\/$/, '') + pathInfo)
  }
  if (length === undefined) variables.delete('CONTENT_LENGTH')
  else variables.set('CONTENT_LENGTH', length)
  // The script reads a decoded body.
  variables.delete('HTTP_TRANSFER_ENCODING')
  setMissing(variables, 'SERVER_SOFTWARE', 'Portico')
  // Section 4.1.9: the address, if the name of the host is not known.
  setMissing(variables, 'REMOTE_HOST', environ['REMOTE_ADDR'])
  // php-cgi with cgi.force_redirect, its default, refuses to run without it.
  setMissing(variables, 'REDIRECT_STATUS', '200')
  for (const [key, value] of Object.entries(env)) variables.set(key, encodeText(value))
  variables.delete(NEVER)
  return variables
}

function isPassed(name: string): boolean {
  return name.startsWith('HTTP_') || PASSED.has(name) || name.startsWith('SSL_')
}

/** Section 4.1.18: if the server has authenticated the client, the script does not get the password. */
function hideCredentials(variables: Map<string, string>): void {
  if (variables.get('REMOTE_USER') || variables.get('AUTH_TYPE')) {
    variables.delete('HTTP_AUTHORIZATION')
  }
  variables.delete('HTTP_PROXY_AUTHORIZATION')
}

function setMissing(variables: Map<string, string>, name: string, value: string | undefined): void {
  if (value && !variables.get(name)) variables.set(name, value)
}
