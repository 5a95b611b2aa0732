/** Why a script could not be started, or ended without a response. */
import { closeSync, openSync, readSync } from 'node:fs'
import { PeerError } from '../errors.ts'
import { scriptError } from './script-error.ts'
import { interpreterOf, readShebang, SHEBANG_BYTES } from './shebang.ts'

/** How a process ended. */
export interface Ending {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

/**
 * The error for a process that could not be started.
 *
 * @param path that of the script.
 * @param searchPath PATH of the script.
 */
export function startError(error: unknown, path: string, searchPath: string): PeerError {
  const { code = '', message } = error as NodeJS.ErrnoException
  if (code === 'ERR_INVALID_ARG_VALUE') {
    return new PeerError('PORTICO_BAD_REQUEST', 'A variable of the request contains a NUL')
  }
  if (code === 'E2BIG') {
    return scriptError(
      `${path}: the request has more variables than a process can get (E2BIG)`,
      '431 Request Header Fields Too Large',
    )
  }
  if (code === 'EAGAIN' || code === 'ENOMEM' || code === 'EMFILE' || code === 'ENFILE') {
    return scriptError(
      `${path} cannot be started now: ${code}. Lower maxScripts, or raise the limits of processes, memory and descriptors`,
      '503 Service Unavailable',
    )
  }
  const reason = interpreterFault(path, searchPath)
  if (reason !== null) return scriptError(`${path} cannot run: ${reason}`)
  if (code === 'EACCES') {
    return scriptError(
      `${path} cannot run: its interpreter is not executable, or its file system is mounted noexec`,
      '403 Forbidden',
    )
  }
  return scriptError(`${path} cannot run: ${message}`)
}

/** What a log line says of the end of a process. */
export function describeEnd({ code, signal }: Ending, path: string, searchPath: string): string {
  if (signal !== null) return `it was killed by ${signal}`
  // 127: env and shells did not find a program; 126: it is not executable.
  const reason = code === 127 ? interpreterFault(path, searchPath) : null
  return reason ?? `it ended with exit code ${code}`
}

/** Why the interpreter that the first line names does not start; null if it is there. */
function interpreterFault(path: string, searchPath: string): string | null {
  const shebang = shebangOf(path)
  if (shebang === null) return null
  if (shebang.kind === 'relative') {
    return `the interpreter in its first line, '${shebang.interpreter}', is not an absolute path`
  }
  if (shebang.kind !== 'script') return null
  const { name, path: found } = interpreterOf(shebang, searchPath)
  if (found !== undefined) return null
  if (name.startsWith('/')) return `its interpreter ${name} does not exist`
  return `its interpreter ${name} is not in PATH (${searchPath})`
}

function shebangOf(path: string): ReturnType<typeof readShebang> | null {
  try {
    const fd = openSync(path, 'r')
    try {
      const head = Buffer.alloc(SHEBANG_BYTES)
      return readShebang(head.subarray(0, readSync(fd, head, 0, head.length, 0)))
    } finally {
      closeSync(fd)
    }
  } catch {
    return null // It disappeared, or may not be read.
  }
}
