/**
 * The doc comments of `portico/middleware`: all have one form, and their examples are run behind
 * each gateway. The comments behind an example are its requests and what they are answered.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import * as portico from '../../src/exports/index.ts'
import * as middleware from '../../src/exports/middleware.ts'
import type { HeaderList } from '../../src/types.ts'
import { validator } from '../../src/validate/validator.ts'
import { brief, GATEWAYS, runCgi, through, valueOf } from './gateways.ts'

const SOURCE = join(import.meta.dirname, '../../src/middleware')
const index = readFileSync(join(SOURCE, 'index.ts'), 'utf8')
const sources = [...index.matchAll(/'\.\/([\w-]+\.ts)'/g)]
  .map(([, file]) => readFileSync(join(SOURCE, file!), 'utf8'))
  .join('\n')

/** The doc comment before each exported function, without its asterisks. */
const docs = new Map(
  [...sources.matchAll(/\/\*\*\n((?: \*.*\n)+?) \*\/\nexport function (\w+)/g)].map(
    ([, comment, name]) => [name!, comment!.replaceAll(/^ \* ?/gm, '')] as const,
  ),
)

const manual = readFileSync(join(import.meta.dirname, '../../docs/middleware.md'), 'utf8')

const plainText: portico.Application = (_environ, startResponse) => {
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  return []
}

const layers = Object.entries(middleware)
  .filter(([name, value]) => typeof value === 'function' && /^[a-z]/.test(name))
  .map(([name]) => name)

interface Exchange {
  method: string
  target: string
  headers: HeaderList
  body: string
  status: string
  text: string | undefined
  expected: HeaderList
}

const REQUEST =
  /^\/\/ ([A-Z]+) (\S+)(?: with ([\w-]+): (.*?))?(?: of (\d+) bytes)? → (\d{3})(?: (.*))?$/

function exchanges(example: string): Exchange[] {
  const list: Exchange[] = []
  for (const line of example.split('\n')) {
    const [, method, target, name, value, size, status, text] = REQUEST.exec(line) ?? []
    const [, header, expected] = /^\/\/ ([\w-]+): (.*)$/.exec(line) ?? []
    if (method && target && status) {
      const headers: HeaderList = name === undefined ? [] : [[name, value ?? '']]
      const body = 'x'.repeat(Number(size ?? 0))
      list.push({ method, target, headers, body, status, text, expected: [] })
    } else if (header) {
      list.at(-1)?.expected.push([header, expected ?? ''])
    }
  }
  return list
}

/** Runs the code of an example, and returns what it calls `application`. */
async function load(example: string): Promise<portico.Application> {
  const modules: Record<string, unknown> = {
    portico,
    'portico/middleware': middleware,
    'node:fs': await import('node:fs'),
  }
  const body = example.replaceAll(
    /^import (\{.*\}) from '(.*)'$/gm,
    (_, names: string, name: string) => `const ${names} = modules['${name}']`,
  )
  // oxlint-disable-next-line typescript/no-implied-eval -- our own comment, run as it stands there
  const run = new Function('modules', `${body}\nreturn application`)
  return run(modules) as portico.Application
}

it.each(layers)('%s has a doc comment in the common form', (name) => {
  const doc = docs.get(name)
  expect(doc).toMatch(/^[A-Z][^@]*?\.\n/)
  const tags = [...(doc ?? '').matchAll(/^@(\w+)/gm)].map(([, tag]) => tag)
  expect(tags.join(' ')).toMatch(/^(param )+returns (throws )?example$/)
})

it.each(layers)('%s has its row in docs/middleware.md', (name) => {
  expect(manual).toMatch(new RegExp(`^\\| \`${name}\\(`, 'm'))
})

it('what docs/middleware.md shows as a layer of one’s own is one', async () => {
  const [, code = ''] = /## Your own\n+```js\n([^`]*)```/.exec(manual) ?? []
  const withHeader = await load(code.replace('const withHeader', 'const application'))
  const app = Reflect.apply(withHeader, undefined, [plainText]) as unknown as portico.Application
  const answer = await runCgi(validator(app), '/')
  expect([answer.status, valueOf(answer, 'X-Frame-Options')]).toEqual(['200 OK', 'DENY'])
})

describe.each(layers)('the example of %s', (name) => {
  const example = docs.get(name)?.split('@example\n')[1] ?? ''

  it.each(GATEWAYS)('does what it says behind %s', async (gateway) => {
    const list = exchanges(example)
    expect(list.length).toBeGreaterThan(0)
    await through(gateway, await load(example), async (ask) => {
      for (const { status, text, expected, ...request } of list) {
        const answer = await ask(request)
        expect([request.target, answer.status.slice(0, 3)]).toEqual([request.target, status])
        if (text !== undefined) expect(brief(answer)[1].trimEnd()).toBe(text)
        for (const [header, value] of expected) expect(valueOf(answer, header)).toBe(value)
      }
    })
  })
})
