/** The difference between two texts, for people. */

/** Unchanged lines that are shown before and after each change. */
const CONTEXT = 2

/** Lines of `before` and `after`, marked `-` and `+`; common lines begin with a space. */
export function difference(before: string, after: string): string {
  const old = before.split('\n')
  const now = after.split('\n')
  // Lengths of the longest common subsequences; configuration files are short.
  const table = Array.from({ length: old.length + 1 }, () => new Uint32Array(now.length + 1))
  for (let i = old.length - 1; i >= 0; i--) {
    for (let j = now.length - 1; j >= 0; j--) {
      table[i]![j] =
        old[i] === now[j]
          ? table[i + 1]![j + 1]! + 1
          : Math.max(table[i + 1]![j]!, table[i]![j + 1]!)
    }
  }
  const lines: string[] = []
  for (let i = 0, j = 0; i < old.length || j < now.length;) {
    if (i < old.length && j < now.length && old[i] === now[j]) {
      lines.push(` ${old[i++]}`)
      j++
    } else if (i < old.length && (j === now.length || table[i + 1]![j]! >= table[i]![j + 1]!)) {
      lines.push(`-${old[i++]}`)
    } else lines.push(`+${now[j++]}`)
  }
  return shorten(lines)
    .map((line) => `${line}\n`)
    .join('')
}

/** Leaves out common lines that are far from every change. */
function shorten(lines: readonly string[]): string[] {
  const near = lines.map((_, index) =>
    lines
      .slice(Math.max(0, index - CONTEXT), index + CONTEXT + 1)
      .some((line) => !line.startsWith(' ')),
  )
  return lines.flatMap((line, index) => {
    if (near[index]) return [line]
    return index > 0 && near[index - 1] ? [' ...'] : []
  })
}
