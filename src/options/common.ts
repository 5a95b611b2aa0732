/**
 * The options that every handler has, CGIHandler included. They are in a file of their own, so that
 * a CGI script with options loads only these.
 */
import { checkRows } from './check-row.ts'
import { MAX_TIME } from './row.ts'

export const COMMON = {
  responseTimeout: {
    kind: 'time',
    default: 0,
    range: [0, MAX_TIME],
    noLimit: 0,
    help: 'time for the whole response',
    more: 'After that the response is a 504, or the connection closes if the headers were sent',
  },
  scriptName: {
    kind: 'text',
    help: 'the mount point, such as /app, if the web server does not send it',
    more: 'Over HTTP it is removed from the front of the path',
  },
  pathInfo: {
    kind: 'choice',
    default: 'auto',
    choices: ['auto', 'as-is', 'from-uri'],
    help: 'where SCRIPT_NAME and PATH_INFO come from',
    more: '`auto` corrects known bugs of web servers, `as-is` trusts the server, and `from-uri` decodes REQUEST_URI',
  },
  osEnviron: {
    kind: 'variables',
    help: 'variables for every request',
    more: 'A variable of the request with the same name overrides it',
  },
  multiprocess: {
    kind: 'switch',
    default: false,
    help: 'whether several processes run the application',
    more: 'It is `wsgi.multiprocess` of the environ',
  },
  validate: {
    kind: 'switch',
    default: false,
    help: 'whether the validator checks the application, for development',
    more: 'It logs each violation of the contract, and the response is a 500. It does not check applications of frameworks',
  },
} as const

/**
 * Checks the options of a handler that has no others.
 *
 * @throws {ConfigurationError} for an unknown name, and for a value of the wrong kind or out of range.
 */
export function checkCommonOptions(where: string, options: object): void {
  checkRows(where, COMMON, options)
}
