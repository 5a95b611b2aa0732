/** The variables of a request as a client sends them: those of a web server, and changes to them. */
import { cgiVariables, type CgiServer } from './cgi-variables.ts'
import type { TestRequest } from './client.ts'
import type { ConnectTarget } from './server-address.ts'
import { serverVariables, type ServerName, type VariableGateway } from './web-servers/servers.ts'

export type Variables = [name: string, value: string][]

export interface VariableOptions extends CgiServer {
  /** Sends what this web server sends with its default configuration, instead of what is right. */
  readonly as?: ServerName | undefined
  /**
   * More variables, as with `fastcgi_param`, `scgi_param` and `SetEnv`. They replace those of the
   * same name; undefined removes one.
   */
  readonly variables?: Readonly<Record<string, string | undefined>> | undefined
}

/** Where the variables go. */
export interface Destination {
  readonly gateway: VariableGateway
  readonly address?: ConnectTarget | undefined
}

/** @throws {ConfigurationError} if the web server would not pass such a request on. */
export function variablesFor(
  request: TestRequest,
  options: VariableOptions,
  destination: Destination,
): Variables {
  const { as, variables: given = {} } = options
  const variables =
    as === undefined
      ? cgiVariables(request, options)
      : serverVariables(as, request, options, destination)
  const kept = variables.filter(([name]) => !Object.hasOwn(given, name))
  for (const [name, value] of Object.entries(given)) {
    if (value !== undefined) kept.push([name, value])
  }
  return kept
}
