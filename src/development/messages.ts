/** The messages between the parent, which holds the sockets, and the child, which runs the application. */
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

export type FromChild =
  /** It accepts connections; `failed` if it shows an error instead of the application. */
  | { readonly portico: 'ready'; readonly failed: boolean; readonly missing: readonly string[] }
  /** It cannot listen; `inUse` if another process began to listen on the address meanwhile. */
  | { readonly portico: 'refused'; readonly text: string; readonly inUse: boolean }
  /** An uncaught error: the process ends. */
  | { readonly portico: 'crashed'; readonly text: string }

export type ToChild = { readonly portico: 'stop' }

/** Milliseconds in which a child that is replaced completes its requests. */
export const STOP_TIME = 500
