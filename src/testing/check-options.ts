/** Checks the options of clients: a misspelt one would silently test something else. */
import { ConfigurationError } from '../errors.ts'
import { checkRows, type ValueRow } from '../options/check-row.ts'
import { MAX_TIME } from '../options/row.ts'
import { refuse } from '../options/values.ts'
import type { ClientOptions } from './client.ts'
import type { VariableOptions } from './variables.ts'
import { SERVER_NAMES } from './web-servers/servers.ts'

const PORT = { kind: 'count', range: [0, 65_535] } as const
const TEXT = { kind: 'text' } as const

/** The options of all clients. Those that are 'special' are checked below. */
const ROWS = {
  as: { kind: 'choice', choices: SERVER_NAMES },
  command: { kind: 'special' },
  cwd: TEXT,
  documentRoot: TEXT,
  https: { kind: 'switch' },
  keepConn: { kind: 'switch' },
  mount: { kind: 'special' },
  origin: { kind: 'special' },
  remoteAddr: TEXT,
  remotePort: PORT,
  role: { kind: 'choice', choices: ['responder', 'authorizer'] },
  scriptFilename: TEXT,
  serverAddr: TEXT,
  serverName: TEXT,
  serverPort: PORT,
  serverProtocol: TEXT,
  serverSoftware: TEXT,
  stdio: { kind: 'choice', choices: ['pipes', 'socket'] },
  timeout: { kind: 'time', range: [1, MAX_TIME], noLimit: Infinity },
  validate: { kind: 'switch' },
  variables: { kind: 'special' },
} as const satisfies Readonly<Record<string, ValueRow>>

type Name = keyof typeof ROWS

/** The names of an interface: the compiler finds one that is missing. */
const namesOf = <Options>(names: Readonly<Record<keyof Options & Name, true>>): readonly Name[] =>
  Object.keys(names) as Name[]

/** The names of `ClientOptions`. */
export const CLIENT = namesOf<ClientOptions>({ mount: true, timeout: true })

/** The names of `VariableOptions`. */
export const VARIABLES = namesOf<VariableOptions>({
  as: true,
  documentRoot: true,
  https: true,
  mount: true,
  remoteAddr: true,
  remotePort: true,
  scriptFilename: true,
  serverAddr: true,
  serverName: true,
  serverPort: true,
  serverProtocol: true,
  serverSoftware: true,
  variables: true,
})

/**
 * @param where the function or class, for messages.
 * @throws {ConfigurationError} for an unknown name, a value of the wrong kind or one out of range.
 */
export function checkClientOptions(where: string, options: object, names: readonly Name[]): void {
  checkRows(
    where,
    Object.fromEntries(names.map((name) => [name, { help: '', ...ROWS[name] }])),
    options,
  )
  const { command, mount = '', origin, variables = {} } = options as Partial<Record<Name, unknown>>
  if (typeof mount !== 'string' || !/^(?:\/[\w.~!$&'()*+,;=:@-]+)*$/.test(mount)) {
    refuse(where, 'mount', mount, "'' or a path without a slash at its end, '/shop' for example")
  }
  if (origin !== undefined && !isOrigin(origin)) {
    refuse(where, 'origin', origin, "an origin, 'https://shop.example' for example")
  }
  if (!isVariables(variables)) {
    refuse(
      where,
      'variables',
      variables,
      "an object of strings, { REMOTE_USER: 'ada' } for example",
    )
  }
  if (names.includes('command') && !isCommand(command)) {
    throw new ConfigurationError(
      `${where}: command must be an array of a program and its arguments, ['/usr/bin/node', 'app.js'] for example`,
    )
  }
}

function isOrigin(origin: unknown): boolean {
  return typeof origin === 'string' && URL.canParse(origin) && /^https?:\/\//i.test(origin)
}

/** Undefined removes a variable. */
function isVariables(variables: unknown): boolean {
  return (
    typeof variables === 'object' &&
    variables !== null &&
    !Array.isArray(variables) &&
    Object.values(variables).every((value) => value === undefined || typeof value === 'string')
  )
}

function isCommand(command: unknown): boolean {
  return (
    Array.isArray(command) &&
    command.length > 0 &&
    command.every((word) => typeof word === 'string')
  )
}
