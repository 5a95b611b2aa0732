/**
 * Input and output on file descriptors, as CGI scripts need them: `fdSource`, `ResponseOutput`, `writeFd`.
 *
 * This file does not use `process.stdin`, `stdout` and `stderr`: each costs a CGI request a
 * millisecond or more, and `process.exit()` loses output of stdout that waits for a pipe.
 */
import { Buffer } from 'node:buffer'
import { PeerError } from '../errors.ts'
import { nodeFs, RUNTIME } from '../runtime.ts'
import { type Libc, openLibc } from './bun-libc.ts'
import type { ByteSource, Input } from './input.ts'

/** Node's own function, even after `printToLog` has replaced it. */
let ownWriteSync: typeof import('node:fs').writeSync | undefined

/** Remembers that function. In Node and Deno this file calls it when it is loaded. */
export function keepWriteSync(): typeof import('node:fs').writeSync {
  return (ownWriteSync ??= nodeFs().writeSync)
}
if (RUNTIME !== 'bun') keepWriteSync()

/** Undefined until it is opened, and where it does not exist. */
let libc: Libc | undefined

/** The descriptor of the response. */
let response = 1
let hasEnded = false

/**
 * In Bun, moves the response to another descriptor, and makes descriptor 1 a second stderr: whatever
 * is printed goes to the log, by any function and by other processes that the script starts.
 *
 * @returns false if that is not possible here
 */
export function moveResponse(): boolean {
  libc ??= openLibc()
  const moved = libc?.duplicate(1) ?? -1
  if (moved < 0) return false
  libc!.replace(2, 1)
  response = moved
  return true
}

/** Writes as many bytes as there is room for. Throws the errors of `fs.writeSync`. */
function write(fd: number, bytes: Uint8Array): number {
  const count = libc?.write(fd, bytes) ?? -1
  // node:fs has the error's code.
  return count < 0 ? keepWriteSync()(fd, bytes) : count
}

/**
 * Bytes per read. Small blocks keep memory use low: V8 collects external buffers only after 32 MiB
 * of them, or together with other garbage.
 */
const READ_SIZE = 8_192

/**
 * Bytes per write. Deno's `writeSync` (2.9) writes all bytes in several calls, and if a non-blocking
 * descriptor has no more room, its error does not say how many were written. A pipe takes all of
 * PIPE_BUF (4,096) bytes or none.
 */
const MAX_WRITE = RUNTIME === 'deno' ? 4_096 : Infinity

/** Read errors that mean that the web server, or its connection to the script, is gone. */
const GONE = new Set(['ECONNRESET', 'EPIPE', 'ENOTCONN', 'ETIMEDOUT'])

/** First and longest pause, in ms, before a descriptor that was not ready is tried again. */
const SHORTEST_PAUSE = 1
const LONGEST_PAUSE = 16

/** What `readAhead` may keep, in bytes: the body of a request may be larger than the memory. */
const MAX_AHEAD = 64 * 1024 * 1024

/** A body on a descriptor. */
export interface FdSource extends ByteSource {
  /** Receives `size` bytes, or all up to the end. With `keep`, at most `MAX_AHEAD`, which later reads return. */
  readAhead(size: number, keep: boolean): void
}

/**
 * Reads bytes from a file descriptor. A read blocks the process, which has only one request; a
 * pending asynchronous read would keep the process from ending. A non-blocking descriptor is polled.
 */
export function fdSource(fd: number): FdSource {
  // Several reads share one block, so that a client that sends single bytes does not use one for each.
  let block = Buffer.alloc(0)
  let ahead: Buffer[] = []
  let next = 0

  /** Undefined if nothing has arrived yet; null at the end. */
  function tryRead(size: number): Buffer | null | undefined {
    if (block.length === 0) block = Buffer.allocUnsafe(Math.min(size, READ_SIZE))
    try {
      const count = nodeFs().readSync(fd, block, 0, Math.min(size, block.length), null)
      const chunk = block.subarray(0, count)
      block = block.subarray(count)
      return count === 0 ? null : chunk
    } catch (error) {
      const { code = '', message } = error as NodeJS.ErrnoException
      if (code === 'EAGAIN') return undefined
      if (code === 'EOF') return null
      const text = `Cannot read the request body from file descriptor ${fd}: ${message}`
      throw GONE.has(code)
        ? new PeerError('PORTICO_DISCONNECTED', text)
        : new Error(text, { cause: error })
    }
  }

  async function poll(size: number): Promise<Buffer | null> {
    for (let pause = SHORTEST_PAUSE; ; pause = Math.min(pause * 2, LONGEST_PAUSE)) {
      await sleep(pause)
      const chunk = tryRead(size)
      if (chunk !== undefined) return chunk
    }
  }

  function takeAhead(size: number): Buffer | null {
    const chunk = ahead[next]
    if (chunk === undefined) return null
    if (chunk.length > size) ahead[next] = chunk.subarray(size)
    else if (++next === ahead.length) ahead = []
    if (ahead.length === 0) next = 0
    return chunk.subarray(0, size)
  }

  return {
    read(size) {
      const chunk = takeAhead(size) ?? tryRead(size)
      return chunk === undefined ? poll(size) : chunk
    },
    readAhead(size, keep) {
      try {
        let left = keep ? Math.min(size, MAX_AHEAD) : size
        for (let chunk; left > 0 && (chunk = tryRead(left)); left -= chunk.length) {
          if (keep) ahead.push(chunk)
        }
      } catch {
        // The next read fails as well.
      }
    },
  }
}

/** In bytes (Linux): what a pipe holds, and what each write takes from the buffer of a socket. */
const PIPE_SIZE = 65_536
const WRITE_COST = 1_024

/** Writes the response, as many bytes as its descriptor accepts: an `Output` for SimpleHandler. */
export class ResponseOutput {
  readonly partialWrites = true
  /** Called once, before a write that waits until the web server reads. */
  beforeWait: (() => void) | null = null
  #written = 0
  #pause = SHORTEST_PAUSE

  /** Returns the number of bytes written. If there was no room, a promise that resolves to 0 later. */
  write(bytes: Buffer): number | Promise<number> {
    this.#written += bytes.length + WRITE_COST
    if (this.beforeWait !== null && this.#written > PIPE_SIZE) {
      this.beforeWait()
      this.beforeWait = null
    }
    try {
      const count = write(response, bytes.length > MAX_WRITE ? bytes.subarray(0, MAX_WRITE) : bytes)
      this.#pause = SHORTEST_PAUSE
      return count
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
    }
    const pause = sleep(this.#pause)
    this.#pause = Math.min(this.#pause * 2, LONGEST_PAUSE)
    return pause.then(() => 0)
  }
}

/**
 * The rest of the body after the response: the application goes on reading, or it is discarded.
 *
 * @param exitAfter when to end the process, in ms
 */
export async function receiveRest(fd: number, body: Input, exitAfter: number): Promise<void> {
  const stopped = body.readsOn()
  if (stopped !== null) {
    const exit = setTimeout(() => process.exit(), exitAfter)
    await stopped
    clearTimeout(exit)
  }
  await discardRest(fd, body)
}

/**
 * Reads the rest of the body. If a script ends with unread bytes in its socket, the connection is
 * reset, and Apache's mod_cgid (2.4) truncates the response. If it ends with unread bytes in its
 * pipe, the web server's write fails, and fcgiwrap (1.1) sends a 502.
 */
async function discardRest(fd: number, body: Input): Promise<void> {
  try {
    const stdin = nodeFs().fstatSync(fd)
    if (!stdin.isSocket() && !stdin.isFIFO()) return
    const chunks = body.chunks()
    while (!(await chunks.next()).done);
  } catch {
    // Incomplete, closed, or still being read by the application: nothing can be done.
  }
}

/** Writes to a log's descriptor. Ignores errors: a request must not fail because of its log. */
export function writeFd(fd: number, text: string | Buffer): void {
  try {
    for (let rest = Buffer.from(text as string); rest.length > 0;) {
      rest = rest.subarray(write(fd, rest))
    }
  } catch {
    // The web server has closed it, or it is a full non-blocking pipe.
  }
}

/** `os.devNull`; loading node:os takes a tenth of a millisecond. */
const NULL_DEVICE = process.platform === 'win32' ? '\\\\.\\nul' : '/dev/null'

/** Closes stdin and the descriptor of the response. */
export function detach(): void {
  replaceByNull(0, 'r')
  endResponse()
}

/** Closes the descriptor of the response, which shows the web server that it has ended. */
export function endResponse(): void {
  if (!hasEnded) replaceByNull(response, 'w')
  hasEnded = true
}

/** Replaces a descriptor of the three standard ones by the null device; closes any other. */
export function replaceByNull(fd: number, flags: 'r' | 'w'): void {
  const { closeSync, openSync } = nodeFs()
  try {
    closeSync(fd)
    if (fd <= 2) openSync(NULL_DEVICE, flags) // Gets the lowest free number, which is fd.
  } catch {
    // The script has closed it itself.
  }
}

/** Web servers that are known to give a script two descriptors; `fstat` is a slow first call. */
const SEPARATE_LOGS = /^(?:Apache|nginx|lighttpd)\b/

/**
 * Whether both descriptors are one pipe or socket. mini_httpd (1.30) sends a script's stderr to the
 * client, so that an error would become part of the response.
 */
export function samePipe(a: number, b: number): boolean {
  if (SEPARATE_LOGS.test(process.env['SERVER_SOFTWARE'] ?? '')) return false
  const { fstatSync } = nodeFs()
  try {
    const [first, second] = [fstatSync(a), fstatSync(b)]
    const shared = first.dev === second.dev && first.ino === second.ino
    return shared && (first.isFIFO() || first.isSocket())
  } catch {
    return false // One of them is closed.
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
