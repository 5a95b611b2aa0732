/** Text for messages, logs and headers: grammar, escaping, quoting, inspecting. */

/** A token: a method, the name of a header or of a cookie (RFC 9110, section 5.6.2). */
export const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/

/**
 * The name and the value of a header line (RFC 9110, sections 5.1 and 5.5): no line folding, no
 * control characters except tabs.
 */
export const HEADER_LINE = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([\t -~\x80-\xff]*)$/

/**
 * Content-Length and CONTENT_LENGTH: no sign, no space, no exponent. Fifteen digits are exact in a
 * double.
 */
export const LENGTH = /^[0-9]{1,15}$/

/** Control characters, which could forge a line of a log or control the terminal that shows it. */
// oxlint-disable-next-line no-control-regex
const CONTROL = /[\x00-\x08\x0b-\x1f\x7f-\x9f]/g

/** `text` with its control characters, except newline and tab, written as `\xNN`. */
export function escapeControl(text: string): string {
  return text.replace(CONTROL, (c) => `\\x${hex(c, 2)}`)
}

/**
 * `text` as one entry of a log: control characters are escaped, every line after the first is
 * indented, and a newline follows. So text that a client sends cannot look like a separate entry.
 * All lines move together, because a caret may point at the line above it.
 */
export function asLogEntry(text: string): string {
  let end = text.length
  // The expression /\n+$/ would take quadratic time, and a client may have sent the text.
  while (text[end - 1] === '\n') end -= 1
  const shown = escapeControl(text.slice(0, end))
  return `${/\n(?! )/.test(shown) ? shown.replaceAll('\n', '\n  ') : shown}\n`
}

/** Inspects a value, such as an error with its stack. Never throws. */
export function show(value: unknown): string {
  try {
    // Loaded on demand: most processes never log an error.
    return process.getBuiltinModule('node:util').inspect(value)
  } catch {
    return '[a value whose inspection throws]'
  }
}

/** Characters of a text in a message: enough to recognise it. */
const MAX_QUOTED = 80

/** `text` in double quotes, on one line and in ASCII; longer texts are truncated. */
export function quote(text: string, max = MAX_QUOTED): string {
  const shown = text.length > max ? `${text.slice(0, max)}...` : text
  return `"${shown.replace(/["\\]|[^ -~]/g, (c) => (c === '"' || c === '\\' ? `\\${c}` : `\\u${hex(c, 4)}`))}"`
}

/** Percent-encodes the bytes that `unsafe`, a global expression, matches in a byte string. */
export function percentEncode(bytes: string, unsafe: RegExp): string {
  return bytes.replace(unsafe, (c) => `%${hex(c, 2).toUpperCase()}`)
}

function hex(character: string, digits: number): string {
  return character.charCodeAt(0).toString(16).padStart(digits, '0')
}

/** An object as a line of JSON. JSON escapes only ASCII control characters, but terminals obey others. */
export function asJsonLine(value: object): string {
  const text = JSON.stringify(value)
  return `${text.replace(/[\x7f-\x9f\u2028\u2029]/g, (c) => `\\u${hex(c, 4)}`)}\n`
}
