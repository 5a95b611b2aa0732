/**
 * The conformance suite through real web servers. Exceptions are those of src/servers/exceptions.ts,
 * which docs/servers/ shows.
 */
import { chmod, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { closedAgain, httpClient, runRow, suite } from '../../src/exports/testing.ts'
import { exceptions, exceptionsOf } from '../../src/servers/exceptions.ts'
import { installed, makeDirectory } from '../servers/process.ts'
import { settings, type Started, type Workshop } from './server-settings.ts'

const titled = settings.map((setting) => {
  const { server, gateway, variant } = setting
  return [`${server} ${gateway}${variant === undefined ? '' : `, ${variant}`}`, setting] as const
})

/** Rows that run at a time. Most of them wait: for a script to start, or a connection to end. */
const AT_ONCE = 6

/** How long 125 scripts may take on a busy machine. */
const SUITE_TIMEOUT = 180_000

describe.each(titled)('The conformance suite through %s', (_, setting) => {
  const { server: name, gateway, variant, mounts } = setting
  const { available, hint } = installed(setting.program)
  const different = exceptionsOf(name, gateway, variant)

  describe.skipIf(!available)(`passes${hint}`, () => {
    let server: Started
    let workshop: Workshop

    beforeAll(async () => {
      vi.spyOn(process.stderr, 'write').mockReturnValue(true)
      const directory = await makeDirectory()
      const report = join(directory, 'closed')
      workshop = { directory, report, closers: [] }
      workshop.closers.push(() => rm(directory, { recursive: true, force: true }))
      await writeFile(report, '')
      await chmod(report, 0o666)
      server = await setting.start(workshop)
      workshop.closers.push(() => server.stop())
    })

    afterAll(async () => {
      vi.restoreAllMocks()
      for (const close of workshop.closers.toReversed()) await close()
    })

    it.each(mounts)(
      'at "%s", and closes each body once',
      async (mount) => {
        const { port } = server
        const where = { mount, gateway, serverName: '127.0.0.1', serverPort: port }
        const failed: Record<string, string[]> = {}
        const left = suite.values()
        const runOthers = async (): Promise<void> => {
          for (const row of left) {
            const exception = different.find((each) => row.name.startsWith(each.row))
            const options = { report: workshop.report, expect: exception?.expect }
            const found = await runRow(row, httpClient({ port }, { mount }), where, options)
            if (found.length > 0) failed[row.name] = found
          }
        }
        await Promise.all(Array.from({ length: AT_ONCE }, runOthers))
        expect(failed).toEqual({})
        expect(closedAgain(workshop.report)).toEqual([])
      },
      SUITE_TIMEOUT,
    )
  })
})

it.each(exceptions)(
  'The exception for "$row" names a row and servers that exist',
  ({ row, where, except = [] }) => {
    const names = titled.flatMap(([title, { server, gateway }]) => [
      server,
      `${server} ${gateway}`,
      title,
    ])
    expect(names).toEqual(expect.arrayContaining([...where, ...except]))
    expect(suite.filter(({ name }) => name.startsWith(row))).not.toEqual([])
  },
)
