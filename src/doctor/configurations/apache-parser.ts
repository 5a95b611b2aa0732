/** Apache's configuration as a list of directives, each with the sections around it. */
import { isAbsolute, join } from 'node:path'
import { textOf } from '../processes.ts'
import { globSync } from './glob.ts'

export interface Directive {
  /** In lower case. */
  readonly name: string
  readonly args: readonly string[]
  readonly sections: readonly Section[]
}

export interface Section {
  readonly name: string
  readonly args: readonly string[]
}

/** How deep files may include others, so that a cycle ends. */
const MAX_DEPTH = 10

/** @param root ServerRoot, at which relative paths start */
export function parseApache(
  file: string,
  root: string,
  variables: Readonly<Record<string, string>>,
): Directive[] {
  return new Reader(root, { ...variables }).read(file, [], 0)
}

class Reader {
  #root: string
  readonly #variables: Record<string, string>

  constructor(root: string, variables: Record<string, string>) {
    this.#root = root
    this.#variables = variables
  }

  read(file: string, outer: readonly Section[], depth: number): Directive[] {
    if (depth > MAX_DEPTH) return []
    const found: Directive[] = []
    const sections = [...outer]
    for (const line of textOf(file)
      .replaceAll(/\\\r?\n/g, ' ')
      .split('\n')) {
      const text = line
        .trim()
        .replaceAll(/\$\{(\w+)\}/g, (whole, name: string) => this.#variables[name] ?? whole)
      if (text === '' || text.startsWith('#')) continue
      if (text.startsWith('</')) {
        if (sections.length > outer.length) sections.pop()
        continue
      }
      const [name = '', ...args] = wordsOf(text.replace(/^<([^]*)>$/, '$1'))
      if (text.startsWith('<')) {
        sections.push({ name: name.toLowerCase(), args })
        continue
      }
      const directive = { name: name.toLowerCase(), args, sections: [...sections] }
      if (directive.name === 'serverroot') this.#root = args[0] ?? this.#root
      if (directive.name === 'define') this.#variables[args[0] ?? ''] = args[1] ?? ''
      if (/^include(?:optional)?$/.test(directive.name)) {
        const pattern = args[0] ?? ''
        const path = isAbsolute(pattern) ? pattern : join(this.#root, pattern)
        for (const each of globSync(path)) found.push(...this.read(each, sections, depth + 1))
      } else found.push(directive)
    }
    return found
  }
}

function wordsOf(text: string): string[] {
  return [...text.matchAll(/"((?:\\.|[^"\\])*)"|'((?:\\.|[^'\\])*)'|(\S+)/g)].map(
    ([, double, single, word]) => double?.replaceAll('\\"', '"') ?? single ?? word ?? '',
  )
}

/** Modules that the configuration loads, such as `proxy_fcgi`. */
export function modulesOf(directives: readonly Directive[]): Set<string> {
  return new Set(
    directives
      .filter(({ name }) => name === 'loadmodule')
      .map(({ args: [module = ''] }) => module.replace(/_module$/, '')),
  )
}

/** Whether a directive holds for a request; of directories only the names are known. */
export function holdsFor(
  { sections }: Directive,
  modules: ReadonlySet<string>,
  request: { readonly port: number; readonly path: string } | undefined,
): boolean {
  return sections.every(({ name, args: [first = '', second = ''] }) => {
    if (name === 'ifmodule') {
      const module = first.replace(/^!?(?:mod_)?/, '').replace(/(?:_module|\.c)$/, '')
      return modules.has(module) !== first.startsWith('!')
    }
    if (request === undefined) return true
    if (name === 'virtualhost') {
      const [, port] = /:(\d+|\*)$/.exec(first) ?? []
      return port === undefined || port === '*' || Number(port) === request.port
    }
    if (name === 'location')
      return first === '~' ? test(second, request.path) : within(first, request.path)
    if (name === 'locationmatch') return test(first, request.path)
    return true
  })
}

/** Whether a path is a prefix or below it. */
export function within(prefix: string, path: string): boolean {
  const plain = prefix.replace(/\/$/, '')
  return path === plain || path.startsWith(`${plain}/`) || prefix === '/'
}

export function test(pattern: string, path: string): boolean {
  try {
    return new RegExp(pattern).test(path)
  } catch {
    return false
  }
}
