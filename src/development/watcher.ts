/** Watches files: exactly those that were loaded, by the directories that they are in. */
import { statSync, watch, type FSWatcher } from 'node:fs'
import { basename, dirname } from 'node:path'

/** Milliseconds without a further change until a change is reported: editors write in steps. */
const QUIET_TIME = 100

/**
 * Milliseconds without another file until new files are watched. While an application loads, its process
 * needs the time.
 */
const SETTLE_TIME = 250

/** Milliseconds between two looks at all files, where the system reports no changes. */
const POLL_TIME = 500

export interface WatcherOptions {
  /** Look at the files instead of waiting for the system's reports. */
  readonly poll: boolean
  /** Called with the files that have changed. */
  readonly onChange: (files: readonly string[]) => void
  /** Called once if the system refuses to report changes, and the files are polled from now on. */
  readonly onFallback: (reason: string) => void
}

export class Watcher {
  readonly #options: WatcherOptions
  /** What each file looked like when it was last read. */
  readonly #seen = new Map<string, string>()
  /** Files that are not watched yet, each with its `since`. */
  readonly #added = new Map<string, number>()
  #settling: NodeJS.Timeout | undefined
  readonly #directories = new Map<string, FSWatcher>()
  readonly #changed = new Set<string>()
  #timer: NodeJS.Timeout | undefined
  #poll: NodeJS.Timeout | undefined

  constructor(options: WatcherOptions) {
    this.#options = options
    if (options.poll) this.#startPolling()
  }

  /** How many files are watched. */
  get size(): number {
    return this.#seen.size + this.#added.size
  }

  /**
   * Watches a file, which need not exist. That begins a little later, and no change is missed.
   *
   * @param since the time when a process began to load its files, in milliseconds since 1970. A file
   *   that has changed since then may have been loaded before its change.
   */
  add(file: string, since: number): void {
    if (this.#seen.has(file) || this.#added.has(file)) return
    this.#added.set(file, since)
    if (this.#settling !== undefined) this.#settling.refresh()
    else this.#settling = setTimeout(() => this.#settle(), SETTLE_TIME)
  }

  #settle(): void {
    this.#settling = undefined
    for (const [file, since] of this.#added) {
      this.#added.delete(file)
      // First, so that a change from now on is reported.
      if (!this.#poll) this.#watch(dirname(file))
      this.#seen.set(file, signatureOf(file))
      if (modifiedAt(file) > since) this.#suspect(file, true)
    }
  }

  /** Forgets all files that `keep` does not contain. */
  retain(keep: ReadonlySet<string>): void {
    for (const files of [this.#seen, this.#added]) {
      for (const file of files.keys()) if (!keep.has(file)) files.delete(file)
    }
    const directories = new Set([...this.#seen.keys()].map((file) => dirname(file)))
    for (const [directory, watcher] of this.#directories) {
      if (directories.has(directory)) continue
      watcher.close()
      this.#directories.delete(directory)
    }
  }

  close(): void {
    clearTimeout(this.#settling)
    clearTimeout(this.#timer)
    clearInterval(this.#poll)
    for (const watcher of this.#directories.values()) watcher.close()
    this.#directories.clear()
  }

  #watch(directory: string): void {
    if (this.#directories.has(directory)) return
    try {
      const watcher = watch(directory, (_, name) => {
        for (const file of this.#seen.keys()) {
          if (dirname(file) === directory && (name === null || basename(file) === name)) {
            this.#suspect(file)
          }
        }
      })
      // The directory is gone; its files are found again when the next process loads them.
      watcher.on('error', () => this.#forget(directory))
      this.#directories.set(directory, watcher)
    } catch (error) {
      const { code = '' } = error as NodeJS.ErrnoException
      // ENOENT: a file that is not there is in a directory that is not there either.
      if (code === 'ENOENT' || code === 'ENOTDIR') return
      this.#options.onFallback(code)
      this.#startPolling()
    }
  }

  #forget(directory: string): void {
    this.#directories.get(directory)?.close()
    this.#directories.delete(directory)
  }

  #startPolling(): void {
    this.#poll ??= setInterval(() => {
      for (const file of this.#seen.keys()) {
        if (signatureOf(file) !== this.#seen.get(file)) this.#suspect(file)
      }
    }, POLL_TIME)
  }

  /** `file` may have changed; what counts is how it looks when nothing has happened for a while. */
  #suspect(file: string, certain = false): void {
    if (certain) this.#seen.set(file, '')
    this.#changed.add(file)
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      const changed = [...this.#changed].filter((each) => {
        const before = this.#seen.get(each)
        const now = signatureOf(each)
        if (before === undefined || before === now) return false
        this.#seen.set(each, now)
        return true
      })
      this.#changed.clear()
      if (changed.length > 0) this.#options.onChange(changed)
    }, QUIET_TIME)
  }
}

/** A file that was replaced has another inode, one that was written another time or size. */
function signatureOf(file: string): string {
  const status = statSync(file, { throwIfNoEntry: false, bigint: true })
  return status === undefined ? 'missing' : `${status.ino} ${status.size} ${status.mtimeNs}`
}

function modifiedAt(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0
}
