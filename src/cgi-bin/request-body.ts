/** The request body of a script, whose length CGI has to announce (RFC 3875, section 4.1.2). */
import { Buffer } from 'node:buffer'
import { openSync } from 'node:fs'
import { mkdtemp, open, rm, type FileHandle } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { bodyFraming } from '../environ/environ.ts'
import { PeerError } from '../errors.ts'
import { WholeBody } from '../environ/wrapped-input.ts'
import type { Environ } from '../types.ts'

/** What a script gets as stdin. */
export type ScriptBody =
  | { readonly kind: 'none'; readonly length?: string }
  /** Chunks, as they arrive. */
  | { readonly kind: 'chunks'; readonly length: string; readonly chunks: AsyncIterable<Buffer> }
  /** A file that has no name any more, from its beginning. The caller closes it. */
  | { readonly kind: 'file'; readonly length: string; readonly fd: number }

/** Bytes that stay in memory: the size of most forms. */
const MAX_IN_MEMORY = 65_536

/**
 * The body of a request. If its length is not known, as that of a chunked body, it is stored first:
 * scripts read CONTENT_LENGTH bytes, and many take an absent CONTENT_LENGTH for an empty body.
 *
 * @throws {PeerError} 413 for more than `maxStored` bytes; and what reading throws.
 */
export function bodyOf(environ: Environ, maxStored: number): ScriptBody | Promise<ScriptBody> {
  const input = environ['wsgi.input']
  switch (bodyFraming(environ)) {
    case 'length': {
      const length = environ['CONTENT_LENGTH']!
      if (Number(length) === 0) return { kind: 'none', length }
      return { kind: 'chunks', length, chunks: new WholeBody(input) }
    }
    case 'none':
    case 'empty':
      return { kind: 'none' }
    case 'chunked':
    case 'unknown':
      return store(new WholeBody(input), maxStored)
  }
}

async function store(chunks: AsyncIterable<Buffer>, maxStored: number): Promise<ScriptBody> {
  const kept: Buffer[] = []
  let size = 0
  let waiting = 0
  let file: TemporaryFile | undefined
  try {
    for await (const chunk of chunks) {
      size += chunk.length
      if (size > maxStored) throw tooLarge(maxStored)
      kept.push(chunk)
      waiting += chunk.length
      if (waiting <= MAX_IN_MEMORY) continue
      file ??= await createFile()
      await file.handle.appendFile(Buffer.concat(kept.splice(0)))
      waiting = 0
    }
    if (size === 0) return { kind: 'none' }
    const length = String(size)
    if (file === undefined) return { kind: 'chunks', length, chunks: inMemory(kept) }
    await file.handle.appendFile(Buffer.concat(kept))
    return { kind: 'file', length, fd: openSync(file.path, 'r') }
  } finally {
    await file?.remove()
  }
}

async function* inMemory(chunks: readonly Buffer[]): AsyncGenerator<Buffer> {
  yield* chunks
}

interface TemporaryFile {
  readonly path: string
  readonly handle: FileHandle
  remove(): Promise<void>
}

/** In a directory of its own (mode 0700). */
async function createFile(): Promise<TemporaryFile> {
  const directory = await mkdtemp(join(tmpdir(), 'portico-body-'))
  const path = join(directory, 'body')
  const handle = await open(path, 'wx', 0o600)
  return {
    path,
    handle,
    async remove() {
      await handle.close()
      await rm(directory, { recursive: true, force: true })
    },
  }
}

function tooLarge(maxStored: number): PeerError {
  return new PeerError(
    'PORTICO_TOO_LARGE',
    `The request body has no Content-Length and more than ${maxStored} bytes`,
    '413 Content Too Large',
  )
}
