/** The exit codes of the command; docs/command.md lists them. */
export const EXIT = {
  done: 0,
  /** The work failed. */
  failed: 1,
  /** Unknown command or flag, wrong value. Docker reserves 2 in a health check for the same. */
  usage: 2,
  /** The application does not start or is not there; gunicorn uses 3, too. */
  noApplication: 3,
} as const
