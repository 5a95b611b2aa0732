/** Where a web server passes requests to an application process. */
export interface Mount {
  /** '/', or a prefix with no slash at its end: '/app'. */
  at: string
  /** What the application listens on, as its own `listen` says it: 'unix:PATH', 'HOST:PORT'. */
  to: string
  /** Default 'fastcgi'. */
  protocol?: 'fastcgi' | 'scgi' | 'http'
  /**
   * 'split' (the default): SCRIPT_NAME is '' or the prefix and PATH_INFO the rest, as an
   * administrator who has read our manual sets it up. 'none': what the server sends by itself.
   */
  pathInfo?: 'split' | 'none'
  /** Lines of the server's configuration language for this mount. */
  extra?: string
}

/** The path of a 'unix:PATH' address. */
export function unixPath(address: string): string | undefined {
  return address.startsWith('unix:') ? address.slice('unix:'.length) : undefined
}

/** The mount point as SCRIPT_NAME: '' or the prefix. */
export function scriptName(mount: Mount): string {
  return mount.at === '/' ? '' : mount.at
}

/** The text as it stands in a regular expression (PCRE). */
export function quoteRegExp(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`)
}
