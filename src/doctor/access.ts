/** Whether a user may enter directories, and read, write or run a file. */
import { execFileSync } from 'node:child_process'
import { statSync, type Stats } from 'node:fs'
import { dirname } from 'node:path'

/** Identity as the kernel compares it. */
export interface Identity {
  readonly uid: number
  readonly gids: readonly number[]
}

export function identityOf(user: string): Identity | undefined {
  try {
    const id = (flag: string): string =>
      execFileSync('id', [flag, user], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      }).trim()
    return { uid: Number(id('-u')), gids: id('-G').split(' ').map(Number) }
  } catch {
    return undefined
  }
}

/** The topmost directory above a path that the user cannot enter; undefined if the user can enter all. */
export function closedDirectory(path: string, identity: Identity): string | undefined {
  const directories: string[] = []
  for (let each = dirname(path); ; each = dirname(each)) {
    directories.unshift(each)
    if (each === dirname(each)) break
  }
  return directories.find((directory) => {
    try {
      return !permits(statSync(directory), identity, 1)
    } catch {
      return false
    }
  })
}

/** @param bit 4 read, 2 write, 1 enter */
export function permits(
  { mode, uid, gid }: Stats,
  { uid: own, gids }: Identity,
  bit: number,
): boolean {
  const shift = uid === own ? 6 : gids.includes(gid) ? 3 : 0
  return ((mode >> shift) & bit) !== 0
}
