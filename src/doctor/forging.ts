/** Whether Authorization arrives, and which variables a client can set by its headers. */
import type { Asker } from './ask.ts'
import { failure, type Finding, ok, warning } from './finding.ts'
import { fixFor, type Problem } from './fixes.ts'
import { FORGED_ADDRESS, FORGED_HEADERS, FORGED_NAME } from './forged-headers.ts'
import type { ServerName } from './front.ts'

const PROBLEMS: Readonly<Record<string, Problem>> = {
  REMOTE_USER: 'REMOTE_USER',
  REMOTE_ADDR: 'REMOTE_ADDR',
}

export async function examineForging(
  asker: Asker,
  server: ServerName | undefined,
): Promise<Finding[]> {
  return [...(await examineAuthorization(asker, server)), ...(await examineHeaders(asker, server))]
}

async function examineAuthorization(
  asker: Asker,
  server: ServerName | undefined,
): Promise<Finding[]> {
  const credentials = Buffer.from(`${FORGED_NAME}:not-a-password`).toString('base64')
  const result = await asker.ask('/auth', { headers: { Authorization: `Basic ${credentials}` } })
  if ('finding' in result) return [ok('REMOTE_USER', 'the web server refuses a wrong password')]
  const { environ } = result.report
  const findings: Finding[] = []
  if (environ['REMOTE_USER']) {
    findings.push(
      failure(
        'REMOTE_USER',
        `a wrong password makes REMOTE_USER ${JSON.stringify(environ['REMOTE_USER'])}: a client can pose as any user`,
        fixFor('REMOTE_USER', server),
      ),
    )
  } else findings.push(ok('REMOTE_USER', 'a wrong password makes no REMOTE_USER'))
  if (environ['HTTP_AUTHORIZATION'] === undefined) {
    const message = 'the application gets no Authorization header'
    findings.push(failure('Authorization', message, fixFor('Authorization', server)))
  } else findings.push(ok('Authorization', 'the header Authorization arrives'))
  return findings
}

async function examineHeaders(asker: Asker, server: ServerName | undefined): Promise<Finding[]> {
  const result = await asker.ask('/forged', {
    headers: FORGED_HEADERS.map(([name, value]): [string, string] => [name, value]),
  })
  // A web server may refuse such a request.
  if ('finding' in result) return []
  const findings: Finding[] = []
  for (const name of result.report.forged) {
    const fix = fixFor(PROBLEMS[name] ?? 'REMOTE_USER', server)
    // From this machine the request may look like one of a trusted proxy.
    if (name === 'REMOTE_ADDR') {
      const message = `a header sets REMOTE_ADDR to ${FORGED_ADDRESS}, at least for requests from this machine`
      findings.push(warning(name, message, fix))
    } else findings.push(failure(name, `a header of the client sets ${name}`, fix))
  }
  const { report: secure } = (await asker.ask('/forged', {
    headers: { 'X-Forwarded-Proto': 'https', 'X-Forwarded-Ssl': 'on', 'Front-End-Https': 'on' },
  })) as { report?: { scheme: string } }
  if (secure?.scheme === 'https' && asker.url.startsWith('http:')) {
    findings.push(
      warning(
        'HTTPS',
        'X-Forwarded-Proto of a client makes wsgi.url_scheme https, at least for requests from this machine',
        fixFor('HTTPS', server),
      ),
    )
  }
  if (findings.length === 0) findings.push(ok('forging', 'no header sets a trustworthy variable'))
  return findings
}
