/** Configurations of web servers that do not run. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { examineConfigurations } from '../../src/doctor/validate.ts'
import { temporaryDirectory } from '../server/child.ts'
import { installed } from '../servers/process.ts'

const directory = temporaryDirectory()
afterAll(() => directory.remove())

const apache = installed('apache2')

/** A module for processes, which Apache does not start without. */
const LEAST = `DefaultRuntimeDir \${APACHE_RUN_DIR}
ErrorLog /dev/null
ServerName localhost
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
`

/** What Apache says about a file, on a machine on which it has not run since the start. */
function examine(text: string): ReturnType<typeof examineConfigurations> {
  const file = join(directory.path, 'apache2.conf')
  writeFileSync(file, LEAST + text)
  const stopped = { process: undefined, user: undefined, setup: undefined }
  return examineConfigurations([{ name: 'apache', file, ...stopped }], {
    APACHE_RUN_DIR: join(directory.path, 'missing'),
  })
}

describe.skipIf(!apache.available)(`Of Apache${apache.hint}, the doctor`, () => {
  it('accepts a configuration whose run directory apachectl has yet to make', () => {
    expect(examine('')).toEqual([])
  })

  it('names the line that Apache refuses, and a command that works by hand', () => {
    const [finding] = examine('NoSuchDirective on\n')
    expect(finding).toMatchObject({
      level: 'failure',
      check: 'configuration',
      message: expect.stringContaining("Invalid command 'NoSuchDirective'"),
      fix: `apachectl -t -f ${join(directory.path, 'apache2.conf')}`,
    })
  })
})
