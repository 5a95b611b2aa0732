/** `TestApp`: requests to an application in the same process, with cookies and expectations. */
import type { Runnable } from '../application/to-application.ts'
import { inProcessClient, type InProcessOptions } from './in-process.ts'
import { checkClientOptions, VARIABLES } from '../testing/check-options.ts'
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
  /** @throws {ConfigurationError} for an unknown option, or a value of the wrong kind. */
  constructor(application: Runnable, options: InProcessOptions & TestSessionOptions = {}) {
    checkClientOptions('TestApp', options, [...VARIABLES, 'validate', 'origin'])
    const { origin, ...others } = options
    super(inProcessClient(application, others), { origin, mount: options.mount })
  }

  /** The same through a client for a running gateway: FastCGI, SCGI, CGI or HTTP. */
  static over(client: Client, options: TestSessionOptions = {}): TestSession {
    checkClientOptions('TestApp.over', options, ['mount', 'origin'])
    return new TestSession(client, options)
  }
}
