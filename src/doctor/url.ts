/** Asks an application through its web server, and compares what arrives with what was sent. */
import { failure, type Finding, ok, warning } from './finding.ts'

/** What the application of the doctor responds with; report.ts. */
interface Report {
  readonly portico: true
  readonly size: number
  readonly scheme: string
  readonly environ: Readonly<Record<string, string>>
}

/** How long the web server may take for a response. */
const TIMEOUT = 10_000

/** A stream whose parts arrive this close together was buffered, in ms; report.ts pauses for 700. */
const STREAM_GAP = 350

/** Larger than what web servers accept by default: nginx 1 MiB, mod_fcgid 128 KiB. */
const UPLOAD = 2 * 1024 * 1024

/** What a status of the web server's own means, and what to look at. */
const GATEWAY_ERRORS: Readonly<Record<number, readonly [string, string]>> = {
  400: ['the web server or Portico refuses the request', 'look at the log of both'],
  401: ['the web server asks for a password', 'curl -u NAME:PASSWORD works; the doctor sends none'],
  403: ['the web server refuses access', 'Apache: Require all granted; for a script, its mode'],
  404: [
    'no location of the web server has this path, or the application has no page there',
    'mount the application of portico/doctor at this URL',
  ],
  413: [
    'the request body is larger than the web server accepts',
    'nginx: client_max_body_size 64m;',
  ],
  500: [
    'the script cannot be run, or the application has failed',
    'portico doctor FILE; then the error log of the web server',
  ],
  502: [
    'the web server cannot connect to the application, or it speaks another protocol',
    'portico doctor unix:PATH',
  ],
  503: ['the web server cannot connect to the application', 'portico doctor unix:PATH'],
  504: [
    'the application does not respond in time',
    'portico status CONTROL; nginx: fastcgi_read_timeout 60s;',
  ],
}

export async function examineUrl(address: string): Promise<Finding[]> {
  const url = new URL(address)
  url.pathname = url.pathname.replace(/\/$/, '')
  const first = await fetchReport(`${url.href}/a%20b?q=%2f`, { headers: { 'X-Doctor': 'here' } })
  if ('finding' in first) return [first.finding]
  const { report, server } = first
  const findings = [
    ok('web server', `${report.environ['SERVER_SOFTWARE'] || server || 'it'} passes requests on`),
    ...examinePath(report, url),
    ...examineNames(report, url),
  ]
  findings.push(...(await examineAuthorization(url)))
  findings.push(...(await examineBodies(url)))
  findings.push(...(await examineSlashes(url)))
  findings.push(await examineStreaming(url))
  return findings
}

type Answer = { readonly report: Report; readonly server: string } | { readonly finding: Finding }

async function fetchReport(target: string, init: RequestInit = {}): Promise<Answer> {
  let response: Response
  try {
    response = await fetch(target, {
      ...init,
      redirect: 'manual',
      signal: AbortSignal.timeout(TIMEOUT),
    })
  } catch (error) {
    const cause = (error as { cause?: { code?: string } }).cause?.code ?? (error as Error).name
    return {
      finding:
        cause === 'TimeoutError'
          ? failure(
              'web server',
              `${target}: no response within ${TIMEOUT / 1000} s`,
              'portico status CONTROL',
            )
          : failure(
              'web server',
              `${target}: no web server there (${cause})`,
              'systemctl status nginx',
            ),
    }
  }
  const server = response.headers.get('server') ?? ''
  const text = await response.text()
  const report = parseReport(text)
  if (response.ok && report !== undefined) return { report, server }
  const [reason, fix] = GATEWAY_ERRORS[response.status] ?? [
    'the response does not come from the application of portico/doctor',
    "mount it: mount({ '/doctor': doctor, '/': app }), and give its URL",
  ]
  const level = response.status < 400 ? warning : failure
  return { finding: level('web server', `${target}: ${response.status}, ${reason}`, fix) }
}

function parseReport(text: string): Report | undefined {
  try {
    const report = JSON.parse(text) as Report
    return report.portico ? report : undefined
  } catch {
    return undefined
  }
}

/** SCRIPT_NAME + PATH_INFO has to be the decoded path (RFC 3875, section 3.3). */
function examinePath({ environ }: Report, url: URL): Finding[] {
  const { SCRIPT_NAME: script = '', PATH_INFO: path, REQUEST_URI: uri } = environ
  const expected = `${decodeURIComponent(url.pathname)}/a b`
  const findings: Finding[] = []
  if (path === undefined || path === '') {
    findings.push(
      failure(
        'PATH_INFO',
        'the application gets no PATH_INFO',
        'nginx: fastcgi_param PATH_INFO $fastcgi_path_info; Apache: proxy-fcgi-pathinfo=unescape',
      ),
    )
  } else if (script + path !== expected) {
    findings.push(
      failure(
        'PATH_INFO',
        `SCRIPT_NAME ${JSON.stringify(script)} and PATH_INFO ${JSON.stringify(path)} do not make the path ${JSON.stringify(expected)}`,
        "set the application's scriptName, and pathInfo: 'from-uri'",
      ),
    )
  } else
    findings.push(
      ok(
        'PATH_INFO',
        `SCRIPT_NAME is ${JSON.stringify(script)}, PATH_INFO ${JSON.stringify(path)}`,
      ),
    )
  if (uri === undefined)
    findings.push(
      warning('REQUEST_URI', 'REQUEST_URI is not sent, so the spelling of the path is lost'),
    )
  if (environ['QUERY_STRING'] !== 'q=%2f') {
    findings.push(
      failure(
        'QUERY_STRING',
        `QUERY_STRING is ${JSON.stringify(environ['QUERY_STRING'])}, not "q=%2f"`,
        'nginx: fastcgi_param QUERY_STRING $query_string;',
      ),
    )
  }
  if (environ['HTTP_X_DOCTOR'] !== 'here') {
    findings.push(
      failure(
        'headers',
        'request headers do not arrive',
        'nginx: fastcgi_pass_request_headers on;',
      ),
    )
  }
  return findings
}

function examineNames({ environ, scheme }: Report, url: URL): Finding[] {
  const findings: Finding[] = []
  if (environ['HTTP_HOST'] !== url.host) {
    findings.push(
      failure(
        'HTTP_HOST',
        `HTTP_HOST is ${JSON.stringify(environ['HTTP_HOST'])}, not ${JSON.stringify(url.host)}`,
        'nginx: proxy_set_header Host $http_host; Apache: ProxyPreserveHost On',
      ),
    )
  } else findings.push(ok('HTTP_HOST', `HTTP_HOST is ${url.host}`))
  const sent = url.protocol.slice(0, -1)
  if (scheme !== sent) {
    findings.push(
      failure(
        'scheme',
        `wsgi.url_scheme is ${scheme}, and the client uses ${sent}`,
        'nginx: fastcgi_param HTTPS $https if_not_empty; over HTTP: the middleware proxyFix',
      ),
    )
  }
  return findings
}

/** Whether Authorization arrives, and whether an unchecked name becomes REMOTE_USER. */
async function examineAuthorization(url: URL): Promise<Finding[]> {
  const credentials = Buffer.from('portico-doctor:not-a-password').toString('base64')
  const answer = await fetchReport(`${url.href}/auth`, {
    headers: { Authorization: `Basic ${credentials}` },
  })
  if ('finding' in answer) {
    return [ok('REMOTE_USER', 'the web server refuses a wrong password')]
  }
  const { environ } = answer.report
  const findings: Finding[] = []
  if (environ['REMOTE_USER']) {
    findings.push(
      failure(
        'REMOTE_USER',
        `a wrong password makes REMOTE_USER ${JSON.stringify(environ['REMOTE_USER'])}: anyone can be anyone`,
        'nginx: fastcgi_param REMOTE_USER ""; HAProxy: set-param REMOTE_USER %[var(txn.user)]',
      ),
    )
  } else findings.push(ok('REMOTE_USER', 'a wrong password makes no REMOTE_USER'))
  if (environ['HTTP_AUTHORIZATION'] === undefined) {
    findings.push(
      failure(
        'Authorization',
        'the application gets no Authorization header',
        'Apache: CGIPassAuth On; HAProxy: pass-header Authorization',
      ),
    )
  } else findings.push(ok('Authorization', 'the header Authorization arrives'))
  return findings
}

async function examineBodies(url: URL): Promise<Finding[]> {
  const findings: Finding[] = []
  const small = await fetchReport(`${url.href}/body`, { method: 'POST', body: 'a=1' })
  if ('finding' in small)
    findings.push(failure('body', `a POST fails: ${small.finding.message}`, small.finding.fix))
  else if (small.report.size !== 3) {
    findings.push(
      failure(
        'body',
        `of a body of 3 bytes ${small.report.size} arrive`,
        'nginx: fastcgi_param CONTENT_LENGTH $content_length if_not_empty;',
      ),
    )
  } else findings.push(ok('body', 'a request body arrives'))
  const large = await fetchReport(`${url.href}/body`, {
    method: 'POST',
    body: new Uint8Array(UPLOAD),
  })
  if ('finding' in large) {
    findings.push(
      warning(
        'uploads',
        `a body of ${UPLOAD / 1024 / 1024} MiB is refused: ${large.finding.message}`,
        'nginx: client_max_body_size 64m; mod_fcgid: FcgidMaxRequestLen 67108864',
      ),
    )
  } else if (large.report.size !== UPLOAD) {
    findings.push(
      failure(
        'uploads',
        `of a body of ${UPLOAD} bytes ${large.report.size} arrive`,
        'nginx over SCGI: scgi_request_buffering on;',
      ),
    )
  }
  return findings
}

/** %2F in a path is a 404 in Apache by default. */
async function examineSlashes(url: URL): Promise<Finding[]> {
  const answer = await fetchReport(`${url.href}/a%2Fb`)
  if ('report' in answer) return []
  return [
    warning(
      '%2F',
      'a path with %2F does not reach the application',
      'Apache: AllowEncodedSlashes On',
    ),
  ]
}

/** Whether the parts of a response arrive when they are sent. */
async function examineStreaming(url: URL): Promise<Finding> {
  try {
    const response = await fetch(`${url.href}/stream?stream`, {
      signal: AbortSignal.timeout(TIMEOUT),
    })
    let first = 0
    for await (const _ of response.body ?? []) first ||= performance.now()
    const gap = performance.now() - first
    if (gap >= STREAM_GAP)
      return ok('streaming', 'the parts of a response arrive when they are sent')
  } catch {
    return warning('streaming', 'the stream was aborted', 'look at the error log of the web server')
  }
  return warning(
    'streaming',
    'the parts of a response arrive together at its end',
    'nginx: fastcgi_buffering off; Apache: flushpackets=on; mod_fcgid: FcgidOutputBufferSize 0; lighttpd: server.stream-response-body = 1; Caddy: flush_interval -1',
  )
}
