/** The temporary files of a form. */
import { Buffer } from 'node:buffer'
import { lstat, mkdtemp, open, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ABANDONED, PURGE_EVERY } from '../leftovers.ts'
import type { RawField } from './field.ts'
import type { RawFile } from './raw-file.ts'
import { UploadedFile } from './file.ts'
import type { Pull } from './multipart.ts'

/** Bytes per write. Each write is a trip to another thread, so the chunks of a body are too small. */
const BLOCK_SIZE = 256 * 1024

const PREFIX = 'portico-upload-'

/** A directory (mode 0700) for the files of one form, created for the first file. */
export class TempFiles {
  readonly #parent: string
  #directory: string | undefined
  #count = 0

  constructor(parent: string = tmpdir()) {
    this.#parent = parent
  }

  async store(file: RawFile, pull: Pull): Promise<RawField> {
    this.#directory ??= await this.#make()
    const path = join(this.#directory, String(this.#count++))
    const handle = await open(path, 'wx', 0o600)
    const block = Buffer.allocUnsafeSlow(BLOCK_SIZE)
    let size = 0
    let used = 0
    try {
      for (let chunk = await pull(); chunk !== undefined; chunk = await pull()) {
        size += chunk.length
        for (let rest = chunk; rest.length > 0;) {
          const copied = rest.copy(block, used)
          rest = rest.subarray(copied)
          used += copied
          if (used < block.length) continue
          await handle.appendFile(block)
          used = 0
        }
      }
      if (used > 0) await handle.appendFile(block.subarray(0, used))
    } finally {
      await handle.close()
    }
    return {
      name: file.name,
      toField: (decode) => new UploadedFile(file, decode, size, path),
    }
  }

  async remove(): Promise<void> {
    if (this.#directory !== undefined) await rm(this.#directory, { recursive: true, force: true })
  }

  async #make(): Promise<string> {
    const isFirst = !purged.has(this.#parent)
    purged.add(this.#parent)
    if (isFirst || Math.random() * PURGE_EVERY < 1) await purge(this.#parent)
    return mkdtemp(join(this.#parent, PREFIX))
  }
}

/** The directories in which this process has looked already. */
const purged = new Set<string>()

/** Removes what killed processes of this user have left. */
async function purge(parent: string): Promise<void> {
  const user = process.geteuid?.()
  for (const name of await readdir(parent).catch(() => [])) {
    if (!name.startsWith(PREFIX)) continue
    const path = join(parent, name)
    const stats = await lstat(path).catch(() => undefined)
    if (!stats?.isDirectory() || (user !== undefined && stats.uid !== user)) continue
    if (stats.mtimeMs > Date.now() - ABANDONED) continue
    await rm(path, { recursive: true, force: true }).catch(() => {})
  }
}
