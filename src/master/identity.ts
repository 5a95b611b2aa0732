/** The user and the group of the workers. */
import { readFileSync } from 'node:fs'
import { ConfigurationError } from '../errors.ts'
import { parseId } from '../server/unix-socket.ts'

export interface Identity {
  readonly uid: number | undefined
  readonly gid: number | undefined
}

/**
 * Looks up the names. The default group is that of the user.
 *
 * @throws {ConfigurationError} for an unknown name, and if this process does not run as root.
 */
export function identityOf(
  user: string | number | undefined,
  group: string | number | undefined,
): Identity {
  if (user === undefined && group === undefined) return { uid: undefined, gid: undefined }
  if (process.getuid?.() !== 0) {
    throw new ConfigurationError(
      `${user === undefined ? 'group' : 'user'}: only root can change the user of the workers. ` +
        'Start Portico as that user instead',
    )
  }
  const uid = parseId('user', user, '/etc/passwd')
  return { uid, gid: parseId('group', group, '/etc/group') ?? primaryGroup(uid) }
}

function primaryGroup(uid: number | undefined): number | undefined {
  if (uid === undefined) return undefined
  const lines = readFileSync('/etc/passwd', 'utf8').split('\n')
  const entry = lines.map((line) => line.split(':')).find((fields) => fields[2] === String(uid))
  return entry?.[3] === undefined ? undefined : Number(entry[3])
}
