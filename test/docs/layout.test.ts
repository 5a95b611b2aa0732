/** Files stay short. The linter checks who imports whom (.oxlintrc.json). */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { GATEWAY_NAMES, SERVER_GATEWAYS } from '../../src/gateways.ts'

function limitOf(file: string): number {
  if (file === 'handlers/base.ts') return 450
  return file.startsWith('handlers/') ? 250 : 350
}

/** The files of Portico. */
const sources = ['src', 'handlers'].flatMap((root) =>
  readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(root, name)),
)

it('No file of src/ has more than 350 lines, no gateway more than 250 and base.ts at most 450', () => {
  const tooLong = sources
    .map((file) => ({ file, lines: readFileSync(file, 'utf8').split('\n').length - 1 }))
    .filter(({ file, lines }) => lines > limitOf(file))
  expect(tooLong).toEqual([])
})

it('Each gateway of src/gateways.ts has the files where the layout and the linter expect them', () => {
  const files = [
    ...GATEWAY_NAMES.map((name) => `handlers/${name}.ts`),
    ...SERVER_GATEWAYS.map((name) => `src/server/connections/${name}.ts`),
  ]
  expect(files.filter((file) => !existsSync(file))).toEqual([])
})

it('No file imports more than types from node:http, which would load undici; src/node-http.ts has the rest', () => {
  const value = /^import (?!type\b)[^']* from 'node:http'$/m
  expect(sources.filter((file) => value.test(readFileSync(file, 'utf8')))).toEqual([])
})
