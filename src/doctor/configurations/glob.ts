/** File names with `*` and `?`, as include directives have them. (Node has glob only from 22 on.) */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'

export function globSync(pattern: string): string[] {
  let found = ['']
  for (const part of pattern.split('/')) {
    found = found.flatMap((directory) => {
      if (!/[*?[]/.test(part))
        return [directory === '' && part === '' ? '/' : join(directory, part)]
      const wanted = regExpOf(part)
      return namesIn(directory || '.')
        .filter((name) => wanted.test(name) && !name.startsWith('.'))
        .map((name) => join(directory, name))
    })
  }
  return found
}

function regExpOf(part: string): RegExp {
  const text = part
    .replaceAll(/[.+^${}()|\\]/g, String.raw`\$&`)
    .replaceAll('*', '.*')
    .replaceAll('?', '.')
  return new RegExp(`^${text}$`)
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory).toSorted()
  } catch {
    return []
  }
}
