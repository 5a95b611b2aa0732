/** The header of one part of a multipart body. */
import { quote, TOKEN } from '../text.ts'
import { malformed } from './limits.ts'

/** Names in lower case; values are byte strings, without the whitespace around them. */
export type PartHeaders = Readonly<Record<string, string>>

/**
 * A header value and its parameters: `text/plain; charset="us-ascii"` gives
 * `['text/plain', { charset: 'us-ascii' }]`; Python's `cgi.parse_header`.
 *
 * Names of parameters are in lower case, the last value of a repeated name counts, and the object
 * has no prototype. In a quoted value only `\\` and `\"` are escapes, because browsers have sent
 * `filename="C:\new\file"`. A parameter such as `filename*` is not decoded.
 */
export function parseHeader(line: string): [value: string, params: Record<string, string>] {
  const [value = '', ...rest] = splitParams(line)
  const params: Record<string, string> = Object.create(null)
  for (const param of rest) {
    const equals = param.indexOf('=')
    if (equals === -1) continue
    const text = trimSpaces(param.slice(equals + 1))
    const quoted = text.length >= 2 && text.startsWith('"') && text.endsWith('"')
    params[trimSpaces(param.slice(0, equals)).toLowerCase()] = quoted
      ? text.slice(1, -1).replace(/\\([\\"])/g, '$1')
      : text
  }
  return [value, params]
}

/** Splits at each `;` that is not inside quotes. */
function splitParams(line: string): string[] {
  const params: string[] = []
  let start = 0
  let quoted = false
  for (let i = 0; i < line.length; i++) {
    const character = line[i]
    if (character === '"') quoted = !quoted
    else if (character === '\\' && quoted) i++
    else if (character === ';' && !quoted) {
      params.push(trimSpaces(line.slice(start, i)))
      start = i + 1
    }
  }
  params.push(trimSpaces(line.slice(start)))
  return params
}

/** `trim()` would remove U+00A0 as well, which in a byte string is a part of many UTF-8 characters. */
function trimSpaces(text: string): string {
  let start = 0
  let end = text.length
  while (start < end && isSpace(text.charCodeAt(start))) start++
  while (end > start && isSpace(text.charCodeAt(end - 1))) end--
  return text.slice(start, end)
}

const isSpace = (code: number): boolean => code === 0x20 || code === 0x09

/**
 * The fields of a part's header (RFC 7578, section 4.8), lines ending in CRLF or LF.
 *
 * A line that starts with a space continues the one before. This parser is stricter than Python's,
 * because a firewall might read a different form from the same bytes: a malformed line, a repeated
 * field and control characters are a PeerError with a 400.
 */
export function parsePartHeaders(block: string): PartHeaders {
  const headers: Record<string, string> = Object.create(null)
  if (block === '') return headers
  for (const line of block.replace(/\r?\n[ \t]+/g, ' ').split(/\r?\n/)) {
    const colon = line.indexOf(':')
    const name = line.slice(0, colon).toLowerCase()
    const value = trimSpaces(line.slice(colon + 1))
    if (colon === -1 || !TOKEN.test(name)) throw malformed(`invalid part header ${quote(line)}`)
    if (/[^\t\x20-\x7e\x80-\xff]/.test(value)) {
      throw malformed(`a control character in the part header ${quote(name)}`)
    }
    if (name in headers) throw malformed(`the part header ${quote(name)} appears twice`)
    headers[name] = value
  }
  return headers
}
