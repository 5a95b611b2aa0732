/** Sessions in files. */
import { createHash, randomBytes } from 'node:crypto'
import { mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ConfigurationError } from '../errors.ts'
import { ABANDONED, PURGE_EVERY } from '../leftovers.ts'
import type { SessionStore } from './session-store.ts'

/** The file with the data, in the session's own directory. */
const DATA = 'session.json'

/**
 * Keeps each session in a file: for several processes on one machine, and for CGI.
 *
 * A file's modification time is the time at which the session expires. Each file has its own
 * directory, so that a session can be removed in one atomic step by renaming the directory: a save
 * that is still running then fails and does not bring the session back. The names are hashes, so
 * that a user who can list the directory cannot take over a session.
 */
export class FileStore implements SessionStore {
  readonly #directory: string
  #checked = false

  /**
   * @param directory the path of a directory, which the first save makes with mode 0700. One that
   *   exists must belong to the user of this process, and only that user may write into it: anyone
   *   else could make up sessions. All methods reject with a ConfigurationError otherwise.
   * @throws {ConfigurationError} if `directory` is not a path.
   */
  constructor(directory: string) {
    if (typeof directory !== 'string' || directory === '') {
      throw new ConfigurationError('FileStore: the argument must be the path of a directory')
    }
    this.#directory = directory
  }

  async load(id: string): Promise<string | undefined> {
    await this.#check()
    const path = join(this.#pathOf(id), DATA)
    if (await isAlive(path)) return (await readFile(path, 'utf8').catch(ignoreAbsence)) ?? undefined
    await this.remove(id)
  }

  async save(id: string, data: string, expires: number): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 })
    await this.#check()
    const path = this.#pathOf(id)
    await mkdir(path, { recursive: true, mode: 0o700 })
    await replaceData(path, data, expires)
    if (Math.random() * PURGE_EVERY < 1) await this.purge()
  }

  async update(id: string, data: string, expires: number): Promise<boolean> {
    await this.#check()
    const path = this.#pathOf(id)
    if (!(await isAlive(join(path, DATA)))) return false
    return exists(replaceData(path, data, expires))
  }

  async remove(id: string): Promise<boolean> {
    await this.#check()
    const path = this.#pathOf(id)
    const alive = await isAlive(join(path, DATA))
    return (await this.#removeDirectory(path)) && alive
  }

  /** Removes expired sessions. One of 100 calls of `save` does this. */
  async purge(): Promise<void> {
    await this.#check()
    for (const name of (await readdir(this.#directory).catch(ignoreAbsence)) ?? []) {
      const path = join(this.#directory, name)
      if (REMOVED.test(name)) await rm(path, { recursive: true, force: true })
      if (SESSION.test(name) && (await isOver(path))) await this.#removeDirectory(path)
    }
  }

  /** Returns false if another process has removed it. */
  async #removeDirectory(path: string): Promise<boolean> {
    const removed = join(this.#directory, `${randomBytes(16).toString('hex')}.removed`)
    if (!(await exists(rename(path, removed)))) return false
    await rm(removed, { recursive: true, force: true })
    return true
  }

  #pathOf(id: string): string {
    return join(this.#directory, createHash('sha256').update(id).digest('hex'))
  }

  async #check(): Promise<void> {
    const stats = this.#checked ? undefined : await stat(this.#directory).catch(ignoreAbsence)
    if (!stats) return
    const user = process.geteuid?.() ?? stats.uid
    if (stats.uid !== user || (process.platform !== 'win32' && (stats.mode & 0o022) !== 0)) {
      throw new ConfigurationError(
        `FileStore: the directory ${this.#directory} belongs to user ${stats.uid} and has mode ` +
          `0${(stats.mode & 0o777).toString(8)}. It must belong to the user of this process ` +
          `(${user}), and only that user may write into it: chown and chmod go-w, or choose another one`,
      )
    }
    this.#checked = true
  }
}

/** Readers see the old data or the new data, and never a part of either. */
async function replaceData(directory: string, data: string, expires: number): Promise<void> {
  const temporary = join(directory, `${randomBytes(16).toString('hex')}.tmp`)
  try {
    await writeFile(temporary, data, { mode: 0o600, flag: 'wx' })
    await utimes(temporary, new Date(), new Date(expires))
    await rename(temporary, join(directory, DATA))
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
}

/** The store removes nothing else from the directory. */
const SESSION = /^[\da-f]{64}$/
const REMOVED = /^[\da-f]{32}\.removed$/

async function isAlive(data: string): Promise<boolean> {
  const stats = await stat(data).catch(ignoreAbsence)
  return stats !== undefined && stats.mtimeMs > Date.now()
}

/** Whether a session has expired, or was never written. */
async function isOver(directory: string): Promise<boolean> {
  const data = await stat(join(directory, DATA)).catch(ignoreAbsence)
  if (data) return data.mtimeMs <= Date.now()
  const made = await stat(directory).catch(ignoreAbsence)
  return made !== undefined && made.mtimeMs <= Date.now() - ABANDONED
}

/** Resolves to false if a file or a directory was not there. */
async function exists(done: Promise<void>): Promise<boolean> {
  try {
    await done
    return true
  } catch (error) {
    return ignoreAbsence(error as NodeJS.ErrnoException) ?? false
  }
}

function ignoreAbsence(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error
}
