/** The examples of docs/*.md and README.md compile against the built package under `tsc --strict`. */
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { compileConsumer, makeConsumer } from '../support/consumer.ts'

/** What short examples leave to the reader, and packages without types. */
const DECLARATIONS = `
declare module 'koa'
declare module 'verdaccio'
declare module 'keyv' {
  export const Keyv: new (options: object) => any
}
declare module '@keyv/redis'
declare module '*/opentelemetry.mjs'
declare module '*/sdk.mjs'
declare module 'node-git-server'
declare module 'http' {
  interface IncomingMessage {
    baseUrl?: string
    originalUrl?: string
  }
}
declare const run: typeof import('portico').run
declare const sendfile: typeof import('portico/middleware').sendfile
declare const app: import('portico').Application
declare const application: import('portico').Application
declare const listener: import('portico/node').NodeListener
`

/** Only TypeScript can give a parameter its type: the errors TS7000 to TS7099, in JavaScript. */
const UNTYPED_PARAMETER = /^\S+\.mjs\(.*: error TS70\d\d: .*\n(?: .*\n)*/gm

let directory: string
beforeAll(async () => {
  directory = await makeConsumer({
    noEmit: true,
    allowJs: true,
    checkJs: true,
    noUncheckedIndexedAccess: false,
    lib: ['es2023'],
    skipLibCheck: true,
  })
  await writeFile(join(directory, 'declarations.d.ts'), DECLARATIONS)
})
afterAll(() => rm(directory, { recursive: true, force: true }))

test('Every JavaScript and TypeScript example of the docs compiles', async () => {
  const pages = (await readdir('docs')).filter((name) => name.endsWith('.md'))
  let count = 0
  for (const page of ['README.md', ...pages.map((name) => `docs/${name}`)]) {
    const project = join(directory, basename(page, '.md'))
    await mkdir(project, { recursive: true })
    const text = await readFile(page, 'utf8')
    for (const [, kind, code = ''] of text.matchAll(/^```(js|ts)\n([^]*?)^```$/gm)) {
      const [, name] = /^\/\/ (\S+\.(?:mjs|cjs|ts))\n/.exec(code) ?? []
      count += 1
      // Hono types `c.env` by a type parameter, which JavaScript does not have.
      // node:diagnostics_channel types a message as unknown.
      const untyped = name === 'hono.mjs' || code.includes("'node:diagnostics_channel'")
      const check = untyped ? '// @ts-nocheck\n' : ''
      await writeFile(
        join(project, name ?? `example-${count}.${kind === 'ts' ? 'ts' : 'mjs'}`),
        `${check}${code}\nexport {}\n`,
      )
    }
  }
  expect(count).toBeGreaterThan(20)
  const errors = await compileConsumer(directory)
  expect(errors.replaceAll(UNTYPED_PARAMETER, '')).toBe('')
})
