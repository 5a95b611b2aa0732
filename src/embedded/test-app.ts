/** `TestApp`: requests to an application in the same process, with cookies and expectations. */
import type { Runnable } from '../application/to-application.ts'
import { IN_PROCESS_OPTIONS, inProcessClient, type InProcessOptions } from './in-process.ts'
import { checkNames } from '../options/names.ts'
import type { Client } from '../testing/client.ts'
import { SESSION_OPTIONS, TestSession, type TestSessionOptions } from '../testing/test-session.ts'

/**
 * Sends requests to an application as a browser would:
 *
 *     await new TestApp(application).get('/x').expect(200).expect('Content-Type', /^text/)
 *
 * Cookies are kept from request to request. The application runs in this process, validated.
 */
export class TestApp extends TestSession {
  /** @throws {ConfigurationError} for an unknown option. */
  constructor(application: Runnable, options: InProcessOptions & TestSessionOptions = {}) {
    checkNames('TestApp', options ?? {}, [...IN_PROCESS_OPTIONS, ...SESSION_OPTIONS])
    super(inProcessClient(application, options), options)
  }

  /** The same through a client for a running gateway: FastCGI, SCGI, CGI or HTTP. */
  static over(client: Client, options: TestSessionOptions = {}): TestSession {
    checkNames('TestApp.over', options ?? {}, SESSION_OPTIONS)
    return new TestSession(client, options)
  }
}
