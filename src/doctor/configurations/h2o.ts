/** What H2O's configuration says: the applications of a path, and its logs. */
import { failure, type Finding, warning } from '../finding.ts'
import { textOf } from '../processes.ts'
import { addressOf } from '../address.ts'
import { type Backend, type ConfigurationSource, type Setup, timeOf } from './setup.ts'

/** A key of the YAML file. */
interface Node {
  readonly key: string
  readonly value: string
  readonly children: Node[]
}

/** A path, with the settings that hold there, the innermost first. */
interface Location {
  readonly path: string
  readonly levels: readonly (readonly Node[])[]
}

export function readH2o({ file, request }: ConfigurationSource): Setup {
  const top = parse(textOf(file))
  const locations = locationsOf(top)
  const chosen = request === undefined ? locations : choose(locations, request)
  const log = find([top], 'error-log')?.value
  const levels = chosen[0]?.levels ?? [top]
  const timeout = find(levels, 'fastcgi.timeout.io') ?? find(levels, 'proxy.timeout.io')
  return {
    backends: chosen.flatMap(({ levels: [own = []] }) => own.flatMap(backendOf)),
    scripts: [],
    logs: log === undefined ? [] : [log],
    user: find([top], 'user')?.value,
    findings: request === undefined ? [] : chosen.flatMap(examine),
    waits: {
      time: timeOf(timeout?.value, 1) ?? 30_000,
      line: `${timeout?.key ?? 'fastcgi.timeout.io'}: MILLISECONDS`,
    },
  }
}

/** As much of YAML as H2O's configurations have: keys, plain and quoted values, indentation. */
function parse(text: string): Node[] {
  const top: Node[] = []
  const open: { indent: number; children: Node[] }[] = [{ indent: -1, children: top }]
  for (const line of text.split('\n')) {
    const [, spaces, quoted, plain, rest] =
      /^([ -]*)(?:"([^"]*)"|([^\s"#:][^\s:]*)):(?:\s+(.*))?$/.exec(line) ?? []
    const key = quoted ?? plain
    if (spaces === undefined || key === undefined) continue
    while (open.at(-1)!.indent >= spaces.length) open.pop()
    const value = (rest ?? '').replace(/(^|\s+)#.*$/, '').replace(/^"(.*)"$/, '$1')
    const node = { key, value, children: [] }
    open.at(-1)!.children.push(node)
    open.push({ indent: spaces.length, children: node.children })
  }
  return top
}

function find(levels: readonly (readonly Node[])[], key: string): Node | undefined {
  return levels.flat().find((node) => node.key === key)
}

interface Host extends Location {
  readonly host: string
  readonly ports: readonly string[]
}

function locationsOf(top: readonly Node[]): Host[] {
  return (find([top], 'hosts')?.children ?? []).flatMap(({ key: host, children }) => {
    const listen = [...children, ...top].filter((node) => node.key === 'listen')
    const ports = listen.map(({ value, children: own }) => find([own], 'port')?.value ?? value)
    return (find([children], 'paths')?.children ?? []).map((path) => ({
      host,
      ports,
      path: path.key.replace(/\/$/, ''),
      levels: [path.children, children, top],
    }))
  })
}

/** H2O takes the first host unless one has the name of the request, and its longest path. */
function choose(
  all: readonly Host[],
  request: NonNullable<ConfigurationSource['request']>,
): Host[] {
  const here = all.filter(({ ports }) => ports.includes(String(request.port)))
  const named = here.filter(({ host }) =>
    [request.host, `${request.host}:${request.port}`].includes(host),
  )
  const candidates = named.length > 0 ? named : here.filter(({ host }) => host === here[0]?.host)
  return candidates
    .filter(({ path }) => `${request.path}/`.startsWith(`${path}/`))
    .toSorted((a, b) => b.path.length - a.path.length)
    .slice(0, 1)
}

function backendOf({ key, value, children }: Node): Backend[] {
  if (key === 'proxy.reverse.url') {
    const { socket, host } = urlOf(value)
    const address = addressOf(socket === undefined ? host : `unix:${socket}`)
    return [{ gateway: 'http', address, text: `${key}: ${value}` }]
  }
  if (key !== 'fastcgi.connect') return []
  const field = (name: string): string | undefined => find([children], name)?.value
  const port = field('port') ?? value
  const where =
    field('type') === 'unix' ? `unix:${port}` : `${field('host') ?? '127.0.0.1'}:${port}`
  return [{ gateway: 'fastcgi', address: addressOf(where), text: `${key}: ${where}` }]
}

function urlOf(url: string): { socket: string | undefined; host: string; path: string } {
  const [, socket, host = '', path = ''] =
    /^https?:\/\/(?:\[unix:([^\]]+)\]|([^/]+))(.*)$/.exec(url) ?? []
  return { socket, host, path: path.replace(/\/$/, '') }
}

function examine({ path, levels }: Location): Finding[] {
  const [own = []] = levels
  const findings: Finding[] = []
  const url = find([own], 'proxy.reverse.url')?.value
  if (url !== undefined && find(levels, 'proxy.preserve-host')?.value !== 'ON') {
    findings.push(
      failure(
        'HTTP_HOST',
        'H2O replaces the Host header by the host of proxy.reverse.url',
        'proxy.preserve-host: ON',
      ),
    )
  }
  const target = urlOf(url ?? '')
  if (url !== undefined && target.path !== path) {
    const host = target.socket === undefined ? target.host : `[unix:${target.socket}]`
    findings.push(
      failure(
        'mount',
        `proxy.reverse.url replaces ${path || '/'} by ${target.path || '/'}, so the application does not know its mount point`,
        `proxy.reverse.url: "http://${host}${path || '/'}"`,
      ),
    )
  }
  if (find([own], 'fastcgi.connect') !== undefined && path !== '') {
    findings.push(
      warning(
        'SCRIPT_NAME',
        `H2O sends an empty SCRIPT_NAME, and PATH_INFO begins with ${path}`,
        `scriptName: '${path}' in the application`,
      ),
    )
  }
  return findings
}
