/** docs/fastcgi.md: systemd accepts its units. */
import { spawnSync } from 'node:child_process'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, expect, it } from 'vitest'
import { installed, makeDirectory } from '../servers/process.ts'

const page = await readFile('docs/fastcgi.md', 'utf8')

const closers: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close()
})

const analyze = installed('systemd-analyze')

it.skipIf(!analyze.available)(
  `docs/fastcgi.md has units that systemd accepts${analyze.hint}`,
  async () => {
    const directory = await makeDirectory()
    closers.push(() => rm(directory, { recursive: true, force: true }))
    const units = [...page.matchAll(/```ini\n# \S+\/(hello@\.\w+)\n([^`]*)```/g)]
    expect(units.map(([, name]) => name)).toEqual(['hello@.socket', 'hello@.service'])
    for (const [, name = '', text = ''] of units) {
      await writeFile(join(directory, name), text.replace('/usr/bin/node', process.execPath))
    }
    const args = [
      'verify',
      ...units.map(([, name = '']) => join(directory, name.replace('@', '@1'))),
    ]
    const { status, stderr } = spawnSync('systemd-analyze', args, { encoding: 'utf8' })
    expect(stderr.split('\n').filter((line) => line.includes('hello'))).toEqual([])
    expect(status).toBe(0)
  },
)
