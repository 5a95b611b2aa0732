/**
 * The doc comments of `portico/middleware`: all have one form, their examples compile under
 * `tsc --strict` and run over each gateway. The comments after an example are requests and responses.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { transformWithOxc } from 'vite'
import { describe, expect, it } from 'vitest'
import * as portico from '../../src/exports/index.ts'
import * as middleware from '../../src/exports/middleware.ts'
import type { HeaderList } from '../../src/types.ts'
import { validator } from '../../src/validate/validator.ts'
import { brief, GATEWAYS, runCgi, through, valueOf } from './gateways.ts'

const ROOT = join(import.meta.dirname, '../..')
const exported = readFileSync(join(ROOT, 'src/exports/middleware.ts'), 'utf8')
const sources = [...exported.matchAll(/'\.\.(\/(?:cgi-bin|middleware)\/[\w-]+\.ts)'/g)]
  .map(([, file]) => readFileSync(join(ROOT, `src${file}`), 'utf8'))
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

const functions = Object.entries(middleware)
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

/** Runs the code of an example without its types, and returns what it calls `application`. */
async function load(example: string): Promise<portico.Application> {
  const modules: Record<string, unknown> = {
    portico,
    'portico/middleware': middleware,
    'node:fs': await import('node:fs'),
    'node:os': await import('node:os'),
    'node:path': await import('node:path'),
  }
  const { code } = await transformWithOxc(example, 'example.ts')
  const body = code.replaceAll(
    /^import (\{.*\}) from ["'](.*)["'];$/gm,
    (_, names: string, name: string) => `const ${names} = modules['${name}']`,
  )
  // oxlint-disable-next-line typescript/no-implied-eval -- our own comment, run as it stands there
  const run = new Function('modules', `${body.replaceAll(/^export .*$/gm, '')}\nreturn application`)
  return run(modules) as portico.Application
}

/** Runs the code of middleware on an application of one line. */
const wrapped = async (code: string) => {
  const made: unknown = await load(
    code.replace(/^const \w+ = \(app\)/m, 'const application = (app)'),
  )
  return validator((made as (app: portico.Application) => portico.Application)(plainText))
}

it.each(functions)('%s has a doc comment in the common form', (name) => {
  const doc = docs.get(name)
  expect(doc).toMatch(/^[A-Z][^@]*?\.\n/)
  const tags = [...(doc ?? '').matchAll(/^@(\w+)/gm)].map(([, tag]) => tag)
  expect(tags.join(' ')).toMatch(/^(param )+returns (throws )?example$/)
})

it.each(functions)('%s has its row in docs/middleware.md', (name) => {
  expect(manual).toMatch(new RegExp(`^\\| \`${name}\\(`, 'm'))
})

it('The middleware that docs/middleware.md shows keeps the contract', async () => {
  const section = manual.slice(manual.indexOf('## Your own'))
  const [plain = '', intercepted = '', hooked = ''] = [
    ...section.matchAll(/```js\n([^]*?)```/g),
  ].map(([, code = '']) => code)
  const denied = await runCgi(await wrapped(plain), '/')
  expect([denied.status, valueOf(denied, 'X-Frame-Options')]).toEqual(['200 OK', 'DENY'])
  const tagged = await runCgi(await wrapped(intercepted), '/a')
  expect(valueOf(tagged, 'Cache-Control')).toBe('no-store')
  expect((await runCgi(await wrapped(hooked), '/')).errors).toBe('/: 0 bytes\n')
})

describe.each(functions)('The example of %s', (name) => {
  const example = docs.get(name)?.split('@example\n')[1] ?? ''

  it.each(GATEWAYS)('responds over %s as described in its comments', async (gateway) => {
    const list = exchanges(example)
    expect(list.length).toBeGreaterThan(0)
    await through(gateway, await load(example), async (ask) => {
      for (const { status, text, expected, ...request } of list) {
        const response = await ask(request)
        expect([request.target, response.status.slice(0, 3)]).toEqual([request.target, status])
        if (text !== undefined) expect(brief(response)[1].trimEnd()).toBe(text)
        for (const [header, value] of expected) expect(valueOf(response, header)).toBe(value)
      }
    })
  })
})

it('the examples of portico/middleware compile under tsc --strict', () => {
  const directory = mkdtempSync(join(tmpdir(), 'portico-examples-'))
  try {
    for (const [name, doc] of docs) {
      const example = doc.split('@example\n')[1]
      if (example !== undefined)
        writeFileSync(join(directory, `${name}.ts`), `${example}\nexport {}\n`)
    }
    const types = join(ROOT, 'dist/src/exports')
    const compilerOptions = {
      strict: true,
      noEmit: true,
      module: 'nodenext',
      target: 'es2022',
      lib: ['es2023'],
      types: ['node'],
      typeRoots: [join(ROOT, 'node_modules/@types')],
      paths: { portico: [join(types, 'index.d.ts')], 'portico/*': [join(types, '*.d.ts')] },
    }
    const include = ['*.ts']
    writeFileSync(join(directory, 'tsconfig.json'), JSON.stringify({ compilerOptions, include }))
    writeFileSync(join(directory, 'package.json'), '{"type":"module"}')
    execFileSync(join(ROOT, 'node_modules/.bin/tsc'), ['-p', directory], { encoding: 'utf8' })
  } finally {
    rmSync(directory, { recursive: true })
  }
})
