/**
 * The messages of master and worker over IPC. Each has a property `portico`, so that the application
 * can use `process.send` for its own messages.
 */
import type { ListenerSettings, MountSettings } from './settings.ts'

/** What a worker runs. The descriptor of `listeners[i]` is `FIRST_DESCRIPTOR + i`. */
export interface WorkerSettings {
  readonly file: string
  readonly args: readonly string[]
  readonly listeners: readonly ListenerSettings[]
  readonly mounts: readonly MountSettings[]
  readonly accessLog: string | undefined
  readonly log: 'text' | 'json'
  readonly envFiles: readonly string[]
  /** 0 for no limit. */
  readonly maxRequests: number
  readonly blockTimeout: number
  readonly slow: number
}

/** After stdin, stdout and stderr. libuv makes 0, 1 and 2 of a child blocking. */
export const FIRST_DESCRIPTOR = 3

/** The counters of a worker. */
export interface Pulse {
  /** Requests since the worker started. */
  readonly requests: number
  /** Requests that are running. */
  readonly active: number
  readonly connections: number
  /** Requests that took longer than `slow`. */
  readonly slow: number
  /** Bytes of resident memory. */
  readonly rss: number
  /** Milliseconds by which the event loop was late. */
  readonly delay: number
  /** Part of the time in which the event loop was busy, from 0 to 1. */
  readonly utilization: number
  /** Whether a debugger is attached: at a breakpoint nothing is wrong. */
  readonly debugged: boolean
  /** Whether timers, files or child processes of the application are in use. */
  readonly busy: boolean
}

/** Why a worker asks for a successor. */
export type Reason = 'max-requests' | 'uncaught error' | 'signal'

export type ToWorker =
  | { readonly portico: 'start'; readonly settings: WorkerSettings }
  /** Other workers continue: stop accepting, pass on idle connections, complete running requests. */
  | { readonly portico: 'retire'; readonly timeout: number }
  /** Portico stops. With `takeWaiting`, connections in the kernel's queue are still served. */
  | { readonly portico: 'close'; readonly timeout: number; readonly takeWaiting: boolean }
  /** Sent together with the handle of a connection. */
  | { readonly portico: 'connection'; readonly listener: number }
  | { readonly portico: 'ping' }

export type FromWorker =
  | { readonly portico: 'ready' }
  /** The application does not start; `text` is the error. */
  | { readonly portico: 'failed'; readonly text: string }
  | { readonly portico: 'pulse'; readonly pulse: Pulse }
  /** `waitsFor`: why it is not ready. */
  | { readonly portico: 'pong'; readonly waitsFor?: string }
  | { readonly portico: 'replace'; readonly reason: Reason }
  /** Sent together with the handle of a connection. */
  | { readonly portico: 'connection'; readonly listener: number }

/** How often a worker sends its pulse, in milliseconds. */
export const PULSE_TIME = 1_000
