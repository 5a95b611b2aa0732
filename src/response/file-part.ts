/** Which bytes of which file descriptor a FileWrapper would send. */
import { Buffer } from 'node:buffer'
import type { ReadStream } from 'node:fs'
import { nodeFs } from '../runtime.ts'
import type { FileWrapper } from './file-wrapper.ts'

/** A range of an open file, in bytes. */
export interface FilePart {
  readonly fd: number
  readonly start: number
  readonly length: number
}

/** Members of fs.ReadStream that @types/node lacks; `fd` is null before the file is open. */
type OpenStream = ReadStream & { fd: number | null; start?: number; end: number }

/**
 * Returns the range that an unread file would send; undefined if its length is not known.
 *
 * Only the size of a regular file is reliable, and files in /proc report 0 whatever they contain.
 */
export function filePart(file: FileWrapper): FilePart | undefined {
  const { source, length = Infinity } = file
  const { fstatSync, ReadStream, readSync } = nodeFs()
  const stream = source instanceof ReadStream ? (source as OpenStream) : undefined
  // A stream that has been read from sends only the rest; one with an encoding sends other bytes.
  if (stream && (stream.readableDidRead || stream.readableEncoding !== null)) return undefined
  const fd = (stream ?? file).fd ?? -1
  if (fd < 0) return undefined
  const stats = fstatSync(fd)
  if (!stats.isFile() || (stats.size === 0 && readSync(fd, Buffer.alloc(1), 0, 1, 0) > 0)) {
    return undefined
  }
  // The descriptor of a stream may have moved on; a stream that opened its file began at 0.
  const begin = (stream ?? file).start ?? (stream?.path ? 0 : position(fd))
  if (begin === undefined) return undefined
  // Both the stream and the wrapper around it may have a range.
  const end = stream ? begin + stream.end - (stream.start ?? 0) + 1 : Infinity
  const start = begin + (stream ? (file.start ?? 0) : 0)
  return { fd, start, length: Math.min(Math.max(Math.min(stats.size, end) - start, 0), length) }
}

/** Resolves when the stream has opened its file or failed to; undefined if it need not wait. */
export function whenOpen({ source }: FileWrapper): Promise<void> | undefined {
  if (!(source instanceof nodeFs().ReadStream) || !source.pending || source.destroyed)
    return undefined
  return new Promise((resolve) => {
    for (const event of ['open', 'error', 'close']) source.once(event, () => resolve())
  })
}

/** The position of a descriptor. Node has no lseek; Linux shows the position in /proc. */
function position(fd: number): number | undefined {
  const { closeSync, openSync, readSync } = nodeFs()
  try {
    const info = openSync(`/proc/self/fdinfo/${fd}`, 'r')
    const text = Buffer.alloc(32) // "pos:", a tab and at most 20 digits.
    try {
      readSync(info, text)
    } finally {
      closeSync(info)
    }
    const [, digits] = /^pos:\s+(\d+)\n/.exec(text.toString('latin1')) ?? []
    return digits === undefined ? undefined : Number(digits)
  } catch {
    return undefined
  }
}
