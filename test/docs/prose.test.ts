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

/** Not rewritten yet. This list only shrinks. */
const TO_DO: readonly string[] = [
  'cgi-bin',
  'docs/fastcgi.md',
  'docs/frameworks.md',
  'docs/performance.md',
  'examples',
  'nginx.conf.example',
  'src/address-list.ts',
  'src/application',
  'src/bridge',
  'src/embedded',
  'src/environ',
  'src/process',
  'src/protocol',
  'src/request',
  'src/server',
  'test/bridge',
  'test/docs',
  'test/environ',
  'test/fixtures',
  'test/handlers',
  'test/node-internals',
  'test/process',
  'test/protocol',
  'test/request',
  'test/server',
  'test/servers',
]

/** The glossary itself, and words that are data. */
const EXCEPTIONS = ['test/support/prose.ts', 'cgi-bin/portico.cjs']

// PROSE=src/bridge,test/bridge lists the findings of these paths, on the list or not.
const paths = process.env['PROSE']?.split(',')

it('Comments, messages, test titles and docs use the words of the glossary', () => {
  const skipped = [...EXCEPTIONS, ...(paths ? [] : TO_DO)]
  const found = (paths ?? CHECKED)
    .flatMap((path) => findings(path))
    .filter(
      ({ at }) => !skipped.some((path) => at.startsWith(`${path}:`) || at.startsWith(`${path}/`)),
    )
    .map(({ at, found: word, use }) => `${at} '${word}': write ${use}`)
  expect(found).toEqual([])
})
