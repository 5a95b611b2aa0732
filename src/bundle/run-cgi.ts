/** The start of a CGI bundle: one request, then the process ends. */
import { CGIHandler } from '../../handlers/cgi.ts'
import { separateResponse } from '../request/printed-output.ts'
import { applicationOf, later } from './find.ts'

separateResponse()

export interface Program {
  /** Resolves to the first server that the program lets listen; absent if it never does. */
  readonly listening?: Promise<unknown>
}

/** Runs the program for the request of this process. */
export function serve(loaded: object, { listening }: Program): void {
  const { application, options } = applicationOf(loaded, listening)
  void new CGIHandler(options).run(later(application))
}
