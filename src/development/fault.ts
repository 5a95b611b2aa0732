/** The page for an application that does not load. */
import { inspect } from 'node:util'
import { ErrorLog } from '../request/error-log.ts'
import { errorPage } from '../middleware/error-page.ts'
import type { Application } from '../types.ts'

/** Written by `errorPage` for each request; the error has been logged once already. */
const NOWHERE = new ErrorLog(() => {})

/** Responds to every request with the error, to browsers on this machine only. */
export function faultPage(text: string): Application {
  const page = errorPage(
    () => {
      throw new Fault(text)
    },
    { development: true },
  )
  return (environ, startResponse) => {
    environ['wsgi.errors'] = NOWHERE
    try {
      return page(environ, startResponse)
    } catch {
      // The page throws for another machine and over a Unix socket. The handler would log it again.
      startResponse('500 Internal Server Error', [['Content-Type', 'text/plain']])
      return ['The application does not load. The terminal of portico serve shows the error.\n']
    }
  }
}

/** Its inspection is the text of the error that it stands for. */
class Fault extends Error {
  [inspect.custom](): string {
    return this.message
  }
}
