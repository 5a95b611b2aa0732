/** The path of a request target. */

/**
 * The path of a request target (RFC 9112, section 3.2) in origin or absolute form, percent-decoded
 * once into bytes; '' for `*` and for an authority. A '%' without two hex digits stays as it is.
 */
export function decodePath(target: string): string {
  const local = target.startsWith('/') ? target : target.replace(ORIGIN, '')
  if (!local.startsWith('/')) return ''
  const end = local.search(/[?#]/)
  const path = end < 0 ? local : local.slice(0, end)
  return path.includes('%')
    ? path.replace(ESCAPE, (_, digits: string) => String.fromCharCode(parseInt(digits, 16)))
    : path
}

const ORIGIN = /^[a-z][a-z0-9+.-]*:\/\/[^/?#]*/i
const ESCAPE = /%([0-9a-f]{2})/gi
