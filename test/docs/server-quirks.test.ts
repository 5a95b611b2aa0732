/** docs/server-quirks.md names functions and tests that exist, and every correction of the environ. */
import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'

const table = readFileSync('docs/server-quirks.md', 'utf8').split('\n## ')[0]!

const rows = [...table.matchAll(/^\| (.+?) \| (.+?) \| `(\S+)`: `(\w+)` \| `(\S+)` \|$/gm)].map(
  ([, server, , file, name, testFile]) => ({
    server: server!,
    file: file!,
    name: name!,
    testFile: testFile!,
  }),
)

/** `name` is declared in `source`: a function, a method, a class or a constant. */
function declares(source: string, name: string): boolean {
  return new RegExp(
    String.raw`\b(?:function|class|const) ${name}\b|^ {2}(?:override )?(?:async )?#?${name}\(`,
    'm',
  ).test(source)
}

test('docs/server-quirks.md has only table rows that the tests can read', () => {
  const lines = table.match(/^\| (?!server \|)/gm)
  expect(rows.length).toBe(lines?.length)
  expect(rows.length).toBeGreaterThan(10)
})

test.each(rows)('docs/server-quirks.md, $server: $name is in $file', ({ file, name }) => {
  expect(declares(readFileSync(file, 'utf8'), name)).toBe(true)
})

test.each(rows)('docs/server-quirks.md, $server, $name: $testFile exists', ({ testFile }) => {
  expect(existsSync(testFile)).toBe(true)
})

describe.each(['src/environ/quirks.ts', 'src/environ/path-quirks.ts'])(
  'docs/server-quirks.md, compared with %s,',
  (file) => {
    const functions = [
      ...readFileSync(file, 'utf8').matchAll(/^function (\w+)\(environ: Environ\): void/gm),
    ].map(([, name]) => name!)

    test('has a row for every correction', () => {
      expect(functions.length).toBeGreaterThan(0)
      const listed = rows.filter((row) => row.file === file).map(({ name }) => name)
      expect(listed).toEqual(expect.arrayContaining(functions))
    })
  },
)
