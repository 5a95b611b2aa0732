import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { load } from '../../src/application/load.ts'
import { ConfigurationError } from '../../src/errors.ts'

const directory = mkdtempSync(join(tmpdir(), 'portico-load-'))
afterAll(() => rmSync(directory, { recursive: true }))

let count = 0
function file(source: string, extension: string): string {
  const path = join(directory, `${(count += 1)}.${extension}`)
  writeFileSync(path, source)
  return path
}

test.each([
  ['export default', 'mjs', 'export default function found() {}'],
  ['export const app', 'mjs', 'export const app = function found() {}'],
  ['export const application', 'mjs', 'export const application = function found() {}'],
  ['export const handler', 'mjs', 'export const handler = function found() {}'],
  ['module.exports', 'cjs', 'module.exports = function found() {}'],
  ['exports.app', 'cjs', 'exports.app = function found() {}'],
  ['export default of an object with app', 'mjs', 'export default { app: function found() {} }'],
  [
    'the default export before app',
    'mjs',
    'export default function found() {}\nexport const app = function other() {}',
  ],
  ['app, if the default export is not one', 'mjs', 'export default 5\nexport function app() {}'],
])('load() finds the application in %s', async (_name, extension, source) => {
  const application = await load(file(source, extension))
  expect((application as { name?: string }).name).toMatch(/^(?:found|app)$/)
})

test('load() finds an object with fetch(), as in `export default app` of Hono', async () => {
  const application = await load(file('export default { fetch() {} }', 'mjs'))
  expect(application).toHaveProperty('fetch')
})

test('load() names what a file exports if none of it is an application', async () => {
  const failure = load(file('export const port = 8000', 'mjs'))
  await expect(failure).rejects.toThrow(ConfigurationError)
  await expect(failure).rejects.toThrow(/exports no application\. .* \(exported: port\)$/)
})

test('load() throws the error of a failing module unchanged', async () => {
  await expect(load(file("throw new RangeError('mine')", 'mjs'))).rejects.toThrow(
    new RangeError('mine'),
  )
})
