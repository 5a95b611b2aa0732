/** HAProxy 2.6 with `fcgi-app` and its required `docroot`, without `path-info`. */
import { basicUser, variableOf } from './sent-request.ts'
import { decoded } from '../path.ts'
import type { SentRequest, Variables } from './sent-request.ts'

export const HAPROXY_SOFTWARE = 'HAProxy 2.6.12'

/** Authorization is passed on only with `pass-header`. */
const DROPPED = new Set(['authorization', 'connection', 'keep-alive', 'proxy', 'te', 'upgrade'])

export function haproxyVariables(request: SentRequest, software: string): Variables {
  const { documentRoot, length } = request
  // Decoded, but not normalised.
  const path = decoded(request.rawPath)
  const user = basicUser(request)
  const host = request.headers.find(([name]) => name.toLowerCase() === 'host')![1]
  return [
    ...headerVariables(request),
    ...(user === undefined
      ? []
      : ([
          ['AUTH_TYPE', 'Basic'],
          ['REMOTE_USER', user],
        ] as Variables)),
    ['GATEWAY_INTERFACE', 'CGI/1.1'],
    ['DOCUMENT_ROOT', documentRoot],
    ['SCRIPT_NAME', path],
    ['REQUEST_URI', request.target],
    ['REQUEST_METHOD', request.method],
    ...(request.query === '' ? [] : ([['QUERY_STRING', request.query]] as Variables)),
    ['SERVER_NAME', host],
    ['SERVER_PORT', request.serverPort],
    ['SERVER_PROTOCOL', request.serverProtocol],
    ['REMOTE_ADDR', request.remoteAddr],
    ['REMOTE_PORT', request.remotePort],
    ['SCRIPT_FILENAME', documentRoot + path],
    ...(length === undefined ? ([['CONTENT_LENGTH', '0']] as Variables) : []),
    ['SERVER_SOFTWARE', software],
  ]
}

/** Names with other characters are dropped, and each repeated header is a variable of its own. */
function headerVariables(request: SentRequest): Variables {
  const variables: Variables = []
  for (const [name, value] of request.headers) {
    if (!/^[a-z0-9-]+$/i.test(name) || DROPPED.has(name.toLowerCase())) continue
    const variable = variableOf(name)
    const own = variable === 'HTTP_CONTENT_TYPE' || variable === 'HTTP_CONTENT_LENGTH'
    variables.push([own ? variable.slice('HTTP_'.length) : variable, value])
  }
  return variables
}
