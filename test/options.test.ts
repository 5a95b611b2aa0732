import { describe, expect, test } from 'vitest'
import { FastCGIHandler } from '../handlers/fastcgi.ts'
import { HTTPHandler } from '../handlers/http.ts'
import { makeServer } from '../handlers/make-server.ts'
import { SCGIHandler } from '../handlers/scgi.ts'
import { toFetch } from '../src/embedded/to-fetch.ts'
import { toNode } from '../src/embedded/to-node.ts'
import { checkOptions, ineffectiveVariables, optionsFromEnvironment } from '../src/options/check.ts'
import { ConfigurationError } from '../src/errors.ts'
import { parseQs, parseQsl } from '../src/forms/query.ts'
import { intercept } from '../src/middleware/intercept.ts'
import { TestApp } from '../src/embedded/test-app.ts'
import { validator } from '../src/validate/validator.ts'
import { SETTINGS } from '../src/command/serve-flags.ts'
import { checkNames, suggestion } from '../src/options/names.ts'
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
    ['li', 'listen'],
    ['mul', 'multiplex'],
  ])('suggests the nearest name for %s', (given, nearest) => {
    expect(() => checkNames('f()', { [given]: 1 }, names)).toThrow(
      new ConfigurationError(`f(): unknown option '${given}'. Did you mean '${nearest}'?`),
    )
  })

  test.each(['port', '', '__proto__', 'toString', 'x'.repeat(1000)])(
    'lists all names for %j, which is near none of them',
    (given) => {
      expect(() => checkNames('f()', Object.fromEntries([[given, 1]]), names)).toThrow(
        `f(): unknown option '${given}'. Known names: ${names.join(', ')}`,
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
      `must be a whole number of milliseconds from 0 to ${MAX_TIME} (got -1)`,
    ],
    [
      'a fraction',
      'shutdownTimeout',
      0.5,
      'must be a whole number of milliseconds from 0 to 2147483647 (got 0.5)',
    ],
    ['NaN', 'maxConnections', Number.NaN, 'must be a whole number, 1 or more (got NaN)'],
    [
      'text',
      'headersTimeout',
      '5s',
      `must be a whole number of milliseconds from 1 to ${MAX_TIME}, or Infinity for no limit (got "5s")`,
    ],
    [
      'Infinity without that meaning',
      'responseTimeout',
      Infinity,
      'must be a whole number of milliseconds from 0 to 2147483647; 0 for no limit (got Infinity)',
    ],
    [
      'a time that a timer cannot hold',
      'idleTimeout',
      MAX_TIME + 1,
      'must be a whole number of milliseconds from 1 to 2147483647, or Infinity for no limit (got 2147483648)',
    ],
    ['no number', 'backlog', 0, 'must be a whole number from 1 to 2147483647 (got 0)'],
    ['a word for a switch', 'validate', 'yes', 'must be true or false (got "yes")'],
    ['null for a switch', 'validate', null, 'must be true or false (got null)'],
    [
      'an unknown choice',
      'pathInfo',
      'asis',
      `must be one of auto, as-is, from-uri (got "asis"). Did you mean 'as-is'?`,
    ],
    ['a number for text', 'scriptName', 5, 'must be a string (got 5)'],
  ])('refuses %s', (_, name, value, message) => {
    expect(() => checkOptions('http', { [name]: value })).toThrow(ConfigurationError)
    expect(() => checkOptions('http', { [name]: value })).toThrow(`${name} ${message}`)
  })

  test.each([0, -1, 1.5, Number.NaN])('refuses a backlog of %d', (backlog) => {
    expect(() => checkOptions('scgi', { backlog })).toThrow(
      'backlog must be a whole number from 1 to 2147483647',
    )
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

describe('A name that another server has for an option', () => {
  test.each<[OptionSet, string, string]>([
    ['http', 'port', 'listen'],
    ['http', 'host', 'listen'],
    ['scgi', 'gracefulTimeout', 'shutdownTimeout'],
    ['http', 'sendTimeout', 'writeTimeout'],
    ['http', 'keepAliveTimeout', 'idleTimeout'],
    ['fastcgi', 'socketMode', 'mode'],
    ['cgi', 'timeout', 'responseTimeout'],
  ])('in the options of %s: %s suggests %s', (set, given, meant) => {
    expect(() => checkOptions(set, { [given]: 1 })).toThrow(
      `unknown option '${given}'. Did you mean '${meant}'?`,
    )
  })

  test('suggests nothing for a gateway without that option', () => {
    expect(() => checkOptions('cgi', { port: 1 })).toThrow(
      "CGI: unknown option 'port'. Known names: responseTimeout, scriptName, ",
    )
  })
})

describe('suggestion()', () => {
  const gateways = ['cgi', 'fastcgi', 'scgi', 'http']
  test.each([
    ['fcgi', 'fastcgi'],
    ['fast-cgi', 'fastcgi'],
    ['HTTP', 'http'],
    ['https', 'http'],
    ['scg', 'scgi'],
  ])('gives %s the name %s', (given, name) => {
    expect(suggestion(given, gateways)).toBe(`Did you mean '${name}'?`)
  })

  test.each(['uwsgi', 'f', 'tcp', ''])('lists all names for %j', (given) => {
    expect(suggestion(given, gateways)).toBe('Known names: cgi, fastcgi, scgi, http')
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

describe.each([
  ['toFetch()', toFetch],
  ['toNode()', toNode],
])('%s', (name, adapt: (application: () => [], options?: object) => unknown) => {
  test.each([
    [{ validat: true }, `${name}: unknown option 'validat'. Did you mean 'validate'?`],
    [{ validate: 'yes' }, 'validate must be true or false (got "yes")'],
    [
      { responseTimeout: '5s' },
      'responseTimeout must be a whole number of milliseconds from 0 to ',
    ],
    [{ pathInfo: 'asis' }, 'pathInfo must be one of auto, as-is, from-uri (got "asis"). Did you'],
    [{ listen: ':8000' }, `${name}: unknown option 'listen'. Known names: `],
  ])('refuses the options %j', (options, message) => {
    expect(() => adapt(() => [], options)).toThrow(message)
  })
})

const app = () => []

describe('makeServer()', () => {
  const make = makeServer as (...args: unknown[]) => unknown

  test.each([
    [
      ['127.0.0.1', 0, app, { maxConections: 1 }],
      "HTTP: unknown option 'maxConections'. Did you mean 'maxConnections'?",
    ],
    [
      ['127.0.0.1', 0, app, { maxConnections: 0 }],
      'maxConnections must be a whole number, 1 or more (got 0)',
    ],
    [
      ['127.0.0.1', 0, app, { listen: ':80' }],
      'listen is not an option here; it has host and port',
    ],
    [['127.0.0.1', 0, app, null], 'The options of HTTP must be an object, got null'],
    [
      [0, app],
      "makeServer(host, port, application, options): host must be a string, such as '127.0.0.1' (got 0)",
    ],
    [['', app], 'port must be a whole number from 0 to 65535 (got '],
    [['', '8000', app], 'port must be a whole number from 0 to 65535 (got "8000")'],
  ])('refuses the arguments %o', (args, message) => {
    expect(() => make(...args)).toThrow(ConfigurationError)
    expect(() => make(...args)).toThrow(message)
  })
})

test.each([
  [
    'validator',
    () => validator(() => [], { wran: () => {} } as object),
    "validator: unknown option 'wran'. Did you mean 'warn'?",
  ],
  [
    'validator',
    () => validator(() => [], { warn: true } as object),
    'validator: warn must be a function (got true)',
  ],
  [
    'intercept',
    () => intercept(() => [], { onResponce() {} } as never),
    "intercept: unknown option 'onResponce'. Did you mean 'onResponse'?",
  ],
  [
    'intercept',
    () => intercept(() => [], {} as never),
    'intercept: onResponse must be a function (got undefined)',
  ],
  [
    'TestApp',
    () => new TestApp(() => [], { validat: false } as object),
    "TestApp: unknown option 'validat'. Did you mean 'validate'?",
  ],
  [
    'TestApp.over',
    () => TestApp.over({} as never, { mout: '' } as object),
    "TestApp.over: unknown option 'mout'. Did you mean 'mount'?",
  ],
  [
    'parseQs',
    () => parseQs('', { seperator: ';' } as object),
    "parseQs: unknown option 'seperator'. Did you mean 'separator'?",
  ],
  [
    'parseQsl',
    () => parseQsl('', { seperator: ';' } as object),
    "parseQsl: unknown option 'seperator'. Did you mean 'separator'?",
  ],
  ['parseQsl', () => parseQsl('\u0142'), 'parseQsl: the query string must be a byte string'],
])('%s refuses options and values that it does not have, and names itself', (_, call, message) => {
  expect(call).toThrow(message)
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
    ['PORTICO_SHUTDOWN_TIMEOUT', '5s', { shutdownTimeout: 5000 }],
    ['PORTICO_HIGH_WATER_MARK', '64k', { highWaterMark: 65_536 }],
    ['PORTICO_HEADERS_TIMEOUT', 'none', { headersTimeout: Infinity }],
    ['PORTICO_HEADERS_TIMEOUT', 'Infinity', { headersTimeout: Infinity }],
    ['PORTICO_HEADERS_TIMEOUT', 'none', { headersTimeout: Infinity }],
    ['PORTICO_RESPONSE_TIMEOUT', 'none', { responseTimeout: 0 }],
    ['PORTICO_MAX_REQUESTS_PER_CONNECTION', 'none', { maxRequestsPerConnection: 0 }],
    ['PORTICO_VALIDATE', 'true', { validate: true }],
    ['PORTICO_VALIDATE', 'false', { validate: false }],
    ['PORTICO_VALIDATE', '1', { validate: true }],
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
    ['PORTICO_SHUTDOWN_TIMEOUT', '5 s'],
    ['PORTICO_SHUTDOWN_TIMEOUT', '-1'],
    ['PORTICO_SHUTDOWN_TIMEOUT', '0x10'],
    ['PORTICO_SHUTDOWN_TIMEOUT', '1e3'],
    ['PORTICO_SHUTDOWN_TIMEOUT', 'none'],
    ['PORTICO_VALIDATE', 'yes'],
    ['PORTICO_PATH_INFO', 'AUTO'],
  ])('%s=%s is refused, and the error names the variable', (name, text) => {
    expect(() => optionsFromEnvironment('http', { [name]: text })).toThrow(ConfigurationError)
    expect(() => optionsFromEnvironment('http', { [name]: text })).toThrow(
      new RegExp(`^${name} must be .* \\(got "?${text}"?\\)`),
    )
  })
})

test('The variables of portico serve are known, so that run() under it logs none of them', () => {
  const variables = Object.values(SETTINGS).flatMap(({ variable }) => variable ?? [])
  const env = Object.fromEntries(variables.map((name) => [name, '1']))
  expect(variables.length).toBeGreaterThan(20)
  expect(
    ineffectiveVariables('fastcgi', env).filter((line) => line.includes('not a variable')),
  ).toEqual([])
})

const notKnown = (name: string, hint = '') =>
  `${name} is not a variable of Portico, and has no effect${hint && `. Did you mean ${hint}?`}`

describe('ineffectiveVariables()', () => {
  test.each<[string, string[]]>([
    ['PORTICO_SHUTDWN_TIMEOUT', [notKnown('PORTICO_SHUTDWN_TIMEOUT', 'PORTICO_SHUTDOWN_TIMEOUT')]],
    [
      'PORTICO_GRACEFUL_TIMEOUT',
      [notKnown('PORTICO_GRACEFUL_TIMEOUT', 'PORTICO_SHUTDOWN_TIMEOUT')],
    ],
    ['PORTICO_PORT', [notKnown('PORTICO_PORT', 'PORTICO_LISTEN')]],
    ['PORTICO_MODE', [notKnown('PORTICO_MODE', 'PORTICO_SOCKET_MODE')]],
    ['PORTICO_NO_INTERNAL', [notKnown('PORTICO_NO_INTERNAL', 'PORTICO_NO_INTERNALS')]],
    ['PORTICO_QUITE_ANOTHER', [notKnown('PORTICO_QUITE_ANOTHER')]],
    [
      'PORTICO_MULTIPLEX',
      [
        'PORTICO_MULTIPLEX: multiplex is an option of FastCGI, not of HTTP. ' +
          'It has no effect in this process',
      ],
    ],
    ['PORTICO_NO_INTERNALS', []],
    ['PORTICO_GATEWAY', []],
    ['PORTICO_EXIT_ON_UNCAUGHT_ERROR', []],
    ['PORTICO_MAX_HEADERS', []],
    ['PORT', []],
  ])('gives HTTP with %s the lines %j', (variable, lines) => {
    expect(ineffectiveVariables('http', { [variable]: '1' })).toEqual(lines)
    expect(ineffectiveVariables('http', { [variable]: '' })).toEqual([])
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
    expect(() => checkOptions('http', { [name]: value })).toThrow(`must be ${expected} (got `)
  })

  test.each([null, 8000])('refuses %j in place of the options', (options) => {
    expect(() => checkOptions('http', options as unknown as object)).toThrow(ConfigurationError)
  })

  test('accepts the options that a gateway of another package names, and no others', () => {
    checkOptions('node-fastcgi', { packetTimeout: 3 }, 'uwsgi', ['packetTimeout'])
    checkOptions('node-fastcgi', { headersTimeout: 3 }, 'uwsgi', ['headersTimeout'])
    expect(() =>
      checkOptions('node-fastcgi', { headersTimeout: 0 }, 'uwsgi', ['headersTimeout']),
    ).toThrow('headersTimeout must be a whole number')
    expect(() =>
      checkOptions('node-fastcgi', { packetTimeot: 3 }, 'uwsgi', ['packetTimeout']),
    ).toThrow("Did you mean 'packetTimeout'?")
  })
})
