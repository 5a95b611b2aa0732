/** The settings of a resident bundle's front script, in Perl or in `sh`. */
export interface FrontSettings {
  /** The path of Node, or its name to look for in PATH. */
  readonly node: string
  /** Flags of Node. */
  readonly flags: readonly string[]
  /** JavaScript for `node -e` that runs the program after `__END__` of the file in its argument. */
  readonly loader: string
  /** The variables that the resident process keeps, besides LC_*, NODE_* and PORTICO_*. */
  readonly environment: readonly string[]
  readonly start: {
    /** Seconds that a request waits for another one that starts the process. */
    readonly lockTime: number
    /** Seconds from the start of the process until it accepts connections. */
    readonly readyTime: number
    /** Seconds after a failed start in which no request tries again. */
    readonly retryAfter: number
    /** Seconds without a sign of life after which the process counts as blocked. */
    readonly blockTime: number
    /** Bytes of the log. */
    readonly maxLog: number
    /** Threads of libuv; the number of threads counts against a user's process limit. */
    readonly threads: number
  }
}
