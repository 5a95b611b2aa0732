/** Paths as web servers decode and normalise them. */
import { Buffer } from 'node:buffer'

/** Percent-decoded once, into bytes. */
export function decoded(path: string): string {
  const bytes: number[] = []
  for (let i = 0; i < path.length; i += 1) {
    const digits = path.slice(i + 1, i + 3)
    if (path[i] === '%' && /^[0-9a-f]{2}$/i.test(digits)) {
      bytes.push(Number.parseInt(digits, 16))
      i += 2
    } else {
      bytes.push(path.charCodeAt(i))
    }
  }
  return Buffer.from(bytes).toString('latin1')
}

/** Merges slashes and resolves '.' and '..', never above the root. */
export function normalised(path: string): string {
  const kept: string[] = []
  const segments = path.split('/').filter((segment) => segment !== '')
  for (const segment of segments) {
    if (segment === '..') kept.pop()
    else if (segment !== '.') kept.push(segment)
  }
  const directory = /(^|\/)\.{0,2}$/.test(path) && kept.length > 0
  return `/${kept.join('/')}${directory ? '/' : ''}`
}
