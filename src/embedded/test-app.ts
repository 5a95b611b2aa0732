/** `TestApp`: requests to an application in the same process, with cookies and expectations. */
import type { Runnable } from '../application/to-application.ts'
import { inProcessClient, type InProcessOptions } from './in-process.ts'
import type { Client } from '../testing/client.ts'
import { TestSession, type TestSessionOptions } from '../testing/test-session.ts'

/**
 * Sends requests to an application as a browser would:
 *
 *     await new TestApp(application).get('/x').expect(200).expect('Content-Type', /^text/)
 *
 * Cookies are kept from request to request. The application runs in this process, validated.
 */
export class TestApp extends TestSession {
  constructor(application: Runnable, options: InProcessOptions & TestSessionOptions = {}) {
    super(inProcessClient(application, options), options)
  }

  /** The same through a client for a running gateway: FastCGI, SCGI, CGI or HTTP. */
  static over(client: Client, options: TestSessionOptions = {}): TestSession {
    return new TestSession(client, options)
  }
}
