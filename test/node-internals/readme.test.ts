/** `src/node-internals/README.md` against the files that it describes. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { expect, it } from 'vitest'

const DIRECTORY = 'src/node-internals'

/** Code spans of the first and of the last column of each row. */
const rows = readFileSync(`${DIRECTORY}/README.md`, 'utf8')
  .split('\n')
  .filter((line) => line.startsWith('| `'))
  .map((line) => {
    const cells = line.split('|')
    return { file: spanOf(cells.at(1)), test: spanOf(cells.at(-2)) }
  })

function spanOf(cell = ''): string {
  return /`([^`]+)`/.exec(cell)?.[1] ?? ''
}

it('The README of src/node-internals/ has a row for each file that uses an internal', () => {
  const files = readdirSync(DIRECTORY).filter((name) => name.endsWith('.ts'))
  const described = new Set(rows.map(({ file }) => file).filter((file) => !file.includes('/')))
  expect([...described].toSorted()).toEqual(files.filter((name) => name !== 'allowed.ts'))
})

it('Each file and each test that this README names exists', () => {
  const files = rows.map(({ file }) => (file.includes('/') ? file : `${DIRECTORY}/${file}`))
  const missing = [...files, ...rows.map(({ test }) => test)].filter((path) => !existsSync(path))
  expect(missing).toEqual([])
})
