/** Asks an application through its web server, and compares what arrives with what was sent. */
import { type AskResult, Asker, type Report } from './ask.ts'
import { examineBackends } from './backend.ts'
import { failure, type Finding, ok, warning } from './finding.ts'
import { fixFor } from './fixes.ts'
import {
  type Front,
  frontOfSoftware,
  frontOfUrl,
  frontsHere,
  serverNamed,
  type ServerName,
} from './front.ts'
import { familiesOf, isLocal, listenerOnPort } from './processes.ts'
import { examineScript } from './script.ts'
import { speaksTls } from './tls.ts'
import { examineTransfers } from './transfers.ts'
import { examineForging } from './forging.ts'
import { examineConfigurations } from './validate.ts'

export async function examineUrl(address: string): Promise<Finding[]> {
  const url = new URL(address)
  url.pathname = url.pathname.replace(/\/+$/, '')
  url.hash = ''
  url.search = ''
  const base = url.href.replace(/\/$/, '')
  const asker = new Asker(base, frontOfUrl(new URL(address)))
  const first = await askFirst(asker, new URL(address))
  // nginx, Apache and Caddy respond with a 400; others close the connection.
  const isSilent = first.status === 0 || first.status === 400
  if (isSilent && url.protocol === 'http:' && (await speaksTls(url))) {
    const fix = `portico doctor ${address.replace(/^http:/, 'https:')}`
    return [failure('web server', `${address}: the port speaks TLS, not HTTP`, fix)]
  }
  const software =
    'report' in first ? first.report.environ['SERVER_SOFTWARE'] || first.server : first.server
  asker.front ??= frontOfSoftware(software, url) ?? frontOfSoftware(first.server, url)
  const { front } = asker
  const server = front?.name ?? serverNamed(software)
  const configured = await examineFront(front, url)
  if ('finding' in first) {
    const { finding, status } = first
    if (first.works && (status < 400 || !configured.some(keepsAway))) {
      return mostExact([...configured, responds(address, status, server)])
    }
    // The configuration shows the fault already, and the log only shows its effect.
    const rest = status >= 500 && configured.some(explains) ? [] : [finding]
    // Nothing responds: a web server may have refused its configuration.
    const refused = status === 0 && isLocal(url.hostname) ? examineConfigurations(frontsHere()) : []
    return mostExact([...configured, ...refused, ...rest, ...examineListening(url, first)])
  }
  const { report } = first
  return mostExact([
    ok('web server', `${software || 'it'} passes requests on`),
    ...configured.filter((finding) => !isCorrected(finding, report, url)),
    ...examinePath(report, url, server),
    ...examineNames(report, url, server),
    ...(await examineForging(asker, server)),
    ...(await examineTransfers(asker, url, server, report.environ['QUERY_STRING'] !== '')),
  ])
}

/**
 * Asks for the URL as it is given. A path with escapes follows if the application of portico/doctor
 * is there, or may be below a URL that has no page itself.
 */
async function askFirst(asker: Asker, { href, hash }: URL): Promise<AskResult> {
  const given = await asker.ask(href.slice(asker.url.length, href.length - hash.length))
  const { status } = given
  if ('finding' in given && (status < 300 || status >= 500)) return given
  const below = await asker.ask('/a%20b?q=%2f', { headers: { 'X-Doctor': 'here' } })
  return 'report' in below || 'report' in given ? below : given
}

const TITLES: Readonly<Record<ServerName, string>> = {
  nginx: 'nginx',
  apache: 'Apache',
  lighttpd: 'lighttpd',
  caddy: 'Caddy',
  haproxy: 'HAProxy',
  h2o: 'H2O',
}

function responds(address: string, status: number, server: ServerName | undefined): Finding {
  const through = server === undefined ? '' : ` through ${TITLES[server]}`
  return {
    ...ok(
      'web server',
      `${address} responds with a ${status}${through}; mount portico/doctor for the full check`,
    ),
    fix: "mount({ '/doctor': doctor, '/': app }) // and give the URL of /doctor",
  }
}

/** What the configuration says, and the applications and scripts that it names. */
async function examineFront(front: Front | undefined, { host }: URL): Promise<Finding[]> {
  if (front?.setup === undefined) return []
  // The usual file may be of another process than the one on the port.
  if (front.process === undefined && front.setup.unserved === true) {
    const message = `${front.file} has nothing for ${host}, and the doctor cannot see which process serves it`
    return [warning('configuration', message, `sudo npx portico doctor http://${host}/ # as root`)]
  }
  const backends = await examineBackends(front)
  // Another directive takes the place of the wrong one, with lines of its own.
  const isWrong = backends.some((each) => each.check === 'protocol' && explains(each))
  return [
    ok('configuration', `${front.file} configures ${front.name}`),
    ...(isWrong ? [] : front.setup.findings),
    ...backends,
    ...front.setup.scripts.flatMap((file) =>
      examineScript(file, front.user, front).filter(({ level }) => level === 'failure'),
    ),
  ]
}

/** The application's scriptName makes up for a SCRIPT_NAME that the web server leaves empty. */
function isCorrected({ check }: Finding, { environ }: Report, { pathname }: URL): boolean {
  const { SCRIPT_NAME: name = '' } = environ
  return check === 'SCRIPT_NAME' && name !== '' && decodeURIComponent(pathname).startsWith(name)
}

/** Whether a finding is a reason for a 4xx: the web server passes nothing on, or another path. */
function keepsAway(finding: Finding): boolean {
  const { level, check } = finding
  return explains(finding) || MISLEADS.has(check) || (level === 'failure' && KEEPS.has(check))
}

const MISLEADS = new Set(['SCRIPT_NAME', 'mount'])

const KEEPS = new Set(['configuration', 'parameters', 'try_files', 'PATH_INFO'])

/** Whether a finding is a reason why no request can reach the application. */
function explains({ level, check, message }: Finding): boolean {
  if (level !== 'failure') return false
  return check === 'protocol' ? message.includes('expects') : UNREACHABLE.has(check)
}

const UNREACHABLE = new Set([
  'access',
  'file',
  'listening',
  'mode',
  'module',
  'modules',
  'shebang',
  'socket',
  'suexec',
])

/** A port that listens for the other family only, or that another program has. */
function examineListening(url: URL, { status }: AskResult): Finding[] {
  if (!isLocal(url.hostname)) return []
  const port = Number(url.port || (url.protocol === 'https:' ? 443 : 80))
  const families = familiesOf(port)
  const wanted = /^(?:\d+\.){3}\d+$/.test(url.hostname) ? 'IPv4' : 'IPv6'
  if (status === 0 && families.size > 0 && !families.has(wanted) && url.hostname !== 'localhost') {
    const other = wanted === 'IPv4' ? 'IPv6' : 'IPv4'
    return [
      failure(
        'listening',
        `the web server listens on port ${port} for ${other} only`,
        wanted === 'IPv4'
          ? `listen ${port}; # nginx, beside listen [::]:${port};`
          : `listen [::]:${port};`,
      ),
    ]
  }
  const owner = listenerOnPort(port)
  if (owner === undefined || serverNamed(owner.name) || /^(?:apache2|httpd)$/.test(owner.name))
    return []
  if (owner.pid === process.pid) return []
  return [
    failure(
      'listening',
      `another program has port ${port}: ${owner.name}, pid ${owner.pid}`,
      'give the web server another port, or stop that program',
    ),
  ]
}

/** One finding for each check and level: the first is the most exact. Failures hide warnings. */
function mostExact(findings: readonly Finding[]): Finding[] {
  return findings.filter(({ check, level, message }, at) => {
    if (findings.slice(0, at).some((each) => each.message === message)) return false
    const same = findings.filter((each) => each.check === check)
    if (level === 'ok') return same.every((each) => each.level === 'ok')
    const first =
      same.find((each) => each.level === 'failure') ?? same.find((each) => each.level === level)
    return first === findings[at] || (level === 'failure' && check === 'socket')
  })
}

/** SCRIPT_NAME + PATH_INFO has to be the decoded path (RFC 3875, section 3.3). */
function examinePath({ environ }: Report, url: URL, server: ServerName | undefined): Finding[] {
  const { SCRIPT_NAME: script = '', PATH_INFO: path, REQUEST_URI: uri } = environ
  const expected = `${decodeURIComponent(url.pathname).replace(/\/$/, '')}/a b`
  const findings: Finding[] = []
  if (path === undefined || path === '') {
    const message = 'the application gets no PATH_INFO'
    findings.push(failure('PATH_INFO', message, fixFor('PATH_INFO', server)))
  } else if (script + path !== expected) {
    findings.push(
      failure(
        'PATH_INFO',
        `SCRIPT_NAME ${JSON.stringify(script)} and PATH_INFO ${JSON.stringify(path)} do not make the path ${JSON.stringify(expected)}`,
        fixFor('PATH_INFO', server),
      ),
    )
  } else {
    const message = `SCRIPT_NAME is ${JSON.stringify(script)}, PATH_INFO ${JSON.stringify(path)}`
    findings.push(ok('PATH_INFO', message))
  }
  if (uri === undefined) {
    findings.push({
      level: 'warning',
      check: 'REQUEST_URI',
      message: 'REQUEST_URI is not sent, so the spelling of the path is lost',
    })
  }
  // lighttpd writes escapes in capitals.
  if (!/^q=%2f$/i.test(environ['QUERY_STRING'] ?? '')) {
    const message = `QUERY_STRING is ${JSON.stringify(environ['QUERY_STRING'])}, not "q=%2f"`
    findings.push(failure('QUERY_STRING', message, fixFor('QUERY_STRING', server)))
  }
  if (environ['HTTP_X_DOCTOR'] !== 'here') {
    findings.push(failure('headers', 'request headers do not arrive', fixFor('headers', server)))
  }
  return findings
}

function examineNames(
  { environ, scheme }: Report,
  url: URL,
  server: ServerName | undefined,
): Finding[] {
  const findings: Finding[] = []
  if (environ['HTTP_HOST'] === url.host) {
    findings.push(ok('HTTP_HOST', `HTTP_HOST is ${url.host}`))
  } else {
    const shown = JSON.stringify(environ['HTTP_HOST'])
    const message = `HTTP_HOST is ${shown}, not ${JSON.stringify(url.host)}`
    findings.push(failure('HTTP_HOST', message, fixFor('HTTP_HOST', server)))
  }
  const sent = url.protocol.slice(0, -1)
  if (scheme !== sent) {
    const message = `wsgi.url_scheme is ${scheme}, and the client uses ${sent}`
    findings.push(failure('scheme', message, fixFor('scheme', server)))
  }
  return findings
}
