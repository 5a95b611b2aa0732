/** The exit codes of `portico request`: curl's, where curl has one. */
export const CURL_EXIT = {
  done: 0,
  /** With --all: the responses differ. curl has 1 for a protocol it does not speak. */
  differs: 1,
  usage: 2,
  /** The name of the host is not known. */
  notResolved: 6,
  /** The server is not there, or the script cannot be started. */
  notConnected: 7,
  /** The response is not HTTP, CGI or FastCGI. */
  weirdReply: 8,
  /** The response ended early. */
  partial: 18,
  /** With --fail: the status is 400 or more. */
  failStatus: 22,
  /** The output cannot be written. */
  writeError: 23,
  /** A file to send cannot be read. */
  readError: 26,
  timeout: 28,
  tooManyRedirects: 47,
  empty: 52,
  /** The connection was reset before a response. */
  receiveError: 56,
} as const

/** A transfer that failed, and the exit code for it. */
export class TransferError extends Error {
  override readonly name = 'TransferError'
  readonly exit: number

  constructor(exit: number, message: string) {
    super(message)
    this.exit = exit
  }
}
