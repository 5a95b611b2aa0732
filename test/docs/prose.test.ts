/** The project's prose uses the words of CONTRIBUTING's glossary. */
import { expect, it } from 'vitest'
import { findings } from '../support/prose.ts'

const CHECKED = [
  'src',
  'handlers',
  'docs',
  'README.md',
  'SPEC.md',
  'CONTRIBUTING.md',
  'SECURITY.md',
  'CHANGELOG.md',
  'examples',
  'cgi-bin',
  'bench',
  'scripts',
  'nginx.conf.example',
  'test',
]

/** The glossary itself, a bundle, and the example of the SCGI specification. */
const EXCEPTIONS = ['test/support/prose.ts', 'cgi-bin/portico.cjs', 'test/protocol/scgi.test.ts']

// PROSE=src/bridge,test/bridge lists the findings of these paths only.
const paths = process.env['PROSE']?.split(',') ?? CHECKED

it('Comments, messages, test titles and docs use the words of the glossary', () => {
  const found = paths
    .flatMap((path) => findings(path))
    .filter(({ at }) => !EXCEPTIONS.some((path) => at.startsWith(`${path}:`)))
    .map(({ at, found: word, use }) => `${at} '${word}': write ${use}`)
  expect(found).toEqual([])
})
