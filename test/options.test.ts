import { describe, expect, test } from 'vitest'
import { FastCGIHandler } from '../handlers/fastcgi.ts'
import { HTTPHandler, type HTTPOptions } from '../handlers/http.ts'
import { makeServer } from '../handlers/make-server.ts'
import { SCGIHandler } from '../handlers/scgi.ts'
import { checkOptions, optionsFromEnvironment } from '../src/options/check.ts'
import { ConfigurationError } from '../src/errors.ts'
import { checkNames } from '../src/options/names.ts'
import { flagOf, variableOf } from '../src/options/row.ts'
import {
  defaultOf,
  namesOf,
  OPTION_NAMES,
  rowOf,
  type OptionName,
  type OptionSet,
} from '../src/options/table.ts'

const SETS: OptionSet[] = ['cgi', 'fastcgi', 'scgi', 'http', 'node-fastcgi', 'run']

describe('checkNames()', () => {
  const names = ['listen', 'multiplex', 'maxHeaders', 'maxHeaderBytes']

  test.each([
    ['multiplx', 'multiplex'],
    ['Listen', 'listen'],
    ['lsiten', 'listen'],
    ['maxHeader', 'maxHeaders'],
    ['maxHeaderByte', 'maxHeaderBytes'],
  ])('suggests the nearest name for %s', (given, nearest) => {
    expect(() => checkNames('f()', { [given]: 1 }, names)).toThrow(
      new ConfigurationError(`f(): unknown option '${given}'. Did you mean '${nearest}'?`),
    )
  })

  test.each(['port', '', '__proto__', 'toString', 'x'.repeat(1000)])(
    'lists all names for %j, which is near none of them',
    (given) => {
      expect(() => checkNames('f()', Object.fromEntries([[given, 1]]), names)).toThrow(
        `f(): unknown option '${given}'. The names are ${names.join(', ')}`,
      )
    },
  )

  test('accepts the names that are listed, and an empty object', () => {
    checkNames('f()', { listen: undefined, multiplex: 1 }, names)
    checkNames('f()', {}, [])
  })
})

describe('checkOptions()', () => {
  test.each(SETS)('accepts the defaults of %s', (set) => {
    checkOptions(set, Object.fromEntries(namesOf(set).map((name) => [name, defaultOf(name, set)])))
  })

  test('refuses an option that the gateway does not have, and names the gateways that have it', () => {
    for (const name of OPTION_NAMES) {
      for (const set of SETS.filter((it) => it !== 'run' && !rowOf(name).of.includes(it))) {
        expect(() => checkOptions(set, { [name]: defaultOf(name, 'http') ?? 1 })).toThrow(
          new RegExp(`^${name} is an option of .*, not of `),
        )
        checkOptions(set, { [name]: undefined })
      }
    }
  })

  const MAX_TIME = 2 ** 31 - 1
  test.each<[string, string, unknown, string]>([
    [
      'a negative time',
      'shutdownTimeout',
      -1,
      `-1 is not accepted; it is a whole number from 0 to ${MAX_TIME}`,
    ],
    ['a fraction', 'shutdownTimeout', 0.5, '0.5 is not accepted; it is a whole number'],
    ['NaN', 'maxConnections', Number.NaN, 'NaN is not accepted; it is a whole number from 1 to '],
    [
      'text',
      'headersTimeout',
      '5s',
      `"5s" is not accepted; it is a whole number from 1 to ${MAX_TIME}, or Infinity for no limit`,
    ],
    ['Infinity without that meaning', 'responseTimeout', Infinity, 'Infinity is not accepted'],
    ['a time that a timer cannot hold', 'idleTimeout', MAX_TIME + 1, '2147483648 is not accepted'],
    ['no number', 'backlog', 0, '0 is not accepted; it is a whole number from 1 to '],
    ['a word for a switch', 'validate', 'yes', '"yes" is not accepted; it is true or false'],
    ['null for a switch', 'validate', null, 'null is not accepted; it is true or false'],
    [
      'an unknown choice',
      'pathInfo',
      'asis',
      `"asis" is not accepted; it is one of auto, as-is, from-uri. Did you mean 'as-is'?`,
    ],
    ['a number for text', 'scriptName', 5, '5 is not accepted; it is a string'],
  ])('refuses %s', (_, name, value, message) => {
    expect(() => checkOptions('http', { [name]: value })).toThrow(ConfigurationError)
    expect(() => checkOptions('http', { [name]: value })).toThrow(`${name}: ${message}`)
  })

  test.each([0, -1, 1.5, Number.NaN])('refuses a backlog of %d', (backlog) => {
    expect(() => checkOptions('scgi', { backlog })).toThrow('backlog: ')
  })

  test.each([
    ['headersTimeout', Infinity],
    ['maxHeaders', Infinity],
    ['responseTimeout', 0],
    ['serverSoftware', null],
    ['maxHeaders', undefined],
  ])('accepts %s: %s', (name, value) => {
    checkOptions('http', { [name]: value })
  })
})

const misspelt = { listen: '127.0.0.1:0', validat: false }

test.each([
  ['FastCGI', FastCGIHandler],
  ['SCGI', SCGIHandler],
  ['HTTP', HTTPHandler],
])('a server of %s does not start with a misspelt option', async (label, Handler) => {
  await expect(new Handler(misspelt).run(() => [])).rejects.toThrow(
    new ConfigurationError(`${label}: unknown option 'validat'. Did you mean 'validate'?`),
  )
})

test.each([
  [SCGIHandler, 'multiplex'],
  [FastCGIHandler, 'serverSoftware'],
  [HTTPHandler, 'multiplex'],
])('%o does not start with an option of another gateway', async (Handler, name) => {
  const options = { listen: '127.0.0.1:0', [name]: null }
  await expect(new Handler(options).run(() => [])).rejects.toThrow(`${name} is an option of `)
})

test('makeServer refuses a misspelt option', async () => {
  const options = { maxConections: 1 } as HTTPOptions
  await expect(makeServer('127.0.0.1', 0, () => [], options).start()).rejects.toThrow(
    "HTTP: unknown option 'maxConections'. Did you mean 'maxConnections'?",
  )
})

const derived = (name: OptionName) => [variableOf(name, rowOf(name)), flagOf(name, rowOf(name))]

describe('Environment variables', () => {
  test.each<[OptionName, string | undefined, string | undefined]>([
    ['shutdownTimeout', 'PORTICO_SHUTDOWN_TIMEOUT', '--shutdown-timeout'],
    ['exitOnUncaughtError', 'PORTICO_EXIT_ON_UNCAUGHT_ERROR', '--exit-on-uncaught-error'],
    ['mode', 'PORTICO_SOCKET_MODE', '--socket-mode'],
    ['osEnviron', undefined, undefined],
    ['requestHandler', undefined, undefined],
  ])('The variable and the flag of %s are %s and %s', (name, variable, flag) => {
    expect(derived(name)).toEqual([variable, flag])
  })

  test('No two options share a variable or a flag', () => {
    const all = OPTION_NAMES.flatMap(derived).filter((it) => it !== undefined)
    expect(new Set(all).size).toBe(all.length)
  })

  test.each<[string, string, unknown]>([
    ['PORTICO_SHUTDOWN_TIMEOUT', '500', { shutdownTimeout: 500 }],
    ['PORTICO_HEADERS_TIMEOUT', 'Infinity', { headersTimeout: Infinity }],
    ['PORTICO_VALIDATE', 'true', { validate: true }],
    ['PORTICO_VALIDATE', 'false', { validate: false }],
    ['PORTICO_PATH_INFO', 'as-is', { pathInfo: 'as-is' }],
    ['PORTICO_SOCKET_GROUP', 'www-data', { group: 'www-data' }],
    ['PORTICO_ALLOWED_CLIENTS', '::1, 10.0.0.0/8', { allowedClients: '::1, 10.0.0.0/8' }],
    ['PORTICO_MAX_CONNECTIONS', '', {}],
    ['PORTICO_MULTIPLEX', 'false', {}],
    ['PORTICO_OS_ENVIRON', '{}', {}],
  ])('%s=%s gives HTTP the options %j', (name, text, expected) => {
    expect(optionsFromEnvironment('http', { [name]: text })).toEqual(expected)
  })

  test.each([
    ['PORTICO_SHUTDOWN_TIMEOUT', '5s'],
    ['PORTICO_SHUTDOWN_TIMEOUT', '-1'],
    ['PORTICO_SHUTDOWN_TIMEOUT', '0x10'],
    ['PORTICO_SHUTDOWN_TIMEOUT', '1e3'],
    ['PORTICO_RESPONSE_TIMEOUT', 'Infinity'],
    ['PORTICO_VALIDATE', '1'],
    ['PORTICO_PATH_INFO', 'AUTO'],
  ])('%s=%s is refused, and the error names the variable', (name, text) => {
    expect(() => optionsFromEnvironment('http', { [name]: text })).toThrow(ConfigurationError)
    expect(() => optionsFromEnvironment('http', { [name]: text })).toThrow(
      `${name}: "${text}" is not accepted; it is `,
    )
  })
})

describe('checkOptions(), for values that no number describes', () => {
  test.each<[string, unknown, string]>([
    ['requestHandler', 5, 'a class'],
    ['osEnviron', 5, 'an object whose values are strings'],
    ['osEnviron', { A: 1 }, 'an object whose values are strings'],
    ['osEnviron', ['a'], 'an object whose values are strings'],
    ['scriptName', null, 'a string'],
    ['serverSoftware', 'a\r\nb', 'a header value, or null for no header'],
    ['serverSoftware', 'ł', 'a header value, or null for no header'],
  ])('refuses %s: %j', (name, value, expected) => {
    expect(() => checkOptions('http', { [name]: value })).toThrow(`it is ${expected}`)
  })

  test.each([null, 8000])('refuses %j in place of the options', (options) => {
    expect(() => checkOptions('http', options as unknown as object)).toThrow(ConfigurationError)
  })

  test('accepts the options that a gateway of another package names, and no others', () => {
    checkOptions('node-fastcgi', { packetTimeout: 3 }, 'uwsgi', ['packetTimeout'])
    checkOptions('node-fastcgi', { headersTimeout: 3 }, 'uwsgi', ['headersTimeout'])
    expect(() =>
      checkOptions('node-fastcgi', { headersTimeout: 0 }, 'uwsgi', ['headersTimeout']),
    ).toThrow('headersTimeout: 0 is not accepted')
    expect(() =>
      checkOptions('node-fastcgi', { packetTimeot: 3 }, 'uwsgi', ['packetTimeout']),
    ).toThrow("Did you mean 'packetTimeout'?")
  })
})
