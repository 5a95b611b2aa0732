/** Request bodies, streams, statuses, methods and paths through the web server. */
import { type Asker, TIMEOUT } from './ask.ts'
import { failure, type Finding, ok, warning } from './finding.ts'
import { fixFor, type Problem } from './fixes.ts'
import type { ServerName } from './front.ts'

/** A stream whose parts arrive this close together was buffered, in ms; application.ts pauses for 700. */
const STREAM_GAP = 350

/** Larger than what web servers accept by default: nginx 1 MiB, mod_fcgid 128 KiB. */
const UPLOAD = 2 * 1024 * 1024

/** Requests in a row; one of two applications that has ended fails every other one. */
const REPEATS = 6

/** @param hasQueries whether QUERY_STRING arrives */
export async function examineTransfers(
  asker: Asker,
  url: URL,
  server: ServerName | undefined,
  hasQueries: boolean,
): Promise<Finding[]> {
  return [
    ...(await examineBodies(asker, server)),
    ...(await examinePaths(asker, url, server)),
    ...(await examineResponses(asker, server)),
    // The application reads in the query what it should do.
    ...(hasQueries ? await examineErrors(asker, server) : []),
    ...(hasQueries ? [await examineStreaming(asker, server)] : []),
  ]
}

async function examineBodies(asker: Asker, server: ServerName | undefined): Promise<Finding[]> {
  const findings: Finding[] = []
  const small = await asker.ask('/body', { method: 'POST', body: 'a=1' })
  if ('finding' in small) {
    const { message, fix } = small.finding
    findings.push(failure('body', `a POST fails: ${message}`, fix))
    return findings
  }
  if (small.report.size !== 3) {
    const message = `${small.report.size} of the 3 bytes of a request body arrive`
    findings.push(failure('body', message, fixFor('body', server)))
    return findings
  }
  findings.push(ok('body', 'a request body arrives'))
  const large = await asker.ask('/body', { method: 'POST', body: new Uint8Array(UPLOAD) })
  if ('finding' in large) {
    const message = `a body of ${UPLOAD / 1024 / 1024} MiB is refused: ${large.finding.message}`
    findings.push(warning('uploads', message, fixFor('body limit', server)))
  } else if (large.report.size !== UPLOAD) {
    const message = `${large.report.size} of the ${UPLOAD} bytes of a request body arrive`
    findings.push(failure('uploads', message, fixFor('body', server)))
  }
  const chunked = await asker.ask('/chunked', {
    method: 'POST',
    body: new Blob(['a=1']).stream(),
    duplex: 'half',
  })
  if ('finding' in chunked) {
    const message = `a chunked request body is refused: ${chunked.finding.message}`
    findings.push(warning('chunked', message, fixFor('chunked', server)))
  } else if (chunked.report.size !== 3) {
    const message = `${chunked.report.size} of the 3 bytes of a chunked request body arrive`
    findings.push(failure('chunked', message, fixFor('chunked', server)))
  }
  return findings
}

/** %2F in a path, and the mount point without a slash. */
async function examinePaths(
  asker: Asker,
  url: URL,
  server: ServerName | undefined,
): Promise<Finding[]> {
  const findings: Finding[] = []
  const encoded = await asker.ask('/a%2Fb')
  if ('finding' in encoded) {
    const message = `a path with %2F does not reach the application (${encoded.status})`
    findings.push(warning('%2F', message, fixFor('encoded slash', server)))
  } else if (
    encoded.report.gateway === 'http' &&
    !/a%2fb$/i.test(encoded.report.environ['REQUEST_URI'] ?? '')
  ) {
    const message = 'the web server decodes %2F, so the application gets another path'
    findings.push(warning('%2F', message, fixFor('encoded slash', server)))
  }
  if (url.pathname === '' || url.pathname === '/') return findings
  const bare = await asker.ask('')
  if (bare.status >= 300 && bare.status < 400) {
    const message = `${url.pathname} is redirected to another path by the web server (${bare.status})`
    findings.push(warning('mount', message, fixFor('slash at the mount', server)))
  } else if ('finding' in bare) {
    const message = `${url.pathname} without a path after it does not reach the application (${bare.status})`
    findings.push(warning('mount', message, fixFor('slash at the mount', server)))
  }
  return findings
}

/** Caches, methods, and whether every request succeeds. */
async function examineResponses(asker: Asker, server: ServerName | undefined): Promise<Finding[]> {
  const findings: Finding[] = []
  const add = (check: string, message: string, problem: Problem): void =>
    void findings.push(warning(check, message, fixFor(problem, server)))
  const again = [await asker.ask('/cache?n=1'), await asker.ask('/cache?n=1')]
  const ids = again.map((each) => ('report' in each ? each.report.id : undefined))
  if (ids[0] !== undefined && ids[0] === ids[1]) {
    findings.push(
      failure(
        'cache',
        'two requests get one response: it comes from a cache',
        fixFor('cache', server),
      ),
    )
  }
  const refused: string[] = []
  for (const method of ['PUT', 'PATCH', 'DELETE']) {
    const result = await asker.ask('/method', { method })
    if ('finding' in result) refused.push(method)
  }
  if (refused.length > 0) {
    add('methods', `${refused.join(', ')} requests do not reach the application`, 'methods')
  }
  let failed = 0
  for (let at = 0; at < REPEATS; at++) {
    const result = await asker.ask(`/again?${at}`)
    if ('finding' in result) failed++
  }
  if (failed > 0) {
    const message = `${failed} of ${REPEATS} requests fail: one of several applications has ended`
    findings.push(failure('application', message, fixFor('start', server)))
  }
  return findings
}

async function examineErrors(asker: Asker, server: ServerName | undefined): Promise<Finding[]> {
  const error = await asker.ask('/error?error')
  if ('report' in error && error.status === 422) return []
  const message = "the web server replaces the application's own error pages"
  return [warning('error pages', message, fixFor('error pages', server))]
}

/** Whether the parts of a response arrive when they are sent. */
async function examineStreaming(asker: Asker, server: ServerName | undefined): Promise<Finding> {
  let encoding = ''
  try {
    const response = await fetch(`${asker.url}/stream?stream`, {
      signal: AbortSignal.timeout(TIMEOUT),
    })
    encoding = response.headers.get('content-encoding') ?? ''
    let first = 0
    for await (const _ of response.body ?? []) first ||= performance.now()
    if (first > 0 && performance.now() - first >= STREAM_GAP) {
      return ok('streaming', 'the parts of a response arrive when they are sent')
    }
  } catch {
    return warning('streaming', 'the stream was aborted', 'look at the error log of the web server')
  }
  if (encoding !== '') {
    const message = `events arrive together at the end, compressed (${encoding})`
    return warning('gzip', message, fixFor('gzip', server))
  }
  const message = 'the parts of a response arrive together at its end'
  return warning('streaming', message, fixFor('streaming', server))
}
