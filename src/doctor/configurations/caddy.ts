/** What Caddy's configuration says of the requests for a path. */
import { spawnSync } from 'node:child_process'
import { failure, type Finding, warning } from '../finding.ts'
import { addressOf } from '../address.ts'
import type { Backend, ConfigurationSource, Setup } from './setup.ts'

/** How long Caddy may take to print its configuration, in ms. */
const ADAPT_TIMEOUT = 10_000

interface Route {
  readonly match?: readonly { readonly path?: readonly string[] }[]
  readonly handle?: readonly Handler[]
}

interface Handler {
  readonly handler: string
  readonly routes?: readonly Route[]
  readonly strip_path_prefix?: string
  readonly uri?: string
  readonly upstreams?: readonly { readonly dial: string }[]
  readonly transport?: { readonly protocol?: string; readonly split_path?: readonly string[] }
  readonly flush_interval?: number
  readonly max_size?: number
}

/** A reverse_proxy, and what precedes it. */
interface Proxy {
  readonly handler: Handler
  readonly paths: readonly string[]
  readonly stripped: string | undefined
  readonly rewritten: string | undefined
}

export function readCaddy({ file, program, request }: ConfigurationSource): Setup {
  const none = { scripts: [], logs: [], user: undefined }
  const servers = adapted(file, program)
  const proxies = servers
    .filter(
      ({ listen }) => request === undefined || listen.some((at) => at.endsWith(`:${request.port}`)),
    )
    .flatMap(({ routes }) => proxiesOf(routes, [], undefined, undefined))
  const chosen =
    request === undefined
      ? proxies
      : proxies.filter(
          ({ paths }) => paths.length === 0 || paths.some((each) => matches(each, request.path)),
        )
  return {
    ...none,
    backends: chosen.flatMap(({ handler }) => backendsOf(handler)),
    findings: request === undefined ? [] : chosen.slice(0, 1).flatMap(examine),
  }
}

interface Server {
  readonly listen: readonly string[]
  readonly routes: readonly Route[]
}

function adapted(file: string, program: string | undefined): Server[] {
  if (program === undefined) return []
  const json = file.endsWith('.json') ? [] : ['--adapter', 'caddyfile']
  const { stdout, status } = spawnSync(program, ['adapt', '--config', file, ...json], {
    encoding: 'utf8',
    timeout: ADAPT_TIMEOUT,
  })
  if (status !== 0) return []
  const { apps } = JSON.parse(stdout) as {
    apps?: { http?: { servers?: Record<string, Partial<Server>> } }
  }
  return Object.values(apps?.http?.servers ?? {}).map(({ listen = [], routes = [] }) => ({
    listen,
    routes,
  }))
}

function proxiesOf(
  routes: readonly Route[],
  outer: readonly string[],
  outerStripped: string | undefined,
  outerRewritten: string | undefined,
): Proxy[] {
  const found: Proxy[] = []
  let [stripped, rewritten] = [outerStripped, outerRewritten]
  for (const { match = [], handle = [] } of routes) {
    const own = match.flatMap(({ path = [] }) => path)
    const paths = own.length === 0 ? outer : own
    for (const handler of handle) {
      stripped = handler.strip_path_prefix ?? stripped
      if (handler.handler === 'rewrite') rewritten = handler.uri ?? rewritten
      if (handler.handler === 'reverse_proxy') found.push({ handler, paths, stripped, rewritten })
      if (handler.routes !== undefined) {
        found.push(...proxiesOf(handler.routes, paths, stripped, rewritten))
      }
    }
  }
  return found
}

function matches(pattern: string, path: string): boolean {
  return pattern.endsWith('*') ? path.startsWith(pattern.slice(0, -1)) : path === pattern
}

function backendsOf({ upstreams = [], transport }: Handler): Backend[] {
  const gateway = transport?.protocol === 'fastcgi' ? 'fastcgi' : 'http'
  return upstreams.map(({ dial }) => ({
    gateway,
    address: addressOf(dial.startsWith('unix/') ? `unix:${dial.slice('unix/'.length)}` : dial),
    text: `reverse_proxy ${dial}${gateway === 'fastcgi' ? ' { transport fastcgi }' : ''}`,
  }))
}

function examine({ handler, paths, stripped, rewritten }: Proxy): Finding[] {
  const findings: Finding[] = []
  const fastcgi = handler.transport?.protocol === 'fastcgi'
  const prefix = paths.find((each) => each.length > 1 && each !== '/*')?.replace(/\/?\*$/, '')
  if (stripped !== undefined) {
    findings.push(
      failure(
        'mount',
        `handle_path or uri strip_prefix removes ${stripped}, so the application does not know its mount point`,
        `handle ${stripped}* { reverse_proxy … { transport fastcgi { split ${stripped} } } }`,
      ),
    )
  } else if (fastcgi && prefix !== undefined && handler.transport?.split_path === undefined) {
    findings.push(
      failure(
        'SCRIPT_NAME',
        `without split, SCRIPT_NAME is empty and PATH_INFO begins with ${prefix}`,
        `transport fastcgi { split ${prefix} }`,
      ),
    )
  }
  if (rewritten?.includes('index.php') === true) {
    findings.push(
      warning(
        'SCRIPT_NAME',
        'php_fastcgi rewrites each path to index.php, which becomes SCRIPT_NAME',
        "reverse_proxy … { transport fastcgi } # or scriptName: '', pathInfo: 'from-uri' in the application",
      ),
    )
  }
  return findings
}
