/**
 * `portico init SERVER --try`: the command with each web server and its first gateway. The other
 * gateways, mount points and settings are in test/conformance/servers.test.ts.
 */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { descriptions } from '../../src/servers/descriptions.ts'
import { installed } from './process.ts'

const run = promisify(execFile)

/** mod_fcgid starts processes; a machine that is busy takes seconds for each. */
const TRY_TIMEOUT = 180_000

const cases = descriptions
  .filter((each) => each.instance !== undefined)
  .map(({ name, program, gateways: [gateway] }) => ({ name, program: program!, gateway: gateway! }))

describe.each(cases)('portico init $name --gateway $gateway --mount /app --try', (each) => {
  const { available, hint } = installed(each.program)
  it.skipIf(!available)(
    `passes the conformance suite${hint}`,
    async () => {
      const flags = ['--gateway', each.gateway, '--mount', '/app', '--try']
      const { stdout } = await run(process.execPath, [
        'bin/portico.cjs',
        'init',
        each.name,
        ...flags,
      ]).catch((error: { stdout: string; stderr: string }) => ({
        stdout: `${error.stdout}${error.stderr}`,
      }))
      expect(stdout.split('\n').filter((line) => !line.startsWith('!'))).toEqual([
        expect.stringContaining(`${each.gateway} at /app`),
        expect.stringMatching(/^✓ \d+ of \d+ rows pass, \d+ differ because of the server, 0 fail$/),
        '',
      ])
    },
    TRY_TIMEOUT,
  )
})
