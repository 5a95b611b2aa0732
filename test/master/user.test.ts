/** `portico serve --user --group`: root binds, and the workers run as someone else. */
import { chmodSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, describe, expect, test } from 'vitest'
import { start } from '../server/child.ts'
import { client, inDirectory, portico, PROGRAM, statusOf, type Served } from './portico.ts'

/** A user and a group of Debian. */
const WWW_DATA = 33
const NOGROUP = 65_534

const here = inDirectory()
beforeEach(() => chmodSync(here.path, 0o755))

/** Responds with the identity of its process, of its groups, and with root's variables. */
const IDENTITY = `
  export default (environ, startResponse) => {
    startResponse('200 OK', [['Content-Type', 'application/json']])
    const { HOME, USER, LOGNAME } = process.env
    const ids = [process.getuid(), process.geteuid(), process.getgid(), process.getegid()]
    return [JSON.stringify({ ids, groups: process.getgroups(), HOME, USER, LOGNAME })]
  }`

async function identity(server: Served): Promise<Record<string, unknown>> {
  return JSON.parse(await client(server).post('/')) as Record<string, unknown>
}

describe.skipIf(process.getuid?.() !== 0)('Started by root,', () => {
  test('workers run as --user, without supplementary groups, and the socket is theirs', async () => {
    const served = here.serve(['--user', 'www-data'], { source: IDENTITY })
    const output = await served.printed('Serving')
    const seen = await identity(served)
    expect(seen['ids']).toEqual([WWW_DATA, WWW_DATA, WWW_DATA, WWW_DATA])
    // Some kernels add the process's own group.
    for (const group of seen['groups'] as number[]) expect(group).toBe(WWW_DATA)
    expect(seen).toMatchObject({ HOME: '/var/www', USER: 'www-data', LOGNAME: 'www-data' })
    expect(output).toContain(`unix:${served.socket} (0660 www-data:www-data)`)
    // A process that controls the server could start others as root.
    for (const [path, mode] of [
      [served.control, '600'],
      [join(served.control, '..'), '700'],
    ] as const) {
      const status = statSync(path)
      expect([status.uid, (status.mode & 0o777).toString(8)]).toEqual([0, mode])
    }
    expect((await portico('reload', served.control)).code).toBe(0)
    expect((await identity(served))['ids']).toEqual([WWW_DATA, WWW_DATA, WWW_DATA, WWW_DATA])
    expect(statSync(`/proc/${(await statusOf(served)).pid}`).uid).toBe(0)
  })

  test('--group replaces the group of the user, and --socket-group that of the socket', async () => {
    const flags = ['--user', 'www-data', '--group', 'nogroup', '--socket-group', 'root']
    const served = here.serve(flags, { source: IDENTITY })
    const output = await served.printed('Serving')
    const { gid } = statSync(served.socket)
    expect((await identity(served))['ids']).toEqual([WWW_DATA, WWW_DATA, NOGROUP, NOGROUP])
    expect(gid).toBe(0)
    expect(output).toContain('(0660 www-data:root)')
  })

  test.each([
    [['--user', 'nosuchuser'], 'user: "nosuchuser" is not in /etc/passwd', 2],
    [['--group', 'nosuchgroup'], 'group: "nosuchgroup" is not in /etc/group', 2],
    [['--user', '59999'], 'user: 59999 is not in /etc/passwd, so its group is not known', 1],
  ])('%j is refused before a socket is bound', async (flags, message, expected) => {
    const running = here.serve(flags, { source: IDENTITY })
    const { code, output } = await running.ended
    expect(output).toMatch(/^\S.*\n$/)
    expect(output).toContain(message)
    expect(code).toBe(expected)
    expect(statSync(running.socket, { throwIfNoEntry: false })).toBeUndefined()
  })

  test('a file that the user cannot read is an application that does not start', async () => {
    const file = join(here.path, 'secret.mjs')
    writeFileSync(file, IDENTITY, { mode: 0o600 })
    const args = ['serve', file, '--listen', ':0', '--user', 'www-data']
    const { code, output } = await portico(...args)
    expect(output).toContain(
      `${file}: the user of this process (uid ${WWW_DATA}) may not read it\n`,
    )
    expect(output).toContain(`The application does not start: ${file}`)
    expect(code).toBe(3)
  })

  test('a process that is not root refuses --user with one line', async () => {
    const file = join(here.path, 'app.mjs')
    writeFileSync(file, IDENTITY)
    const command = [process.execPath, PROGRAM, 'serve', file, '--listen', ':0', '--user', 'root']
    const as = ['--reuid', 'www-data', '--regid', 'www-data', '--clear-groups']
    const { code, output } = await start('setpriv', [...as, ...command]).ended
    expect(output).toBe(
      '--user: only root can change the user of the workers. Start Portico as that user instead\n',
    )
    expect(code).toBe(1)
  })
})
