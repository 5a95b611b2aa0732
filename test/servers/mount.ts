/** Applications behind a web server, and the configuration of src/servers/ for them. */
import type { ServerDescription, Site } from '../../src/servers/site.ts'
import {
  type Home,
  readyPath,
  type ServerProgram,
  startServer,
  type WebServer,
  workerUser,
} from './process.ts'

/** Where a web server passes requests to an application process. */
export interface Mount extends Partial<Omit<Site, 'gateway' | 'mount'>> {
  /** '/', or a prefix with no slash at its end: '/app'. */
  at: string
  /** What the application listens on, as its own `listen` says it: 'unix:PATH', 'HOST:PORT'. */
  to: string
  /** Default 'fastcgi'. */
  protocol?: Site['gateway']
  /**
   * 'split' (the default): as `portico init` writes it. 'none': as people write it by hand, with the
   * parameters that the server sends by itself.
   */
  pathInfo?: 'split' | 'none'
  /** Lines for a mount that is written by hand. */
  extra?: string
}

/** What every server takes. */
export interface ServerOptions {
  mounts?: Mount[]
  /** Lines for the site, in the language of the server; they come before the mounts. */
  extra?: string
  /** Changes the configuration when it is complete. */
  edit?: (text: string) => string
  /** The address on which the server listens. Default 127.0.0.1. */
  host?: string
}

/** What the tests add to the description of a server. */
export interface TestServer {
  description: ServerDescription
  program: ServerProgram
  /** Redirects `path` with a 307. */
  redirect: (path: string) => string
  /** A mount that is written by hand. */
  byHand?: (mount: Mount) => string
  /** Removes settings that people who write by hand do not have. */
  plain?: (text: string) => string
  /** A gateway for a server without applications. */
  unused: Site['gateway']
  /** Lines before all others. */
  first?: (home: Home) => string
}

function isByHand({ pathInfo, extra }: Mount): boolean {
  return pathInfo === 'none' || extra !== undefined
}

/** Starts a server with the configuration that `portico init` writes for the mounts. */
export async function startSites(
  { description, program, redirect, byHand, first, unused, plain = (text) => text }: TestServer,
  { mounts = [], extra = '', edit = (text) => text, host = '127.0.0.1' }: ServerOptions,
): Promise<WebServer> {
  const [given, ...others] = mounts.filter((mount) => !isByHand(mount)).map(siteOf)
  const site = given ?? { ...UNUSED, gateway: unused }
  const lines = mounts.filter(isByHand).map((mount) => byHand!(mount))
  const settings = (home: Home) => ({
    directory: home.directory,
    listen: `${host.includes(':') ? `[${host}]` : host}:${home.port}`,
    user: workerUser,
    additions: [first?.(home) ?? '', redirect(readyPath), ...lines, extra].join('\n'),
  })
  return startServer({
    program,
    host,
    tls: site.tls !== undefined,
    configure(home) {
      const text = description.instance!([site, ...others], settings(home))
      return edit(given === undefined ? plain(text) : text)
    },
    args: (config, home) => description.args!(config, settings(home)),
  })
}

/** The site that `portico init` would describe with few flags. */
export function siteOf({ at, protocol = 'fastcgi', ...settings }: Mount): Site {
  return {
    gateway: protocol,
    mount: at === '/' ? '' : at,
    program: '/nonexistent',
    hostname: '_',
    listen: '80',
    streaming: true,
    keepAlive: 8,
    maxBody: 64,
    timeout: 60,
    user: workerUser ?? 'nobody',
    group: workerUser ?? 'nobody',
    ...settings,
  }
}

/** Stands for applications where a test has none. 1 MiB is nginx's own limit. */
const UNUSED = siteOf({
  at: '/portico-test-unused',
  to: '127.0.0.1:9',
  maxBody: 1,
  streaming: false,
})

/** Replaces what has to be there. */
export function replacing(...pairs: [from: string, to: string][]): (text: string) => string {
  return (text) =>
    pairs.reduce((result, [from, to]) => {
      if (!result.includes(from)) throw new Error(`no ${JSON.stringify(from)} in ${result}`)
      return result.replaceAll(from, to)
    }, text)
}
