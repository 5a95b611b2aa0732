/** The user and the group of the workers. */
import { readFileSync } from 'node:fs'
import { ConfigurationError } from '../errors.ts'
import { parseId } from '../server/unix-socket.ts'
import type { ListenerSettings } from './settings.ts'

export interface Identity {
  readonly uid: number | undefined
  readonly gid: number | undefined
  /** HOME, USER and LOGNAME of that user, as php-fpm sets them; root's would mislead applications. */
  readonly env: NodeJS.ProcessEnv
}

const OWN: Identity = { uid: undefined, gid: undefined, env: {} }

/**
 * Looks up the names. The default group is that of the user. libuv then calls setgroups, setgid and
 * setuid in each worker, in this order, so a worker has no supplementary groups.
 *
 * @throws {ConfigurationError} for an unknown name, for a user without a known group, and if this
 *   process does not run as root.
 */
export function identityOf(
  user: string | number | undefined,
  group: string | number | undefined,
): Identity {
  if (user === undefined && group === undefined) return OWN
  if (process.getuid?.() !== 0) {
    throw new ConfigurationError(
      `${user === undefined ? 'group' : 'user'}: only root can change the user of the workers. ` +
        'Start Portico as that user instead',
    )
  }
  const uid = parseId('user', user, '/etc/passwd')
  const [name, , , primary, , home] = uid === undefined ? [] : entryOf(uid)
  const gid = parseId('group', group, '/etc/group') ?? (primary ? Number(primary) : undefined)
  if (gid === undefined) {
    // It would keep root's group.
    throw new ConfigurationError(
      `user: ${user} is not in /etc/passwd, so its group is not known; name one with --group`,
    )
  }
  const env = name && home ? { HOME: home, USER: name, LOGNAME: name } : {}
  return { uid, gid, env }
}

/** The fields of a user: name, password, uid, gid, description, home, shell (passwd(5)). */
function entryOf(uid: number): string[] {
  const lines = readFileSync('/etc/passwd', 'utf8').split('\n')
  return lines.map((line) => line.split(':')).find((fields) => fields[2] === String(uid)) ?? []
}

/** Unix sockets belong to the workers' user, unless the settings say otherwise (as in php-fpm). */
export function ownedBy(
  { uid, gid }: Identity,
  listeners: readonly ListenerSettings[],
): readonly ListenerSettings[] {
  const rights = {
    ...(uid !== undefined && { owner: uid }),
    ...(gid !== undefined && { group: gid }),
  }
  return listeners.map((listener) =>
    String(listener.listen).startsWith('unix:')
      ? { ...listener, options: { ...rights, ...listener.options } }
      : listener,
  )
}
