/** Requests with cookies and redirects, as a browser sends them, through any client. */
import { PeerError } from '../errors.ts'
import { valuesOf } from '../response/cgi-response.ts'
import { checkClientOptions } from './check-options.ts'
import { percentEncode } from '../text.ts'
import { type Client, mountedTarget, type TestRequest, type TestResponse } from './client.ts'
import { Cookies } from './cookies.ts'
import { TestCall } from './test-request.ts'

export interface TestSessionOptions {
  /** The mount point of the application, which paths of Location and cookies include. */
  readonly mount?: string | undefined
  /** The origin to which absolute redirects may lead. Default `http://127.0.0.1`. */
  readonly origin?: string | undefined
}

/** Sends requests through a client, with the cookies of earlier responses. */
export class TestSession {
  readonly #client: Client
  readonly #mount: string
  readonly #origin: string
  readonly #cookies: Cookies

  /** @throws {ConfigurationError} for an unknown option, or a value of the wrong kind. */
  constructor(client: Client, options: TestSessionOptions = {}) {
    checkClientOptions('TestSession', options, ['mount', 'origin'])
    this.#client = client
    this.#mount = options.mount ?? ''
    const origin = new URL(options.origin ?? 'http://127.0.0.1')
    this.#origin = origin.origin
    this.#cookies = new Cookies(origin)
  }

  /** @param target the request target below the mount point, not decoded. */
  request(method: string, target: string): TestCall {
    return new TestCall((request, redirects) => this.#send(request, redirects), method, target)
  }

  get(target: string): TestCall {
    return this.request('GET', target)
  }

  head(target: string): TestCall {
    return this.request('HEAD', target)
  }

  post(target: string): TestCall {
    return this.request('POST', target)
  }

  put(target: string): TestCall {
    return this.request('PUT', target)
  }

  patch(target: string): TestCall {
    return this.request('PATCH', target)
  }

  delete(target: string): TestCall {
    return this.request('DELETE', target)
  }

  options(target: string): TestCall {
    return this.request('OPTIONS', target)
  }

  close(): Promise<void> {
    return this.#client.close()
  }

  async #send(first: TestRequest, redirects: number): Promise<TestResponse> {
    let request = first
    for (let left = redirects; ; left -= 1) {
      const response = await this.#once(request)
      const [location] = valuesOf(response.headers, 'Location')
      if (redirects === 0 || location === undefined || !REDIRECT.test(response.status)) {
        return response
      }
      if (left === 0) {
        const message = `More than ${redirects} redirects, the last to ${location}`
        throw new PeerError('PORTICO_PROTOCOL', message)
      }
      request = this.#redirected(request, response.status, location)
    }
  }

  async #once(request: TestRequest): Promise<TestResponse> {
    const path = this.#url(request.target).pathname
    const cookie = this.#cookies.header(path)
    const headers = [...(request.headers ?? [])]
    if (cookie !== '' && valuesOf(headers, 'Cookie').length === 0) headers.push(['Cookie', cookie])
    const response = await this.#client.request({ ...request, headers })
    for (const line of valuesOf(response.headers, 'Set-Cookie')) this.#cookies.store(line, path)
    return response
  }

  /** As in browsers (Fetch Standard, "HTTP-redirect fetch"): 303 becomes a GET; 301 and 302 do for POST. */
  #redirected(request: TestRequest, status: string, location: string): TestRequest {
    // Bytes beyond ASCII stay as they are, as in Chromium; a URL would take them for characters.
    const ascii = percentEncode(location, /[\x80-\xff]/g)
    const url = new URL(ascii, this.#url(request.target))
    const path = url.pathname
    const inside = path === this.#mount || path.startsWith(`${this.#mount}/`)
    if (url.origin !== this.#origin || !inside) {
      throw new PeerError(
        'PORTICO_PROTOCOL',
        `A redirect leads outside the application: ${location}`,
      )
    }
    const target = path.slice(this.#mount.length) + url.search
    const { method = 'GET', headers = [], body } = request
    const isPost = method === 'POST' && /^30[12]/.test(status)
    const keep = method === 'GET' || method === 'HEAD' || !(isPost || status.startsWith('303'))
    if (keep) return { method, target, headers, ...(body === undefined ? {} : { body }) }
    return { method: 'GET', target, headers: headers.filter(([name]) => !/^content-/i.test(name)) }
  }

  #url(target: string): URL {
    const path = mountedTarget(target, this.#mount).replace(AUTHORITY, '')
    return new URL(this.#origin + (path.startsWith('/') ? path : '/'))
  }
}

/** The authority of a target in absolute form (RFC 9112, section 3.2.2). */
const AUTHORITY = /^[a-z][a-z0-9+.-]*:\/\/[^/?#]*/i

const REDIRECT = /^30[12378]/
