/** What nginx's configuration says of the requests for a path. */
import { isAbsolute, join } from 'node:path'
import type { Gateway } from '../../gateways.ts'
import { failure, type Finding, warning } from '../finding.ts'
import {
  blocksOf,
  Context,
  type Directive,
  locationsFor,
  parseNginx,
  serverFor,
} from './nginx-parser.ts'
import { addressOf } from '../address.ts'
import { type Backend, type ConfigurationSource, type Setup, timeOf } from './setup.ts'

const PASSES: Readonly<Record<string, Gateway>> = {
  fastcgi_pass: 'fastcgi',
  scgi_pass: 'scgi',
  proxy_pass: 'http',
}

/** nginx's default of `fastcgi_read_timeout`, `proxy_read_timeout` and `scgi_read_timeout`, in ms. */
const READ_TIMEOUT = 60_000

/** nginx's default of `keepalive_timeout` in an upstream, in ms. */
const IDLE_TIMEOUT = 60_000

export function readNginx({ file, directory, request }: ConfigurationSource): Setup {
  const main = parseNginx(file)
  const http = blocksOf(main, 'http').flatMap(({ block = [] }) => block)
  const absolute = (path: string): string => (isAbsolute(path) ? path : join(directory, path))
  const pathsOf = (lines: readonly Directive[]): string[] =>
    lines
      .map(({ args: [path = ''] }) => path)
      .filter((path) => path !== 'stderr' && !path.startsWith('syslog:'))
      .map(absolute)
  const logs = pathsOf(everywhere(main, 'error_log'))
  const shared = {
    scripts: [],
    logs: logs.length === 0 ? ['/var/log/nginx/error.log'] : logs,
    user: new Context([main]).get('user'),
  }
  if (request === undefined) {
    const passes = Object.keys(PASSES).flatMap((name) => everywhere(http, name))
    return { ...shared, backends: passes.flatMap((pass) => backendsOf(pass, http)), findings: [] }
  }
  const server = serverFor(http, request.host, request.port)
  if (server?.block === undefined) {
    const message = `no server block of ${file} listens on port ${request.port}`
    const findings = [failure('configuration', message)]
    return { ...shared, backends: [], findings, unserved: true }
  }
  const locations = locationsFor(server.block, request.path)
  const context = new Context([...locations.map(({ block = [] }) => block), server.block, http])
  const own = pathsOf(context.all('error_log'))
  if (own.length > 0) shared.logs = own
  const pass = Object.keys(PASSES).flatMap((name) => context.own(name) ?? [])[0]
  if (pass === undefined) {
    const which = locations[0] === undefined ? 'no location has' : `${nameOf(locations[0])} has`
    const message = `${which} the path ${request.path}, without fastcgi_pass, scgi_pass or proxy_pass`
    return {
      ...shared,
      backends: [],
      findings: [
        failure(
          'configuration',
          message,
          `portico init nginx --mount ${request.path === '/' ? '/' : request.path} shows a complete location`,
        ),
      ],
    }
  }
  const gateway = PASSES[pass.name]!
  return {
    ...shared,
    backends: backendsOf(pass, http),
    ...waitsOf(context, gateway, pass, http),
    findings: [
      ...examineRequest(context),
      ...(gateway === 'http'
        ? examineProxy(context, pass, locations[0])
        : examineParameters(context, gateway, locations[0])),
      ...examineConnections(context, gateway, pass, http),
    ],
  }
}

function everywhere(directives: readonly Directive[], name: string): Directive[] {
  return directives.flatMap((each) => [
    ...(each.name === name ? [each] : []),
    ...everywhere(each.block ?? [], name),
  ])
}

function nameOf({ name, args }: Directive): string {
  return `\`${[name, ...args].join(' ')}\``
}

function upstreamOf(pass: Directive, http: readonly Directive[]): Directive | undefined {
  const host = (pass.args[0] ?? '').replace(/^https?:\/\//, '').replace(/\/.*$/, '')
  return blocksOf(http, 'upstream').find(({ args }) => args[0] === host)
}

function backendsOf(pass: Directive, http: readonly Directive[]): Backend[] {
  const gateway = PASSES[pass.name]!
  const upstream = upstreamOf(pass, http)
  if (upstream !== undefined) {
    return (upstream.block ?? [])
      .filter(({ name }) => name === 'server')
      .map((server) => ({
        gateway,
        address: addressOf(server.args[0] ?? ''),
        text: `${[server.name, ...server.args].join(' ')};`,
      }))
  }
  const target = (pass.args[0] ?? '').replace(/^https?:\/\//, '')
  return [{ gateway, address: addressOf(target), text: `${pass.name} ${pass.args[0]};` }]
}

function waitsOf(
  context: Context,
  gateway: Gateway,
  pass: Directive,
  http: readonly Directive[],
): Pick<Setup, 'waits' | 'keepsIdle'> {
  const name = gateway === 'http' ? 'proxy_read_timeout' : `${gateway}_read_timeout`
  const waits = { time: timeOf(context.get(name)) ?? READ_TIMEOUT, line: `${name} TIME;` }
  const upstream = new Context([upstreamOf(pass, http)?.block ?? []])
  if (upstream.get('keepalive') === undefined) return { waits }
  const time = timeOf(upstream.get('keepalive_timeout')) ?? IDLE_TIMEOUT
  return { waits, keepsIdle: { time, line: 'keepalive_timeout TIME; # in the upstream' } }
}

function examineRequest(context: Context): Finding[] {
  const findings: Finding[] = []
  const files = context.own('try_files')
  if (files?.args.at(-1)?.startsWith('=') === true) {
    findings.push(
      failure(
        'try_files',
        `try_files ${files.args.join(' ')} looks for files, and nginx responds itself when a file is missing`,
        'delete the line try_files from the location of the application',
      ),
    )
  }
  const types = new Set(context.all('gzip_types').flatMap(({ args }) => args))
  if (context.get('gzip') !== 'on') return findings
  if (!types.has('text/event-stream') && !types.has('*')) return findings
  findings.push(
    warning(
      'gzip',
      'gzip_types has text/event-stream, so nginx holds events back to compress them',
      'gzip_types text/plain text/css application/json; # in the location of the application',
    ),
  )
  return findings
}

/** Parameters that two lines set: both are sent, and the application decides which one counts. */
function examineParameters(
  context: Context,
  gateway: Gateway,
  location: Directive | undefined,
): Finding[] {
  const directive = `${gateway}_param`
  const params = context.all(directive)
  const values = (name: string): string[] =>
    params.filter(({ args }) => args[0] === name).map(({ args }) => args[1] ?? '')
  const findings: Finding[] = []
  const names = [...new Set(params.map(({ args }) => args[0]!))]
  const twice = names.filter((name) => values(name).length > 1)
  if (twice.length > 0) {
    findings.push(
      warning(
        'parameters',
        `${twice.join(', ')} ${twice.length === 1 ? 'is' : 'are'} set twice, by an include and by a line of the location: both values are sent`,
        `delete the include, and write each ${directive} once, as portico init nginx does`,
      ),
    )
  }
  if (params.length === 0) {
    findings.push(
      failure(
        'parameters',
        `the location has no ${directive}, so the application gets no variables`,
        `include /etc/nginx/${gateway}_params;`,
      ),
    )
    return findings
  }
  findings.push(...examinePathInfo(context, directive, values, location))
  const user = values('REMOTE_USER').at(-1)
  if (user?.includes('$remote_user') && !authenticates(context)) {
    findings.push(
      failure(
        'REMOTE_USER',
        `${directive} REMOTE_USER $remote_user is in a location without auth_basic: any client sets it by an Authorization header`,
        `delete the line \`${directive} REMOTE_USER $remote_user;\`, or add auth_basic and auth_basic_user_file`,
      ),
    )
  }
  const [header] = /\$http_\w+/.exec(user ?? '') ?? []
  if (header !== undefined) {
    findings.push(
      failure(
        'REMOTE_USER',
        `REMOTE_USER is ${header}, a header that any client can send`,
        `delete the line \`${directive} REMOTE_USER ${header};\``,
      ),
    )
  }
  return findings
}

function authenticates(context: Context): boolean {
  const basic = context.get('auth_basic')
  return (
    ((basic !== undefined && basic !== 'off') || context.get('auth_request') !== undefined) &&
    context.get('satisfy') !== 'any'
  )
}

function examinePathInfo(
  context: Context,
  directive: string,
  values: (name: string) => string[],
  location: Directive | undefined,
): Finding[] {
  const prefix = location?.args.at(-1) ?? '/'
  const atRoot = prefix === '/' || prefix.startsWith('^/(') || prefix === '.*'
  const level = atRoot ? warning : failure
  const split = context.get('fastcgi_split_path_info')
  const info = values('PATH_INFO').at(-1)
  const fix =
    directive === 'fastcgi_param'
      ? 'fastcgi_split_path_info "(?s)^(/app)(|/.*)\\z"; fastcgi_param PATH_INFO $fastcgi_path_info;'
      : 'location ~ "(?s)^/app(?<rest>|/.*)\\z" { scgi_param SCRIPT_NAME "/app"; scgi_param PATH_INFO $rest; … }'
  if (info === undefined) {
    return [
      level(
        'PATH_INFO',
        `nginx sends no PATH_INFO${atRoot ? '; Portico takes the whole path for it' : ', so the application does not know its mount point'}`,
        fix.replaceAll('(/app)', atRoot ? '()' : '(/app)'),
      ),
    ]
  }
  if (info === '$fastcgi_path_info' && split === undefined) {
    return [
      level(
        'PATH_INFO',
        '$fastcgi_path_info is empty without fastcgi_split_path_info',
        fix.replaceAll('(/app)', atRoot ? '()' : '(/app)'),
      ),
    ]
  }
  return []
}

function examineProxy(
  context: Context,
  pass: Directive,
  location: Directive | undefined,
): Finding[] {
  const findings: Finding[] = []
  const [, host = '', path] = /^https?:\/\/([^/]*)(\/.*)?$/.exec(pass.args[0] ?? '') ?? []
  const prefix = location?.args.at(-1) ?? '/'
  if (path !== undefined && prefix !== '/' && prefix.startsWith('/')) {
    findings.push(
      failure(
        'proxy_pass',
        `proxy_pass ends with ${path}, so nginx replaces ${prefix} by it: the application does not know its mount point`,
        `proxy_pass http://${host}; # and scriptName '${prefix.replace(/\/$/, '')}' in the application`,
      ),
    )
  }
  const headers = context.all('proxy_set_header')
  if (!headers.some(({ args }) => /^host$/i.test(args[0] ?? ''))) {
    findings.push(
      failure(
        'HTTP_HOST',
        `nginx sends Host: ${host}, the name in proxy_pass`,
        'proxy_set_header Host $http_host;',
      ),
    )
  }
  const user = headers.find(({ args }) => /^x-forwarded-for$/i.test(args[0] ?? ''))
  if (user === undefined) {
    findings.push(
      warning(
        'REMOTE_ADDR',
        "nginx does not send the client's address",
        'proxy_set_header X-Forwarded-For $remote_addr; # and the middleware proxyFix',
      ),
    )
  }
  return findings
}

/** Kept-alive connections, and how long nginx waits. */
function examineConnections(
  context: Context,
  gateway: Gateway,
  pass: Directive,
  http: readonly Directive[],
): Finding[] {
  const upstream = upstreamOf(pass, http)
  const keepsAlive = upstream?.block?.some(({ name }) => name === 'keepalive') ?? false
  if (!keepsAlive) return []
  if (gateway === 'fastcgi' && context.get('fastcgi_keep_conn') !== 'on') {
    return [
      warning(
        'keep-alive',
        'the upstream has keepalive, but without fastcgi_keep_conn each request opens a connection',
        'fastcgi_keep_conn on;',
      ),
    ]
  }
  const connection = context
    .all('proxy_set_header')
    .find(({ args }) => /^connection$/i.test(args[0] ?? ''))
  if (gateway === 'http' && (context.get('proxy_http_version') !== '1.1' || !connection)) {
    return [
      warning(
        'keep-alive',
        'the upstream has keepalive, but proxy_pass closes each connection',
        'proxy_http_version 1.1; proxy_set_header Connection "";',
      ),
    ]
  }
  return []
}
