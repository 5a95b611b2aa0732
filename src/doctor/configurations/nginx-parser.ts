/** nginx's configuration as a tree, and the directives that hold for a request. */
import { globSync } from './glob.ts'
import { dirname, isAbsolute, join } from 'node:path'
import { textOf } from '../processes.ts'

export interface Directive {
  readonly name: string
  readonly args: readonly string[]
  readonly block?: readonly Directive[]
}

/** How deep files may include others, so that a cycle ends. */
const MAX_DEPTH = 10

/** Reads a file and everything that it includes. Files that cannot be read are left out. */
export function parseNginx(file: string, root = dirname(file), depth = 0): Directive[] {
  if (depth > MAX_DEPTH) return []
  const tokens = tokensOf(textOf(file))
  return block(tokens, (pattern) =>
    globSync(isAbsolute(pattern) ? pattern : join(root, pattern)).flatMap((each) =>
      parseNginx(each, root, depth + 1),
    ),
  )
}

/** A quoted text, a punctuation mark, or a word; `${name}` belongs to a word. */
const TOKEN = /"((?:\\.|[^"\\])*)"|'((?:\\.|[^'\\])*)'|([;{}])|((?:\$\{\w+\}|\\.|[^\s;{}"'])+)/g

type Token = { readonly mark: string } | { readonly word: string }

function tokensOf(text: string): Token[] {
  const tokens: Token[] = []
  const plain = text.replaceAll(/(^|\s)#.*$/gm, '$1')
  for (const [, double, single, mark, word] of plain.matchAll(TOKEN)) {
    tokens.push(mark === undefined ? { word: double ?? single ?? word ?? '' } : { mark })
  }
  return tokens
}

function block(tokens: Token[], include: (pattern: string) => Directive[]): Directive[] {
  const directives: Directive[] = []
  let words: string[] = []
  for (let token = tokens.shift(); token !== undefined; token = tokens.shift()) {
    if ('word' in token) {
      words.push(token.word)
      continue
    }
    if (token.mark === '}') break
    const [name = '', ...args] = words
    words = []
    if (token.mark === '{') directives.push({ name, args, block: block(tokens, include) })
    else if (name === 'include') directives.push(...include(args[0] ?? ''))
    else if (name !== '') directives.push({ name, args })
  }
  return directives
}

/** The blocks around a request, the innermost first. */
export class Context {
  readonly #levels: readonly (readonly Directive[])[]

  constructor(levels: readonly (readonly Directive[])[]) {
    this.#levels = levels
  }

  /** The directives of a name, of the innermost block that has any: nginx inherits all or none. */
  all(name: string): readonly Directive[] {
    for (const level of this.#levels) {
      const found = level.filter((each) => each.name === name)
      if (found.length > 0) return found
    }
    return []
  }

  /** The first argument of a directive. */
  get(name: string): string | undefined {
    return this.all(name)[0]?.args[0]
  }

  /** Whether the innermost block has the directive itself. */
  own(name: string): Directive | undefined {
    return this.#levels[0]?.find((each) => each.name === name)
  }
}

export function blocksOf(directives: readonly Directive[], name: string): Directive[] {
  return directives.filter((each) => each.name === name && each.block !== undefined)
}

/** The server block that a request reaches: by port, then by name. */
export function serverFor(
  http: readonly Directive[],
  host: string,
  port: number,
): Directive | undefined {
  const servers = blocksOf(http, 'server').filter(({ block: own = [] }) => {
    const listens = own.filter(({ name }) => name === 'listen')
    if (listens.length === 0) return port === 80
    return listens.some(({ args: [where = ''] }) => portOf(where) === port)
  })
  return (
    servers.find(({ block: own = [] }) =>
      own.some(({ name, args }) => name === 'server_name' && args.includes(host)),
    ) ??
    servers.find(({ block: own = [] }) =>
      own.some(({ name, args }) => name === 'listen' && args.includes('default_server')),
    ) ??
    servers[0]
  )
}

function portOf(listen: string): number {
  const [, port] = /(?:^|:)(\d+)$/.exec(listen) ?? []
  return port === undefined ? 80 : Number(port)
}

/** The locations that nginx chooses for a path, the innermost first. */
export function locationsFor(directives: readonly Directive[], path: string): Directive[] {
  const locations = blocksOf(directives, 'location')
  const chosen = choose(locations, path)
  if (chosen === undefined) return []
  return [...locationsFor(chosen.block ?? [], path), chosen]
}

function choose(locations: readonly Directive[], path: string): Directive | undefined {
  const parts = locations.map((location) => {
    const [first = '', second] = location.args
    return second === undefined
      ? { location, kind: first.startsWith('@') ? '@' : '', pattern: first }
      : { location, kind: first, pattern: second }
  })
  const exact = parts.find(({ kind, pattern }) => kind === '=' && pattern === path)
  if (exact !== undefined) return exact.location
  const [prefix] = parts
    .filter(({ kind, pattern }) => (kind === '' || kind === '^~') && path.startsWith(pattern))
    .toSorted((a, b) => b.pattern.length - a.pattern.length)
  if (prefix?.kind === '^~') return prefix.location
  const regular = parts.find(
    ({ kind, pattern }) => (kind === '~' || kind === '~*') && matches(pattern, path, kind === '~*'),
  )
  return (regular ?? prefix)?.location
}

/** A PCRE, as far as JavaScript can do it. */
function matches(pattern: string, path: string, ignoreCase: boolean): boolean {
  const [, modifiers = '', rest = ''] = /^(?:\(\?([a-z]+)\))?([^]*)$/.exec(pattern) ?? []
  try {
    const flags = `${modifiers.includes('s') ? 's' : ''}${ignoreCase || modifiers.includes('i') ? 'i' : ''}`
    return new RegExp(rest.replaceAll(String.raw`\z`, '$'), flags).test(path)
  } catch {
    return false
  }
}
