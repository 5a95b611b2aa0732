/** The signals of a master. Workers are in other process groups and do not get them. */
import { logEntry } from '../log.ts'
import { hasTerminal } from './terminal.ts'

export interface Signalled {
  stop(): Promise<void>
  /** Ends at once. */
  kill(): void
  reload(report: (step: string) => void): Promise<void>
  scale(change: 1 | -1): void
}

/** Milliseconds of a shutdown after which a message explains what the process waits for. */
const EXPLAIN_AFTER = 500

/**
 * TERM and INT stop gracefully, a second one at once; QUIT stops at once; HUP reloads, or stops if
 * this process belongs to a terminal; TTIN and TTOU start or end one worker. Returns a function that
 * removes the listeners.
 */
export function onSignals(master: Signalled): () => void {
  let stopping = false
  const stop = (): void => {
    if (stopping) {
      master.kill()
      return
    }
    stopping = true
    const notice = setTimeout(() => {
      logEntry('Shutting down: waiting for running requests. Press Ctrl-C again to stop now')
    }, EXPLAIN_AFTER)
    void master.stop().finally(() => clearTimeout(notice))
  }
  const reload = (): void => {
    master.reload(() => {}).catch(() => {}) // It is logged.
  }
  const listeners: readonly (readonly [NodeJS.Signals, () => void])[] = [
    ['SIGTERM', stop],
    ['SIGINT', stop],
    ['SIGQUIT', () => master.kill()],
    ['SIGHUP', hasTerminal() ? stop : reload],
    ['SIGTTIN', () => master.scale(1)],
    ['SIGTTOU', () => master.scale(-1)],
  ]
  for (const [signal, listener] of listeners) process.on(signal, listener)
  return () => {
    for (const [signal, listener] of listeners) process.off(signal, listener)
  }
}
