/** The messages between the parent, which holds the sockets, and the child, which runs the application. */
import { FIRST_DESCRIPTOR } from '../master/messages.ts'
import type { ListenerSettings, MountSettings } from '../master/settings.ts'

/** What the child runs. It inherits descriptors as a worker does: see `WorkerSettings`. */
export interface ChildSettings {
  readonly file: string
  readonly args: readonly string[]
  readonly listeners: readonly ListenerSettings[]
  readonly mounts: readonly MountSettings[]
  readonly envFiles: readonly string[]
  /** A format of `accessLog()`, 'off', or undefined for a short line in colour. */
  readonly accessLog: string | undefined
  readonly live: boolean
  readonly validate: boolean
  /** The page to show instead of the application, which has ended. */
  readonly fault: string | undefined
}

/** The variable with the settings, as JSON. The child removes it before it loads the application. */
export const SETTINGS_VARIABLE = 'PORTICO_DEVELOPMENT'

/** Over a pipe: see `reports.ts`. */
export type FromChild =
  /** It is about to run these files, paths or URLs. */
  | { readonly portico: 'loads'; readonly files: readonly string[] }
  /**
   * It accepts connections; `failed` if it shows an error instead of the application, and
   * `unrepairable` if no change of a file repairs that.
   */
  | {
      readonly portico: 'ready'
      readonly failed: boolean
      readonly missing: readonly string[]
      readonly unrepairable: boolean
    }
  /** It cannot listen; `inUse` if another process began to listen on the address meanwhile. */
  | { readonly portico: 'refused'; readonly text: string; readonly inUse: boolean }
  /** An uncaught error: the process ends. */
  | { readonly portico: 'crashed'; readonly text: string }
  /** Why it is not ready yet: the response to 'explain'. */
  | { readonly portico: 'waits'; readonly text: string }

/** Over IPC, whose end also shows the child that its parent is gone. */
export type ToChild = { readonly portico: 'stop' } | { readonly portico: 'explain' }

/** The descriptor of the pipe for reports: it comes after those of the listeners. */
export function reportDescriptor(listeners: readonly unknown[]): number {
  return FIRST_DESCRIPTOR + listeners.length
}

/** Milliseconds in which a child that is replaced completes its requests. */
export const STOP_TIME = 500
