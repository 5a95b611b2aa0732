/** Why a server cannot be reached, after the name of its socket. */

const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'cannot be reached by this user',
  ECONNREFUSED: 'is not served: nothing listens there',
  ENOENT: 'does not exist: the server is not running, or listens elsewhere',
}

export function whyUnreachable({ code = '', message }: NodeJS.ErrnoException): string {
  return REASONS[code] ?? `cannot be reached: ${message}`
}
