/**
 * What `serve` needs, already parsed and checked, and what the commands that talk to a running
 * master need. The command line makes these of its arguments.
 */
import type { CgiBinOptions } from '../cgi-bin/options.ts'
import type { ServerGateway } from '../gateways.ts'
import type { Options } from '../options/options.ts'

/** One address, and the gateway that is served there. */
export interface ListenerSettings {
  readonly gateway: ServerGateway
  /** As the option `listen` of a handler; 'systemd' is every socket that systemd has passed. */
  readonly listen: string | number
  /** Further options of the handler, such as `mode`, `allowedClients` and `idleTimeout`. */
  readonly options?: Omit<Options, 'gateway' | 'listen' | 'requestHandler'>
}

/** An application that is mounted beside the main one. */
export interface MountSettings {
  /** A key of `mount()`: '/path' or 'http://host/path'. */
  readonly at: string
  /** The application's file, as `ServeSettings.file`; with `cgiBin` a directory of scripts. */
  readonly file: string
  /** The options of `cgiBin()`. IPC is JSON, which has null for Infinity. */
  readonly cgiBin?: CgiBinOptions
}

/** The files that are loaded: directories of scripts are not. */
export function applicationFiles(file: string, mounts: readonly MountSettings[]): string[] {
  const scripts = mounts.filter(({ cgiBin }) => cgiBin !== undefined)
  const all = [file, ...mounts.map((mounted) => mounted.file)]
  return all.filter((each) => !scripts.some((mounted) => mounted.file === each))
}

/** Times are in milliseconds. An absent value means the default in `DEFAULTS`. */
export interface ServeSettings {
  /**
   * The application's file; if only directories of scripts are served, the first of them. An absolute
   * path in which symbolic links are NOT resolved, so that a reload after `ln -sfn releases/2 current`
   * loads the new release.
   */
  readonly file: string
  /** The working directory, with its links not resolved; each worker enters it again. */
  readonly directory: string
  readonly listeners: readonly ListenerSettings[]
  /** How many workers run; at least 1. */
  readonly workers: number
  readonly mounts?: readonly MountSettings[]
  /** A format of `accessLog()`; absent for no access log. */
  readonly accessLog?: string
  /** How the log lines of master and workers look. */
  readonly log?: 'text' | 'json'
  /** Files of environment variables; each worker reads them again, after `env`. */
  readonly envFiles?: readonly string[]
  /** The environment of the workers. Default: that of the master. */
  readonly env?: NodeJS.ProcessEnv
  /** Arguments of Node for the workers, such as ['--import', 'tsx']. Default: the master's own. */
  readonly execArgv?: readonly string[]
  /** What the application finds in `process.argv` after its file. */
  readonly args?: readonly string[]
  /** The path of the control socket; absent for none, so that only signals work. */
  readonly control?: string
  /** Where to serve metrics over HTTP, 'HOST:PORT'; absent for none. */
  readonly metrics?: string
  /** User and group of the workers, a name or a number; only root can change them. */
  readonly user?: string | number
  readonly group?: string | number
  /** Requests after which a worker is replaced; 0 for no limit. */
  readonly maxRequests?: number
  /** Up to how many requests are added to `maxRequests`, at random. Default: a tenth of it. */
  readonly maxRequestsJitter?: number
  /** How long the main thread of a worker may be blocked until it is ended; 0 for no limit. */
  readonly blockTimeout?: number
  /** How long a request may take until it is logged; 0 for never. */
  readonly slow?: number
  /** How long a worker may take until it is ready. */
  readonly bootTimeout?: number
  /** How long a worker that ends waits for its running requests. */
  readonly shutdownTimeout?: number
  /** How long no request may arrive until the master ends; 0 for no limit. Inherited sockets only. */
  readonly idleExit?: number
}

/** Where the commands write; tests give their own. */
export interface Output {
  /** Takes a complete line, without its line break. */
  readonly out: (line: string) => void
  readonly err: (line: string) => void
  /** Whether the result is one JSON object. */
  readonly json?: boolean
}

/** The defaults of `ServeSettings`. */
export const DEFAULTS = {
  maxRequests: 0,
  // gunicorn's timeout and Portico's headersTimeout. A blocked worker serves nothing at all.
  blockTimeout: 30_000,
  slow: 0,
  // puma's worker_boot_timeout.
  bootTimeout: 60_000,
  idleExit: 0,
} as const
