/** Adds lines of the source to the text of an error. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** Lines of the source above and below the one that failed. */
const LINES_AROUND = 3

/**
 * A frame of Node's loader, or of what calls it here, which says nothing about the application. The
 * brace after the last frame begins the properties of the error.
 */
const LOADERS_FRAME =
  /\n +at .*(?:\(|\s)(?:node:internal\/.*?|(?:file:\/\/)?\/.*\/src\/(?:development\/child\.cjs|(?:application|chunks)\/load-hosted\.js):.*?)( \{)?(?=\n|$)/g

/** The text of an error without the frames of loading. */
export function withoutLoader(stack: string): string {
  return stack.replaceAll(LOADERS_FRAME, '$1')
}

/**
 * `stack`, the text of an error, followed by the lines of the source that the first frame outside
 * of packages names. An error that shows its lines already, such as a SyntaxError, stays as it is.
 */
export function withSource(stack: string): string {
  const text = withoutLoader(stack)
  if (/^.+:\d+\n.*\n *\^/m.test(text)) return text
  for (const [, url, digits] of text.matchAll(
    /^ +at .*?((?:file:\/\/)?\/[^()\n]+?):(\d+):\d+\)?$/gm,
  )) {
    const path = pathOf(url!)
    if (path === undefined || path.includes('/node_modules/')) continue
    const lines = sourceLines(path, Number(digits))
    if (lines !== undefined) return `${text.trimEnd()}\n\n  ${path}:${digits}\n${lines}`
  }
  return text
}

function pathOf(url: string): string | undefined {
  try {
    return url.startsWith('file:') ? fileURLToPath(url) : url
  } catch {
    return undefined
  }
}

function sourceLines(path: string, line: number): string | undefined {
  let lines: string[]
  try {
    lines = readFileSync(path, 'utf8').split('\n')
  } catch {
    return undefined
  }
  const first = Math.max(1, line - LINES_AROUND)
  const last = Math.min(lines.length, line + LINES_AROUND)
  const shown: string[] = []
  for (let number = first; number <= last; number += 1) {
    const mark = number === line ? '>' : ' '
    shown.push(`  ${mark} ${String(number).padStart(String(last).length)} | ${lines[number - 1]!}`)
  }
  return shown.join('\n')
}
