/**
 * What a TestApp does between requests: cookies and redirects, through any of the clients of this
 * folder. From the side of a browser.
 */
import { PeerError } from '../errors.ts'
import {
  type Client,
  mountedTarget,
  type TestRequest,
  type TestResponse,
  valuesOf,
} from './client.ts'
import { Cookies } from './cookies.ts'
import { TestCall } from './test-request.ts'

export interface TestSessionOptions {
  /** Where the client mounts the application: Location and cookies have it in their paths. */
  readonly mount?: string | undefined
  /** Where absolute redirects may lead. Default `http://127.0.0.1`. */
  readonly origin?: string | undefined
}

/** Requests through a client, with the cookies of the earlier answers. */
export class TestSession {
  readonly #client: Client
  readonly #mount: string
  readonly #origin: string
  readonly #cookies = new Cookies()

  constructor(client: Client, options: TestSessionOptions = {}) {
    this.#client = client
    this.#mount = options.mount ?? ''
    this.#origin = new URL(options.origin ?? 'http://127.0.0.1').origin
  }

  /** @param target the raw request target below the mount point. */
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

  /** Closes the client. */
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
        const message = `More than ${redirects} redirects, the last one to ${location}`
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

  /** RFC 9110, section 15.4: after a POST browsers go on with GET, save for 307 and 308. */
  #redirected(request: TestRequest, status: string, location: string): TestRequest {
    const url = new URL(location, this.#url(request.target))
    const path = url.pathname
    const inside = path === this.#mount || path.startsWith(`${this.#mount}/`)
    if (url.origin !== this.#origin || !inside) {
      throw new PeerError('PORTICO_PROTOCOL', `A redirect leads elsewhere: ${location}`)
    }
    const target = path.slice(this.#mount.length) + url.search
    const { method = 'GET', headers = [], body } = request
    const keep = /^30[78]/.test(status) || method === 'GET' || method === 'HEAD'
    if (keep) return { method, target, headers, ...(body === undefined ? {} : { body }) }
    return { method: 'GET', target, headers: headers.filter(([name]) => !/^content-/i.test(name)) }
  }

  #url(target: string): URL {
    const path = mountedTarget(target, this.#mount).replace(AUTHORITY, '')
    return new URL(this.#origin + (path.startsWith('/') ? path : '/'))
  }
}

/** Of a target in absolute form (RFC 9112, section 3.2.2). */
const AUTHORITY = /^[a-z][a-z0-9+.-]*:\/\/[^/?#]*/i

const REDIRECT = /^30[12378]/
