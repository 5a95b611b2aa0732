/** Modules of packages that a bundle changes so that they start faster. */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { compileFunction } from 'node:vm'
import { expect, test } from 'vitest'
import { precompute } from '../../src/bundle/precompute.ts'

const express = createRequire(createRequire(import.meta.url).resolve('express'))
const [mimeTypes, depd] = (['mime-types', 'depd'] as const).map((name) =>
  express.resolve(name),
) as [string, string]

function evaluate(text: string, loaded: string[] = []): Record<string, unknown> {
  const made = { exports: {} }
  const load = (name: string): unknown => {
    loaded.push(name)
    return createRequire(mimeTypes)(name)
  }
  compileFunction(text, ['module', 'exports', 'require'])(made, made.exports, load)
  return made.exports
}

test('mime-types looks types up without its database in a bundle, and has the same tables when they are used', () => {
  const loaded: string[] = []
  const text = readFileSync(mimeTypes, 'utf8')
  const changed = precompute(mimeTypes, text)
  expect(changed).not.toBe(text)
  const own = evaluate(text)
  const made = evaluate(changed, loaded) as Record<string, unknown> & {
    contentType(type: string): string | false
    charset(type: string): string | false
  }
  expect(
    ['html', 'json', 'png', 'text/x-y', '__proto__'].map((type) => made.contentType(type)),
  ).toEqual([
    'text/html; charset=utf-8',
    'application/json; charset=utf-8',
    'image/png',
    'text/x-y; charset=utf-8',
    false,
  ])
  expect(made.charset('constructor')).toBe(false)
  expect(loaded).not.toContain('mime-db')
  const types = made['types'] as Record<string, string>
  types['own'] = 'text/own' // A program may add to it.
  expect(Object.keys(made)).toEqual(Object.keys(own))
  expect(made['extensions']).toEqual(own['extensions'])
  expect(made['_extensionConflicts']).toEqual(own['_extensionConflicts'])
  expect(made['types']).toBe(types)
  expect(made['types']).toEqual({ ...(own['types'] as object), own: 'text/own' })
  expect(loaded).toContain('mime-db')
})

test.each([
  ['of another version', mimeTypes, 'exports.lookup = (path) => path'],
  [
    'whose results would differ',
    mimeTypes,
    readFileSync(mimeTypes, 'utf8').replace("return 'UTF-8'", 'return db[match[1]].source'),
  ],
  ['of another package', '/x/node_modules/other/index.js', readFileSync(mimeTypes, 'utf8')],
])('a module %s stays as it is', (_, path, text) => {
  expect(precompute(path, text)).toBe(text)
})

test('depd does not ask V8 for a line when it is loaded, and still knows its file', () => {
  const changed = precompute(depd, readFileSync(depd, 'utf8'))
  expect(changed).not.toMatch(/var site = callSiteLocation\(stack\[1\]\)\s+var file/)
  expect(evaluateDepd(changed)('x')._file).toBe(import.meta.filename)
})

function evaluateDepd(text: string): (name: string) => { _file: string } {
  const made = { exports: {} as (name: string) => { _file: string } }
  compileFunction(text, ['module', 'exports', 'require', '__filename'])(
    made,
    made.exports,
    createRequire(depd),
    depd,
  )
  return made.exports
}
