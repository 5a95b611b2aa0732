/** The start of a bundle for mod_fcgid: FastCGI on the socket of descriptor 0, or a CGI script. */
import { run } from '../../handlers/auto.ts'
import { applicationOf, later, takeRun } from './find.ts'

export function serve(
  loaded: object,
  { listening }: { readonly listening?: Promise<unknown> },
): void {
  const { application, options } = applicationOf(loaded, listening)
  takeRun() // The program's own run() is over.
  void run(later(application), options)
}
