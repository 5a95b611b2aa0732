/** Finds the script that a path names, below a directory and nowhere else. */
import { Buffer } from 'node:buffer'
import {
  accessSync,
  closeSync,
  constants,
  openSync,
  readSync,
  realpathSync,
  type Stats,
  statSync,
} from 'node:fs'
import { encodeText } from '../environ/environ.ts'
import { quote } from '../text.ts'
import { readShebang, SHEBANG_BYTES } from './shebang.ts'
import { scriptError } from './script-error.ts'

/** Characters of a path in the log: a long name below a long directory. */
const MAX_SHOWN = 512

/** A script that can be run. Names and paths are byte strings, except `path`. */
export interface Script {
  /** The absolute path, as text. */
  readonly path: string
  /** Below the directory: '/hello.pl', '/sub/hello.pl'. */
  readonly name: string
  /** The rest of the path: '' or '/…'. */
  readonly pathInfo: string
}

/** Why a path names no script, for the log. */
export interface NoScript {
  readonly path?: undefined
  readonly reason: string
}

/**
 * Finds the first file along `path`; what follows is PATH_INFO (RFC 3875, section 4.1.5). Empty
 * segments before it are ignored, and dot segments are resolved, as Apache and nginx do.
 *
 * The check comes before the start of the process, so anyone who may write into the directory can replace
 * the file meanwhile. But that user may put any script there anyway.
 *
 * @param root the directory.
 * @param path PATH_INFO: a byte string that is '' or begins with a slash.
 * @throws {PeerError} PORTICO_SCRIPT, if there is one and it must not or cannot run.
 */
export function findScript(root: string, path: string): Script | NoScript {
  const resolved = resolveDots(path)
  if (resolved === null) return { reason: 'the path leads out of the directory' }
  if (resolved.includes('\0')) return { reason: 'the path contains a NUL' }
  const directory = realPath(Buffer.from(root))
  if (directory === null) return { reason: `the directory ${root} does not exist` }
  const base = directory === '/' ? '' : directory
  let name = ''
  for (let at = 1; at <= resolved.length;) {
    const slash = resolved.indexOf('/', at)
    const end = slash === -1 ? resolved.length : slash
    const segment = resolved.slice(at, end)
    at = end + 1
    if (segment === '') continue
    // .htpasswd, .git and the like.
    if (segment.startsWith('.')) return { reason: `the name ${shown(segment)} begins with a dot` }
    name += `/${segment}`
    const stats = statOf(base + name)
    if (stats === null) return { reason: `${shown(base + name)} does not exist` }
    if (stats.isDirectory()) continue
    if (!stats.isFile()) return { reason: `${shown(base + name)} is not a regular file` }
    checkPath(base, name)
    checkRunnable(base + name, stats)
    return { path: textOf(base + name), name, pathInfo: resolved.slice(end) }
  }
  return { reason: `${shown(base + name || '/')} is a directory` }
}

/** A path in the log. The client has chosen its end. */
function shown(path: string): string {
  return quote(Buffer.from(path, 'latin1').toString(), MAX_SHOWN)
}

/** Removes '.' and '..' (RFC 3986, section 5.2.4); null if the path leads above its beginning. */
export function resolveDots(path: string): string | null {
  if (!/\/\.{1,2}(?:\/|$)/.test(path)) return path
  const kept: string[] = []
  const segments = path.split('/').slice(1)
  for (const [index, segment] of segments.entries()) {
    const isLast = index === segments.length - 1
    if (segment === '..' && kept.pop() === undefined) return null
    if (segment !== '.' && segment !== '..') kept.push(segment)
    else if (isLast) kept.push('')
  }
  return `/${kept.join('/')}`
}

/** No file can have such a name, or it disappeared a moment ago. */
const MISSING = new Set(['ENOENT', 'ENOTDIR', 'ENAMETOOLONG', 'ELOOP', 'EINVAL'])

function statOf(path: string): Stats | null {
  try {
    return statSync(Buffer.from(path, 'latin1'))
  } catch (error) {
    return missing(error, path)
  }
}

function missing(error: unknown, path: string): null {
  const { code = '', message } = error as NodeJS.ErrnoException
  if (MISSING.has(code)) return null
  throw scriptError(`${path} cannot be run: ${message}`, '403 Forbidden')
}

function realPath(path: Buffer): string | null {
  try {
    return realpathSync.native(path, 'buffer').toString('latin1')
  } catch (error) {
    return missing(error, path.toString())
  }
}

function checkPath(base: string, name: string): void {
  const real = realPath(Buffer.from(base + name, 'latin1'))
  if (real === null || real.startsWith(`${base}/`)) return
  throw scriptError(
    `${base}${name} is a symbolic link to ${real}, which is outside of the directory. ` +
      'Copy the script into the directory, or let a script there start it',
    '403 Forbidden',
  )
}

function textOf(bytes: string): string {
  const text = Buffer.from(bytes, 'latin1').toString()
  if (encodeText(text) === bytes) return text
  throw scriptError(`The name of ${bytes} is not UTF-8, and Node cannot run such a file. Rename it`)
}

/** Reports faults that the system's errors hide: for a first line that ends in CRLF it is ENOENT. */
function checkRunnable(path: string, stats: Stats): void {
  const bytes = Buffer.from(path, 'latin1')
  try {
    accessSync(bytes, constants.X_OK)
  } catch {
    const mode = (stats.mode & 0o7777).toString(8).padStart(4, '0')
    throw scriptError(
      `${path} is not executable (mode ${mode}): chmod 755 ${path}`,
      '403 Forbidden',
    )
  }
  const head = headOf(bytes)
  if (head === null) return
  const { kind } = readShebang(head)
  const reason = REASONS[kind]
  if (reason !== undefined) throw scriptError(`${path} ${reason} ${path}`)
}

const REASONS: Readonly<Record<string, string>> = {
  'byte order mark':
    "begins with a byte order mark, so the kernel does not see #!: sed -i '1s/^\\xef\\xbb\\xbf//'",
  'carriage return':
    "has a first line that ends in CRLF, so its interpreter is not found: sed -i 's/\\r$//'",
  long: 'names an interpreter in its first line that is too long for the kernel, which reads 256 bytes. Make a symbolic link to it, and name that in the first line of',
  none: 'is text, and its first line does not begin with #! and an interpreter. Name the interpreter in the first line, such as #!/usr/bin/perl, of',
}

/** Null for a program that may be run but not read. */
function headOf(path: Buffer): Buffer | null {
  let fd: number
  try {
    fd = openSync(path, 'r')
  } catch {
    return null
  }
  try {
    return HEAD.subarray(0, readSync(fd, HEAD, 0, SHEBANG_BYTES, 0))
  } finally {
    closeSync(fd)
  }
}

/** Used within one turn of the event loop. */
const HEAD = Buffer.alloc(SHEBANG_BYTES)
