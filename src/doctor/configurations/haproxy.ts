/** What HAProxy's configuration says of the requests to a port. */
import { failure, type Finding, warning } from '../finding.ts'
import { textOf } from '../processes.ts'
import { addressOf } from '../address.ts'
import { type Backend, type ConfigurationSource, type Setup, timeOf } from './setup.ts'

interface Section {
  readonly kind: string
  readonly name: string
  readonly lines: readonly (readonly string[])[]
}

const KINDS = /^(?:global|defaults|frontend|backend|listen|fcgi-app|userlist|peers|resolvers)$/

export function readHaproxy({ file, request }: ConfigurationSource): Setup {
  const sections = parse(textOf(file))
  const of = (kind: string): Section[] => sections.filter((each) => each.kind === kind)
  const fronts = [...of('frontend'), ...of('listen')].filter(
    ({ lines }) =>
      request === undefined ||
      lines.some(([word, where = '']) => word === 'bind' && where.endsWith(`:${request.port}`)),
  )
  const names = new Set(
    fronts.flatMap(({ lines }) =>
      lines
        .filter(([word]) => word === 'use_backend' || word === 'default_backend')
        .map(([, name]) => name),
    ),
  )
  const backs = [
    ...of('backend').filter(({ name }) => names.has(name)),
    ...fronts.filter(({ kind }) => kind === 'listen'),
  ]
  const timeout = [...backs, ...of('defaults')]
    .flatMap(({ lines }) => lines)
    .find(([first, second]) => first === 'timeout' && second === 'server')?.[2]
  return {
    backends: backs.flatMap(backendsOf),
    scripts: [],
    logs: [],
    user: of('global')[0]?.lines.find(([word]) => word === 'user')?.[1],
    waits:
      timeout === undefined
        ? undefined
        : { time: timeOf(timeout, 1) ?? Number.POSITIVE_INFINITY, line: 'timeout server TIME' },
    findings:
      request === undefined ? [] : backs.flatMap((back) => examine(back, of('fcgi-app'), fronts)),
  }
}

function parse(text: string): Section[] {
  const sections: { kind: string; name: string; lines: string[][] }[] = []
  for (const line of text.split('\n')) {
    const words = line
      .replace(/(^|\s)#.*$/, '')
      .trim()
      .split(/\s+/)
      .filter(Boolean)
    if (words.length === 0) continue
    if (KINDS.test(words[0]!)) sections.push({ kind: words[0]!, name: words[1] ?? '', lines: [] })
    else sections.at(-1)?.lines.push(words)
  }
  return sections
}

function backendsOf({ lines }: Section): Backend[] {
  return lines
    .filter(([word]) => word === 'server')
    .map((words) => ({
      gateway: words[words.indexOf('proto') + 1] === 'fcgi' ? 'fastcgi' : 'http',
      address: addressOf(words[2] ?? ''),
      text: words.join(' '),
    }))
}

function examine(back: Section, apps: readonly Section[], fronts: readonly Section[]): Finding[] {
  const findings: Finding[] = []
  const name = back.lines.find(([word]) => word === 'use-fcgi-app')?.[1]
  const app = apps.find((each) => each.name === name)
  if (app === undefined) return findings
  const has = (...words: string[]): boolean =>
    app.lines.some((line) => words.every((word, at) => line[at] === word))
  if (!has('path-info')) {
    findings.push(
      warning(
        'PATH_INFO',
        'without path-info, HAProxy sends the whole path as SCRIPT_NAME and no PATH_INFO',
        'path-info ^(/app)(/.*)?$ # ^()(/.*)?$ for an application at /',
      ),
    )
  }
  if (!has('pass-header', 'Authorization') && !has('pass-header', 'authorization')) {
    findings.push(
      failure(
        'Authorization',
        'HAProxy drops the Authorization header',
        'pass-header Authorization # in the section fcgi-app',
      ),
    )
  }
  const user = app.lines.find(([word, param]) => word === 'set-param' && param === 'REMOTE_USER')
  const checks = fronts.some(({ lines }) =>
    lines.some(([first, second]) => first === 'http-request' && second === 'auth'),
  )
  if (user === undefined && !checks) {
    findings.push(
      failure(
        'REMOTE_USER',
        'HAProxy takes REMOTE_USER from the Authorization header without a check of the password',
        'set-param REMOTE_USER %[var(txn.user)] # in the section fcgi-app; and the same for AUTH_TYPE',
      ),
    )
  }
  if (!has('log-stderr')) {
    findings.push(
      warning(
        'log',
        'HAProxy discards what the application logs',
        'log-stderr global # in fcgi-app',
      ),
    )
  }
  return findings
}
