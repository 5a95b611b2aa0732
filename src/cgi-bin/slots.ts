/** `Slots`: how many scripts run at once, and the queue of those that wait. */

export class Slots {
  #free: number
  readonly #maxWaiting: number
  readonly #waiting = new Set<() => void>()

  constructor(size: number, maxWaiting: number) {
    this.#free = size
    this.#maxWaiting = maxWaiting
  }

  /**
   * Takes a slot, in the order of the calls. Give it back with `release`.
   *
   * @param time milliseconds to wait at most; 0 for no limit.
   * @param signal ends the waiting.
   * @returns whether there is a slot: false if too many wait already, or the time is over. A promise
   *   only if it has to wait.
   */
  take(time: number, signal: AbortSignal): boolean | Promise<boolean> {
    if (this.#free > 0) {
      this.#free -= 1
      return true
    }
    if (this.#waiting.size >= this.#maxWaiting || signal.aborted) return false
    return new Promise((resolve) => {
      const settle = (taken: boolean): void => {
        this.#waiting.delete(next)
        clearTimeout(timer)
        signal.removeEventListener('abort', gone)
        resolve(taken)
      }
      const next = (): void => settle(true)
      const gone = (): void => settle(false)
      const timer = time > 0 ? setTimeout(gone, time) : undefined
      signal.addEventListener('abort', gone)
      this.#waiting.add(next)
    })
  }

  /** Gives the slot to the request that has waited longest. */
  release(): void {
    const [next] = this.#waiting
    if (next === undefined) this.#free += 1
    else next()
  }
}
