/** Opens files below a directory and nothing outside, even if others change the directory meanwhile. */
import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readlinkSync,
  realpathSync,
  type Stats,
  statSync,
} from 'node:fs'

/** A regular file or a directory. Paths are byte strings: a name may have any byte. */
export interface OpenFile {
  readonly fd: number
  readonly root: string
  /** Below `root`. */
  readonly path: string
  readonly stats: Stats
}

/**
 * Opens `root + path` for reading.
 *
 * The file is opened before it is checked, because a name may lead to another file a moment later.
 * O_NONBLOCK is for FIFOs: opening one would block a thread of Node until there is a writer.
 *
 * @param root the real path of a directory, without a slash at its end ('' for '/').
 * @param path starts with a slash.
 * @returns the file, which the caller closes; `'missing'` if it does not exist, or is neither a file nor
 *   a directory; `'forbidden'` if it is outside `root`, or may not be read.
 */
export function openBelow(root: string, path: string): OpenFile | 'missing' | 'forbidden' {
  let fd: number
  try {
    fd = openSync(bytesOf(root + path), constants.O_RDONLY | (constants.O_NONBLOCK ?? 0))
  } catch (error) {
    return judge(error)
  }
  try {
    const stats = fstatSync(fd)
    const real = realPathOf(fd, root + path, stats)
    if (real !== root && !real.startsWith(`${root}/`)) return close(fd, 'forbidden')
    if (!stats.isFile() && !stats.isDirectory()) return close(fd, 'missing')
    return { fd, root, path, stats }
  } catch (error) {
    return close(fd, judge(error))
  }
}

/** The real path of a directory as a byte string; '' for '/'. */
export function realDirectory(path: string): string {
  const real = realpathSync(path, 'buffer').toString('latin1')
  return portable(real).replace(/\/$/, '')
}

/** The path of an open file. Linux reports it; elsewhere the path must lead to the same file again. */
function realPathOf(fd: number, path: string, { dev, ino }: Stats): string {
  if (process.platform === 'linux') {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`, 'buffer').toString('latin1')
    } catch {
      // No /proc is mounted.
    }
  }
  const real = realpathSync(bytesOf(path), 'buffer')
  const now = statSync(real)
  return now.dev === dev && now.ino === ino ? portable(real.toString('latin1')) : ''
}

function portable(path: string): string {
  return process.platform === 'win32' ? path.replaceAll('\\', '/') : path
}

function bytesOf(path: string): Buffer {
  return Buffer.from(path, 'latin1')
}

function close<T>(fd: number, result: T): T {
  closeSync(fd)
  return result
}

/** ENXIO: a socket. EINVAL, ENAMETOOLONG and ELOOP: no file can have such a name. */
const MISSING = new Set(['ENOENT', 'ENOTDIR', 'ENXIO', 'EINVAL', 'ENAMETOOLONG', 'ELOOP', 'EISDIR'])

function judge(error: unknown): 'missing' | 'forbidden' {
  const { code = '' } = error as NodeJS.ErrnoException
  if (MISSING.has(code)) return 'missing'
  if (code === 'EACCES' || code === 'EPERM') return 'forbidden'
  throw error
}
