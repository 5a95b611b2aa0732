/** Where an application listens. */
export interface Address {
  readonly path?: string
  readonly host?: string
  readonly port?: number
}

/** `unix:PATH`, `unix/PATH`, `unix@PATH`, `/PATH`, `HOST:PORT`, `[::1]:PORT` or a host alone. */
export function addressOf(text: string, usualPort = 80): Address | undefined {
  if (/[$%{]/.test(text)) return undefined
  const [, path] = /^(?:unix[:/@])?(\/[^:|]+)/.exec(text) ?? []
  if (path !== undefined) return { path: path.replace(/^\/\/+/, '/') }
  const [, v6, host = '', port] = /^(?:\[([^\]]+)\]|([^:/]*))(?::(\d+))?/.exec(text) ?? []
  return { host: v6 ?? (host || '127.0.0.1'), port: Number(port ?? usualPort) }
}

/** The same address, in the form in which Portico listens. */
export function formatAddress({ path, host, port }: Address): string {
  if (path !== undefined) return `unix:${path}`
  return `${host?.includes(':') ? `[${host}]` : host}:${port}`
}
