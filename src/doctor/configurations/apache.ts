/** What Apache's configuration says of the requests for a path. */
import { isAbsolute, join } from 'node:path'
import type { Gateway } from '../../gateways.ts'
import { failure, type Finding, warning } from '../finding.ts'
import { type Directive, holdsFor, modulesOf, parseApache, test, within } from './apache-parser.ts'
import { examineScripts, runsScripts } from './apache-scripts.ts'
import { addressOf } from '../address.ts'
import { type Backend, type ConfigurationSource, type Setup, timeOf } from './setup.ts'

const SCHEMES: Readonly<Record<string, Gateway>> = {
  fcgi: 'fastcgi',
  scgi: 'scgi',
  http: 'http',
  https: 'http',
}

/** Apache's default of `Timeout`, in ms. */
const TIMEOUT = 60_000

/** A line that passes requests on. */
interface Pass extends Backend {
  readonly scheme: string
  /** The prefix of the path that it takes; undefined for a pattern. */
  readonly prefix: string | undefined
  /** What comes after the host. */
  readonly target: string
  readonly options: readonly string[]
}

export function readApache(source: ConfigurationSource): Setup {
  const all = parseApache(source.file, source.directory, source.variables)
  const modules = modulesOf(all)
  const directives = all.filter((each) => holdsFor(each, modules, source.request))
  const last = (name: string): readonly string[] | undefined =>
    directives.findLast((each) => each.name === name)?.args
  const root = all.find(({ name }) => name === 'serverroot')?.args[0] ?? source.directory
  const logs = directives
    .filter(({ name, args }) => name === 'errorlog' && !/^[|s]/.test(args[0] ?? ''))
    .toSorted((one, other) => other.sections.length - one.sections.length)
    .map(({ args: [path = ''] }) => (isAbsolute(path) ? path : join(root, path)))
    // That of the virtual host, if it has one.
    .slice(0, source.request === undefined ? undefined : 1)
  const passes = directives.flatMap((each) => passesOf(each, directives))
  const { request } = source
  const chosen = request === undefined ? passes : choose(passes, request.path)
  const [user, group] = last('suexecusergroup') ?? []
  const options = chosen[0]?.options ?? []
  const ttl = options.find((each) => each.startsWith('ttl='))?.slice('ttl='.length)
  const timeout = timeOf(last('proxytimeout')?.[0] ?? last('timeout')?.[0]) ?? TIMEOUT
  return {
    backends: chosen,
    scripts: scriptsOf(directives, request?.path),
    logs,
    user: last('user')?.[0],
    suexec: user === undefined ? undefined : { user, group: group ?? user },
    waits: { time: timeout, line: 'ProxyTimeout SECONDS' },
    ...(options.includes('enablereuse=on')
      ? {
          keepsIdle: {
            time: timeOf(ttl) ?? Number.POSITIVE_INFINITY,
            line: 'ProxyPass … enablereuse=on ttl=30',
          },
        }
      : {}),
    runsScripts: runsScripts(directives),
    findings:
      request === undefined
        ? examineScripts(directives, modules)
        : [
            ...(chosen[0] === undefined ? [] : examinePass(chosen[0], modules, directives)),
            ...examineUser(directives),
            ...examineFilters(directives),
            ...examineScripts(directives, modules),
          ],
  }
}

const TARGET = /^(?:unix:([^|]+)\|)?(\w+):\/\/([^/]*)(.*)$/

function passesOf({ name, args, sections }: Directive, all: readonly Directive[]): Pass[] {
  const location = sections.findLast((each) => each.name === 'location')?.args[0]
  let prefix: string | undefined
  let target = ''
  let options: readonly string[] = []
  if (name === 'proxypass') {
    ;[prefix, target, options] =
      location === undefined
        ? [args[0], args[1] ?? '', args.slice(2)]
        : [location, args[0] ?? '', args.slice(1)]
  } else if (name === 'proxypassmatch') {
    ;[target, options] = [args[1] ?? '', args.slice(2)]
    if (args[0] !== undefined) prefix = `~${args[0]}`
  } else if (name === 'sethandler' && args[0]?.startsWith('proxy:')) {
    ;[prefix, target] = [location, args[0].slice('proxy:'.length)]
  } else if (name === 'rewriterule' && /\[(?:.*,)?(?:P|proxy)(?:,.*)?\]/.test(args[2] ?? '')) {
    target = args[1] ?? ''
  } else return []
  if (target === '!') {
    return [{ gateway: 'http', address: undefined, text: '', scheme: '!', prefix, target, options }]
  }
  const text = `${name === 'proxypass' ? 'ProxyPass' : name} ${args.join(' ')}`
  const [, socket, scheme = '', host = '', path = ''] = TARGET.exec(target) ?? []
  if (scheme === 'balancer') {
    return all
      .filter((each) => each.name === 'balancermember')
      .filter((each) =>
        each.sections.some(({ args: [url] }) => url?.startsWith(`balancer://${host}`)),
      )
      .flatMap((each) =>
        passesOf({ name: 'proxypass', args: [prefix ?? '/', ...each.args], sections: [] }, []),
      )
  }
  const gateway = SCHEMES[scheme]
  if (gateway === undefined) return []
  const usual = { fcgi: 8000, scgi: 4000, https: 443 }[scheme] ?? 80
  const address = socket === undefined ? addressOf(host, usual) : addressOf(`unix:${socket}`)
  return [{ gateway, address, text, scheme, prefix, target: path, options }]
}

/** The first that takes the path, as Apache has it; those of a balancer belong together. */
function choose(passes: readonly Pass[], path: string): Pass[] {
  const first = passes.find(({ prefix }) => {
    if (prefix === undefined) return true
    return prefix.startsWith('~') ? test(prefix.slice(1), path) : within(prefix, path)
  })
  if (first === undefined || first.scheme === '!') return []
  return passes.filter(({ prefix, scheme }) => prefix === first.prefix && scheme !== '!')
}

function scriptsOf(directives: readonly Directive[], path: string | undefined): string[] {
  return directives
    .filter(({ name }) => name === 'scriptalias')
    .filter(({ args: [prefix = ''] }) => path === undefined || within(prefix, path))
    .map(({ args: [prefix = '', target = ''] }) =>
      path === undefined || !target.endsWith('/')
        ? target
        : join(target, path.slice(prefix.length).split('/')[0] ?? ''),
    )
}

function examinePass(
  { scheme, prefix = '', target, text, gateway, options }: Pass,
  modules: ReadonlySet<string>,
  directives: readonly Directive[],
): Finding[] {
  const findings: Finding[] = []
  const module = { fcgi: 'proxy_fcgi', scgi: 'proxy_scgi', http: 'proxy_http' }[scheme]
  if (module !== undefined && modules.size > 0 && !modules.has(module)) {
    findings.push(
      failure(
        'modules',
        `${text} needs mod_${module}, which is not loaded`,
        `a2enmod ${module} && systemctl restart apache2`,
      ),
    )
  }
  const plain = prefix.startsWith('~') ? '' : prefix
  const mounted = plain.replace(/\/$/, '')
  if (mounted !== '' && gateway !== 'http' && target.replace(/\/$/, '') === mounted) {
    findings.push(
      failure(
        'mount',
        `${text} has the prefix ${mounted} on both sides, so that it is lost from SCRIPT_NAME`,
        `ProxyPass "${mounted}" "${scheme}://HOST" # the prefix on the left side only`,
      ),
    )
  } else if (mounted !== '' && plain.endsWith('/') !== target.endsWith('/')) {
    findings.push(
      failure(
        'mount',
        `${text} has a slash at the end of one side only, so paths get a slash too many or too few`,
        gateway === 'http'
          ? `ProxyPass "${mounted}" "http://HOST${mounted}"`
          : `ProxyPass "${mounted}" "${scheme}://HOST" # no slash at either end`,
      ),
    )
  }
  if (gateway !== 'http' && !/pathinfo/.test(wordsOf(directives, /^setenv/))) {
    const level = mounted === '' ? warning : failure
    findings.push(
      level(
        'PATH_INFO',
        `Apache sends no PATH_INFO without proxy-${scheme}-pathinfo`,
        `SetEnvIf Request_URI "^${mounted}(/|$)" proxy-${scheme}-pathinfo=unescape`,
      ),
    )
  }
  if (gateway === 'http' && !options.includes('nocanon')) {
    findings.push(
      warning(
        '%2F',
        'without nocanon, Apache decodes and encodes the path again: the application gets another spelling of %2F and //',
        `${text} nocanon`,
      ),
    )
  }
  if (gateway === 'http' && !/\bon\b/i.test(wordsOf(directives, /^proxypreservehost$/))) {
    findings.push(
      failure('HTTP_HOST', 'Apache sends the host of ProxyPass as Host', 'ProxyPreserveHost On'),
    )
  }
  return findings
}

function wordsOf(directives: readonly Directive[], name: RegExp): string {
  return directives
    .filter((each) => name.test(each.name))
    .flatMap(({ args }) => args)
    .join(' ')
}

/** REMOTE_USER from a header of the client. */
function examineUser(directives: readonly Directive[]): Finding[] {
  const line = directives.find(
    ({ name, args }) =>
      (name === 'rewriterule' && /E=REMOTE_USER:%\{(?:HTTP|ENV):/i.test(args.join(' '))) ||
      (/^setenvif(?:nocase)?$/.test(name) &&
        /^REMOTE_USER=/i.test(args[2] ?? '') &&
        !/^(?:remote_|server_|request_)/i.test(args[0] ?? '')),
  )
  if (line === undefined) return []
  return [
    failure(
      'REMOTE_USER',
      `${line.name} ${line.args.join(' ')} makes REMOTE_USER of a header that any client can send`,
      'delete the line, and let Apache check the password: AuthType Basic, AuthUserFile, Require valid-user',
    ),
  ]
}

function examineFilters(directives: readonly Directive[]): Finding[] {
  const findings: Finding[] = []
  const deflated = directives.some(
    ({ name, args }) =>
      (name === 'addoutputfilterbytype' && args.includes('text/event-stream')) ||
      (name === 'setoutputfilter' && args.includes('DEFLATE')),
  )
  if (deflated) {
    findings.push(
      warning(
        'gzip',
        'mod_deflate compresses text/event-stream, and holds events back',
        'SetEnvIf Request_URI "/events$" no-gzip=1',
      ),
    )
  }
  if (/\bon\b/i.test(wordsOf(directives, /^proxyerroroverride$/))) {
    findings.push(
      warning(
        'error pages',
        "ProxyErrorOverride On replaces the application's own responses of 400 and more",
        'ProxyErrorOverride Off',
      ),
    )
  }
  return findings
}
