/**
 * CGI variables → environ, for every gateway: which variables get in, what is there in any case,
 * and what is refused. A handler brings the variables of its protocol; the rules are here.
 */
import { Buffer } from 'node:buffer'
import type { Environ } from '../types.ts'
import { PeerError } from '../errors.ts'
import type { LazyAbortController } from '../request/lazy-abort-controller.ts'
import { repairPath, repairServerName, type PathOptions } from './quirks.ts'

/**
 * An object whose only prototype is one without a prototype: `__proto__`, `toString` and the like
 * are ordinary keys in it. V8 keeps such an instance in its fast form where it makes a dictionary of
 * `Object.create(null)`; an accessor of its own would make it one as well, and each request four
 * times as dear to fill. So `portico.signal`, which is made only when asked for, is the one key
 * that the prototype has.
 */
const EnvironRecord = function () {} as unknown as { new (): Environ; prototype: object }
EnvironRecord.prototype = Object.create(null, {
  'portico.signal': {
    get(this: { readonly 'portico.abort'?: LazyAbortController }): AbortSignal | undefined {
      return this['portico.abort']?.signal
    },
    enumerable: true,
  },
})

/** An environ without a key. */
export function createEnviron(): Environ {
  return new EnvironRecord()
}

/** What every environ inherits. */
export const ENVIRON_PROTOTYPE: object = EnvironRecord.prototype

/**
 * A shallow copy, for a layer that wants to change an environ of its own. `{ ...environ }` would
 * lose `portico.signal`, which the prototype makes when it is first asked for.
 */
export function copyEnviron(environ: Environ): Environ {
  return Object.assign(createEnviron(), environ)
}

/**
 * Puts a variable from a peer into the environ, if it may be there:
 *
 * - HTTP_PROXY never (CVE-2016-5385, "httpoxy"), nor HTTP_CONTENT_TYPE and HTTP_CONTENT_LENGTH,
 *   the doubles of CONTENT_TYPE and CONTENT_LENGTH (PEP 3333, "environ Variables");
 * - CONTENT_TYPE and CONTENT_LENGTH not when empty, as nginx and Caddy send them on a GET;
 * - a name with a dot never: those keys are the gateway's own;
 * - a repeated header is joined with ', ', a repeated Cookie with '; ' (RFC 9110, section 5.3;
 *   RFC 6265, section 5.4): nginx before 1.23 sends one variable for each line.
 *
 * Names and values are byte strings.
 */
export function setVariable(environ: Environ, name: string, value: string): void {
  putVariable(environ, name, ruleFor(name), value)
}

/** Whether a variable gets in; 'header' also says that a repeated one is joined. */
export type Rule = 'always' | 'header' | 'never' | 'not empty'

/** What `setVariable` does with a name, whatever the value. */
export function ruleFor(name: string): Rule {
  switch (name) {
    case '':
    case 'HTTP_PROXY':
    case 'HTTP_CONTENT_TYPE':
    case 'HTTP_CONTENT_LENGTH':
      return 'never'
    case 'CONTENT_TYPE':
    case 'CONTENT_LENGTH':
      return 'not empty'
  }
  if (name.includes('.')) return 'never'
  return name.startsWith('HTTP_') ? 'header' : 'always'
}

/** `setVariable` for who knows the rule of the name. */
export function putVariable(environ: Environ, name: string, rule: Rule, value: string): void {
  if (rule === 'never' || (rule === 'not empty' && value === '')) return
  const variables = environ as unknown as Record<string, string | undefined>
  const earlier = rule === 'header' ? variables[name] : undefined
  variables[name] =
    earlier === undefined ? value : `${earlier}${name === 'HTTP_COOKIE' ? '; ' : ', '}${value}`
}

/** The same for a list `[name, value, name, value, …]`. */
export function setVariables(environ: Environ, list: readonly string[]): void {
  for (let i = 0; i + 1 < list.length; i += 2) setVariable(environ, list[i]!, list[i + 1]!)
}

/**
 * Makes the CGI part of an environ complete: paths repaired (`quirks.ts`), and every key there
 * that DESIGN promises.
 *
 * @throws {PeerError} 400 for a CONTENT_LENGTH that is not one to fifteen digits, or a NUL in the
 *   path, which no CGI variable can hold (FastCGI 1.0, section 6.1).
 */
export function completeEnviron(environ: Environ, options: PathOptions): void {
  environ.REQUEST_METHOD ||= 'GET'
  environ.SERVER_PROTOCOL ||= 'HTTP/1.0'
  environ.SERVER_NAME ||= 'localhost'
  environ.SERVER_PORT ||= '80'
  environ.QUERY_STRING ??= ''
  repairServerName(environ)
  repairPath(environ, options)
  if (environ.PATH_INFO.includes('\0') || environ.SCRIPT_NAME.includes('\0')) {
    throw new PeerError('PORTICO_BAD_REQUEST', 'The path contains a NUL')
  }
  const length = environ['CONTENT_LENGTH']
  if (length !== undefined && !CONTENT_LENGTH.test(length)) {
    throw new PeerError('PORTICO_BAD_REQUEST', 'CONTENT_LENGTH is not a number of bytes')
  }
}

/** No sign, no blank, no exponent; fifteen digits are exact in a double. */
const CONTENT_LENGTH = /^[0-9]{1,15}$/

/** CONTENT_LENGTH of a complete environ in bytes; undefined if it is absent. */
export function contentLength(environ: Environ): number | undefined {
  const length = environ['CONTENT_LENGTH']
  return length === undefined ? undefined : Number(length)
}

/** The text that a byte string holds as UTF-8; invalid bytes read as U+FFFD. */
export function decodeText(value: string): string {
  return Buffer.from(value, 'latin1').toString('utf8')
}

/** The byte string of a text's UTF-8: the inverse of `decodeText`. */
export function encodeText(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1')
}
