/** An environ for tests (wsgiref.util). */
import { createEnviron } from '../environ/environ.ts'
import { ErrorLog } from '../request/error-log.ts'
import { emptySource, Input } from '../request/input.ts'
import { FileWrapper } from '../response/file-wrapper.ts'
import type { Environ } from '../types.ts'
import { guessScheme } from './uri.ts'

/**
 * Adds what every environ has, with made-up values, and returns the environ. Keys that are present
 * stay as they are. Without an argument it makes an environ. Use it for tests only.
 *
 * `String(environ['wsgi.errors'])` is the text that was written there.
 */
export function setupTestingDefaults(environ: Partial<Environ> = createEnviron()): Environ {
  const mounted = 'SCRIPT_NAME' in environ
  const defaults = (values: Partial<Environ>) => {
    for (const key in values) if (!(key in environ)) environ[key] = values[key]
  }
  defaults({ SERVER_NAME: '127.0.0.1', 'wsgi.url_scheme': guessScheme(environ) })
  defaults({
    REQUEST_METHOD: 'GET',
    SCRIPT_NAME: '',
    PATH_INFO: mounted ? '' : '/',
    QUERY_STRING: '',
    SERVER_PORT: environ['wsgi.url_scheme'] === 'https' ? '443' : '80',
    SERVER_PROTOCOL: 'HTTP/1.0',
    HTTP_HOST: environ.SERVER_NAME,
    'wsgi.version': [1, 0],
    'wsgi.input': new Input(emptySource),
    'wsgi.errors': new MemoryErrors(),
    'wsgi.multithread': false,
    'wsgi.multiprocess': false,
    'wsgi.run_once': false,
    'wsgi.input_terminated': true,
    'wsgi.file_wrapper': FileWrapper,
    'portico.gateway': 'http',
  })
  if (environ['portico.signal'] === undefined) {
    // Defined, because an environ of `createEnviron` inherits an accessor.
    const { signal } = new AbortController()
    Object.defineProperty(environ, 'portico.signal', {
      value: signal,
      configurable: true,
      enumerable: true,
      writable: true,
    })
  }
  return environ as Environ
}

/** An error stream that keeps its text. */
class MemoryErrors extends ErrorLog {
  #text = ''

  constructor() {
    super((text) => {
      this.#text += text
    })
  }

  override toString(): string {
    return this.#text
  }
}
