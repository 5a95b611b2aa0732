/** The exit codes of the command; docs/command.md lists them. */
export const EXIT = {
  done: 0,
  /** The work failed. */
  failed: 1,
  /** Unknown command or flag, or invalid value. */
  usage: 2,
  /** The application does not exist or does not start. The same as in gunicorn. */
  noApplication: 3,
} as const
