/**
 * Descriptors in Bun, by functions of libc. Bun loads `bun:ffi` in a third of the time of node:fs, and
 * node:fs cannot duplicate a descriptor.
 */

export interface Libc {
  /** A new descriptor for the same file, which other processes do not inherit; -1 on failure. */
  readonly duplicate: (fd: number) => number
  /** Makes `fd` a descriptor for the file of `by`. */
  readonly replace: (by: number, fd: number) => void
  /** Returns the number of bytes written; -1 on failure. */
  readonly write: (fd: number, bytes: Uint8Array) => number
}

/** glibc; musl has another name, and other systems have another F_DUPFD_CLOEXEC. */
const LIBRARY = 'libc.so.6'
/** A command of fcntl(2): duplicates a descriptor to the lowest free number from a given one. */
const F_DUPFD_CLOEXEC = 1030
/** The numbers below belong to the standard streams. */
const LOWEST = 3

type Functions = Record<'fcntl' | 'dup2' | 'write', (...args: unknown[]) => number>

/** Undefined where the library does not exist. */
export function openLibc(): Libc | undefined {
  if (process.platform !== 'linux') return undefined
  try {
    const { dlopen } = process.getBuiltinModule('bun:ffi') as unknown as {
      dlopen: (library: string, functions: object) => { symbols: Functions }
    }
    const { fcntl, dup2, write } = dlopen(LIBRARY, {
      fcntl: { args: ['int', 'int', 'int'], returns: 'int' },
      dup2: { args: ['int', 'int'], returns: 'int' },
      write: { args: ['int', 'ptr', 'usize'], returns: 'i64_fast' },
    }).symbols
    return {
      duplicate: (fd) => fcntl(fd, F_DUPFD_CLOEXEC, LOWEST),
      replace: (by, fd) => void dup2(by, fd),
      write: (fd, bytes) => write(fd, bytes, bytes.length),
    }
  } catch {
    return undefined
  }
}
