/** Where sessions are kept between requests. */
import { createHash, randomBytes } from 'node:crypto'
import { mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ConfigurationError } from '../errors.ts'
import type { MaybePromise } from './body-hooks.ts'

/**
 * A store of sessions. It may answer at once or by a promise; the response waits for it. What it is
 * given to keep is a JSON text.
 */
export interface SessionStore {
  /** What was saved last under `id`; undefined if there is nothing, or it has expired. */
  load(id: string): MaybePromise<string | undefined>
  /** @param expires milliseconds since 1970. */
  save(id: string, data: string, expires: number): MaybePromise
  remove(id: string): MaybePromise
}

/** Room for the sessions of a small site: at 1 KiB each, some 10 MiB. */
const MAX_SESSIONS = 10_000

/**
 * Keeps sessions in this process: for one process that answers many requests, so not for CGI.
 *
 * It never holds more than `max`; then the one goes that was saved longest ago.
 */
export class MemoryStore implements SessionStore {
  readonly #max: number
  readonly #sessions = new Map<string, { data: string; expires: number }>()

  constructor(max = MAX_SESSIONS) {
    if (!Number.isSafeInteger(max) || max < 1) {
      throw new ConfigurationError(`MemoryStore: ${max} is no number of sessions`)
    }
    this.#max = max
  }

  get size(): number {
    return this.#sessions.size
  }

  load(id: string): string | undefined {
    const session = this.#sessions.get(id)
    if (session === undefined || session.expires > Date.now()) return session?.data
    this.#sessions.delete(id)
  }

  save(id: string, data: string, expires: number): void {
    // Deleted first, so that the Map's order is that of saving.
    this.#sessions.delete(id)
    this.#sessions.set(id, { data, expires })
    const [oldest] = this.#sessions.keys()
    if (this.#sessions.size > this.#max && oldest !== undefined) this.#sessions.delete(oldest)
  }

  remove(id: string): void {
    this.#sessions.delete(id)
  }
}

/** One save in so many looks for what has expired: PHP's `session.gc_divisor`. */
const PURGE_EVERY = 100

/**
 * Keeps each session in a file of its own: for several processes on one machine, and for CGI.
 *
 * A file's modification time is the moment at which the session expires. Its name is a hash, so that
 * whoever can list the folder cannot take a session over.
 */
export class FileStore implements SessionStore {
  readonly #folder: string

  /**
   * @param folder is made, for this user only, when it is first needed.
   * @throws {ConfigurationError} for none.
   */
  constructor(folder: string) {
    if (typeof folder !== 'string' || folder === '') {
      throw new ConfigurationError('FileStore: it needs the path of a folder')
    }
    this.#folder = folder
  }

  async load(id: string): Promise<string | undefined> {
    const path = this.#path(id)
    const stats = await stat(path).catch(ignoreAbsence)
    if (!stats) return undefined
    if (stats.mtimeMs > Date.now())
      return (await readFile(path, 'utf8').catch(ignoreAbsence)) ?? undefined
    await this.remove(id)
  }

  /** Readers see the old text or the new one, and nothing between. */
  async save(id: string, data: string, expires: number): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 })
    const temporary = join(this.#folder, `${randomBytes(16).toString('hex')}.tmp`)
    try {
      await writeFile(temporary, data, { mode: 0o600, flag: 'wx' })
      await utimes(temporary, new Date(), new Date(expires))
      await rename(temporary, this.#path(id))
    } catch (error) {
      await rm(temporary, { force: true })
      throw error
    }
    if (Math.random() * PURGE_EVERY < 1) await this.purge()
  }

  async remove(id: string): Promise<void> {
    await rm(this.#path(id), { force: true })
  }

  /** Removes what has expired; `save` calls it now and then. */
  async purge(): Promise<void> {
    const now = Date.now()
    for (const name of (await readdir(this.#folder).catch(ignoreAbsence)) ?? []) {
      if (!NAME.test(name)) continue
      const path = join(this.#folder, name)
      const stats = await stat(path).catch(ignoreAbsence)
      const due = name.endsWith('.tmp') ? now - ABANDONED : now
      if (stats && stats.mtimeMs <= due) await rm(path, { force: true })
    }
  }

  #path(id: string): string {
    return join(this.#folder, `${createHash('sha256').update(id).digest('hex')}.json`)
  }
}

/** Nothing else in the folder is ours to remove. */
const NAME = /^(?:[\da-f]{64}\.json|[\da-f]{32}\.tmp)$/

/** After so many ms a file that is still being written will not be finished: its process is gone. */
const ABANDONED = 24 * 60 * 60 * 1000

function ignoreAbsence(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error
}
