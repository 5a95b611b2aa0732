/** Sends requests to the application of the doctor through the web server. */
import type { Gateway } from '../gateways.ts'
import { failure, type Finding, warning } from './finding.ts'
import { type Front } from './front.ts'
import { explainLog, markLogs } from './log.ts'

/** What the application of the doctor responds with; see application.ts. */
export interface Report {
  readonly portico: true
  readonly id: string
  readonly size: number
  readonly scheme: string
  readonly gateway: Gateway
  readonly forged: readonly string[]
  readonly environ: Readonly<Record<string, string>>
}

/** How long the web server may take for a response, in ms. */
export const TIMEOUT = 10_000

/** How long a log may take after a response, in ms. */
const LOG_DELAY = 50

/** What a status of the web server's own means, and what to look at. */
const STATUSES: Readonly<Record<number, readonly [reason: string, fix: string]>> = {
  400: ['the web server or Portico refuses the request', 'look at the log of both'],
  401: ['the web server asks for a password', 'examine a path without one; the doctor sends none'],
  403: [
    'the web server refuses access',
    'allow access to the path; for a script, look at its mode',
  ],
  404: [
    'no location of the web server has this path, or the application has no page there',
    'mount the application of portico/doctor at this URL',
  ],
  405: ['the web server refuses the method', 'allow the method'],
  411: ['the web server wants a Content-Length', 'clients have to send Content-Length'],
  413: ['the request body is larger than the web server accepts', 'raise its limit'],
  500: [
    'the script cannot be run, or the application has failed',
    'portico doctor FILE; then the error log of the web server',
  ],
  502: [
    'the web server cannot connect to the application, or it speaks another protocol',
    'portico doctor unix:PATH',
  ],
  503: ['the web server cannot connect to the application', 'portico doctor unix:PATH'],
  504: ['the application does not respond in time', 'portico status CONTROL'],
}

/** Why there is no response, by the code of the error. */
const UNREACHABLE: Readonly<Record<string, readonly [reason: string, fix: string]>> = {
  ECONNREFUSED: ['no web server listens there', 'start the web server, or correct the port'],
  ENOTFOUND: ['the name is not known', 'correct the host name, or add it to /etc/hosts'],
  EAI_AGAIN: ['the name cannot be looked up', 'correct the host name, or add it to /etc/hosts'],
  ECONNRESET: ['the web server closed the connection without a response', 'look at its error log'],
  UND_ERR_SOCKET: [
    'the web server closed the connection without a response',
    'look at its error log',
  ],
  'bad port': ['fetch refuses this port, which belongs to another protocol', 'use another port'],
  EPROTO: ['the port does not speak TLS', 'use http:// for this port'],
  ERR_SSL_WRONG_VERSION_NUMBER: ['the port does not speak TLS', 'use http:// for this port'],
  DEPTH_ZERO_SELF_SIGNED_CERT: [
    'the certificate is self-signed',
    'NODE_EXTRA_CA_CERTS=CERT.pem portico doctor URL',
  ],
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: [
    'the certificate has no known issuer',
    'NODE_EXTRA_CA_CERTS=CA.pem portico doctor URL',
  ],
  ERR_TLS_CERT_ALTNAME_INVALID: [
    'the certificate is for another name',
    'use the name of the certificate in the URL',
  ],
  CERT_HAS_EXPIRED: ['the certificate has expired', 'renew the certificate'],
}

/** The error pages of nginx, Apache, lighttpd, HAProxy and H2O, and those of Caddy, which are empty. */
const OWN_PAGE =
  /<center>(?:nginx|openresty|angie|freenginx)\b|^<!DOCTYPE HTML PUBLIC "-\/\/IETF\/\/DTD HTML 2\.0|^<\?xml version="1\.0" encoding="iso-8859-1"\?>\s*<!DOCTYPE html PUBLIC|^<html><body><h1>\d{3} |^not found$/

/** Statuses with which an application responds to a GET when nothing is wrong. */
const PAGES: ReadonlySet<number> = new Set([401, 403, 404, 405, 406, 410, 429])

export type AskResult =
  | { readonly report: Report; readonly server: string; readonly status: number }
  | {
      readonly finding: Finding
      readonly server: string
      readonly status: number
      /** Whether the response is below 400, or is an application's own page. */
      readonly works: boolean
    }

/** Asks below one URL. Findings about a failed request come from the log, where it can be read. */
export class Asker {
  readonly url: string
  front: Front | undefined

  /** @param url without a slash at its end */
  constructor(url: string, front: Front | undefined) {
    this.url = url
    this.front = front
  }

  async ask(path: string, init: RequestInit = {}): Promise<AskResult> {
    const target = this.url + path
    const marks = markLogs(this.front?.setup?.logs ?? [])
    let response: Response
    let text: string
    try {
      response = await fetch(target, {
        ...init,
        redirect: 'manual',
        signal: AbortSignal.timeout(TIMEOUT),
      })
      text = await response.text()
    } catch (error) {
      const finding = unreachable(target, error)
      return { finding, server: '', status: 0, works: false }
    }
    const server = response.headers.get('server') ?? ''
    const { status } = response
    const report = parseReport(text)
    if (report !== undefined) return { report, server, status }
    if (status >= 400) {
      await new Promise((resolve) => setTimeout(resolve, LOG_DELAY))
      const logged = explainLog(marks, this.front?.name, status)
      if (logged !== undefined) {
        const message = `${status}: ${logged.message}`
        return { finding: { ...logged, message }, server, status, works: false }
      }
    }
    const [reason, fix] = STATUSES[status] ?? [
      'the response does not come from the application of portico/doctor',
      "mount it: mount({ '/doctor': doctor, '/': app }), and give its URL",
    ]
    const level = status < 400 ? warning : failure
    const finding = level('web server', `${target}: ${status}, ${reason}`, fix)
    const own = OWN_PAGE.test(text) || (text === '' && /^caddy/i.test(server))
    return { finding, server, status, works: status < 400 || (PAGES.has(status) && !own) }
  }
}

function unreachable(target: string, error: unknown): Finding {
  const { cause, name } = error as { cause?: { code?: string; message?: string }; name: string }
  const code = cause?.code ?? cause?.message ?? name
  if (code === 'TimeoutError') {
    const message = `${target}: no response within ${TIMEOUT / 1000} s`
    return failure('web server', message, 'portico status CONTROL # shows blocked workers')
  }
  const [reason, fix] = UNREACHABLE[code] ?? [`no web server there`, 'start the web server']
  return failure('web server', `${target}: ${reason} (${code})`, fix)
}

function parseReport(text: string): Report | undefined {
  try {
    const report = JSON.parse(text) as Report
    return report.portico ? report : undefined
  } catch {
    return undefined
  }
}
