/** Environs, each of which breaks one rule for gateways. */
import type { Environ } from '../../../src/types.ts'
import { environs, makeEnviron, type Row } from '../harness.ts'

const having = (values: object) => Object.assign(makeEnviron(), values)

const UNUSUAL_CONNECT =
  'warning: environ: REQUEST_METHOD is usually one of GET, HEAD, POST, PUT, DELETE, PATCH, ' +
  'OPTIONS, TRACE, not "CONNECT"'
function without(key: string): Partial<Environ> {
  const environ: Partial<Environ> = makeEnviron()
  delete environ[key]
  return environ
}

function method(): void {}
const input = {
  read: method,
  readline: method,
  readlines: method,
  chunks: method,
  stream: method,
  [Symbol.asyncIterator]: method,
}
const errors = { write: method, writelines: method, flush: method }

const required = (...keys: string[]) =>
  keys.map(
    (key) =>
      [
        `an environ without ${key}`,
        without(key),
        `environ: ${key} is missing; every environ must have it`,
      ] as const,
  )

export const environRows: Row[] = environs([
  ['null as the environ', null, 'environ: must be an object with a null prototype, not null'],
  [
    'an array as the environ',
    [],
    'environ: must be an object with a null prototype, not an array of 0',
  ],
  [
    'a Map as the environ',
    new Map(),
    'environ: must be an object with a null prototype, but an object of class Map inherits ' +
      "constructor, which a program could take for a variable; make it with createEnviron() from 'portico/gateway'",
  ],
  [
    'an object with the prototype of Object',
    { ...makeEnviron() },
    'environ: must be an object with a null prototype, but an object of class Object inherits ' +
      "constructor, which a program could take for a variable; make it with createEnviron() from 'portico/gateway'",
  ],
  [
    'a Proxy as the environ',
    new Proxy(makeEnviron(), {}),
    'environ: must be a plain object, not a Proxy of one',
  ],
  [
    'a frozen environ',
    Object.freeze(makeEnviron()),
    'environ: must not be frozen, sealed or non-extensible; middleware adds keys to it',
  ],
  [
    'a key that is a symbol',
    having({ [Symbol('mine')]: 'x' }),
    'environ: every key must be a string, not Symbol(mine)',
  ],
  // The keys
  ...required(
    'REQUEST_METHOD',
    'SCRIPT_NAME',
    'PATH_INFO',
    'QUERY_STRING',
    'SERVER_NAME',
    'SERVER_PORT',
    'SERVER_PROTOCOL',
    'wsgi.version',
    'wsgi.multithread',
    'wsgi.multiprocess',
    'wsgi.run_once',
    'wsgi.url_scheme',
    'wsgi.errors',
    'wsgi.input',
    'wsgi.input_terminated',
    'portico.signal',
    'portico.gateway',
  ),
  [
    'HTTP_CONTENT_TYPE, though empty',
    having({ HTTP_CONTENT_TYPE: '' }),
    'environ: HTTP_CONTENT_TYPE is not allowed; use CONTENT_TYPE instead',
  ],
  [
    'HTTP_CONTENT_LENGTH, though empty',
    having({ HTTP_CONTENT_LENGTH: '' }),
    'environ: HTTP_CONTENT_LENGTH is not allowed; use CONTENT_LENGTH instead',
  ],
  [
    'HTTP_PROXY',
    having({ HTTP_PROXY: 'x' }),
    'environ: HTTP_PROXY is not allowed; a client could set the proxy that child processes use',
  ],
  // The values
  [
    'a variable that is a number',
    having({ REMOTE_PORT: 1 }),
    'environ: REMOTE_PORT must be a string, not 1',
  ],
  [
    'a variable that is undefined',
    having({ HTTPS: undefined }),
    'environ: HTTPS must be a string, not undefined',
  ],
  [
    'NUL in a variable',
    having({ HTTP_X: 'a\0' }),
    String.raw`environ: HTTP_X must contain bytes other than NUL, not "\u0000" at character 2 of "a\u0000"`,
  ],
  [
    'text in a variable',
    having({ HTTP_X: '\u0416' }),
    String.raw`environ: HTTP_X must contain bytes other than NUL, not "\u0416" at character 1 of "\u0416"`,
  ],
  [
    'a version that is a string',
    having({ 'wsgi.version': '1.0' }),
    'environ: wsgi.version must be the array [1, 0], not "1.0"',
  ],
  [
    'a version of three',
    having({ 'wsgi.version': [1, 0, 0] }),
    'environ: wsgi.version must be the array [1, 0], not an array of 3',
  ],
  [
    'another version',
    having({ 'wsgi.version': [1, 1] }),
    'environ: wsgi.version must be the array [1, 0], not [1, 1]',
  ],
  [
    'another scheme',
    having({ 'wsgi.url_scheme': 'ws' }),
    'environ: wsgi.url_scheme must be one of "http", "https", not "ws"',
  ],
  ...['multithread', 'multiprocess', 'run_once', 'input_terminated'].map(
    (flag) =>
      [
        `a ${flag} of 0`,
        having({ [`wsgi.${flag}`]: 0 }),
        `environ: wsgi.${flag} must be one of true, false, not 0`,
      ] as const,
  ),
  ...['fastcgi', 'scgi', 'http'].map(
    (gateway) =>
      [
        `a process that ends after one request of ${gateway}`,
        having({ 'portico.gateway': gateway, 'wsgi.run_once': true }),
        `environ: wsgi.run_once must be false if portico.gateway is "${gateway}", not true`,
      ] as const,
  ),
  ...['', 'FastCGI', 'fast cgi', 'fastcgi-', '-', 4].map(
    (gateway) =>
      [
        `a gateway named ${JSON.stringify(gateway)}`,
        having({ 'portico.gateway': gateway }),
        `environ: portico.gateway must be a name such as "fastcgi", not ${JSON.stringify(gateway)}`,
      ] as const,
  ),
  [
    'a signal that is a controller',
    having({ 'portico.signal': new AbortController() }),
    'environ: portico.signal must be an AbortSignal, not an object of class AbortController',
  ],
  [
    'a file_wrapper that is not a constructor',
    having({ 'wsgi.file_wrapper': {} }),
    'environ: wsgi.file_wrapper must be a constructor, not an object of class Object',
  ],
  [
    'a file_wrapper that is a function, and no constructor',
    having({ 'wsgi.file_wrapper': () => [] }),
    'environ: wsgi.file_wrapper must be a constructor, not the function "wsgi.file_wrapper"',
  ],
  [
    'an input of null',
    having({ 'wsgi.input': null }),
    'environ: wsgi.input must be an object, not null',
  ],
  ...Reflect.ownKeys(input).map(
    (name) =>
      [
        `an input without ${String(name)}`,
        having({ 'wsgi.input': { ...input, [name]: undefined } }),
        `environ: wsgi.input must have a method ${String(name)}, not undefined`,
      ] as const,
  ),
  ...Object.keys(errors).map(
    (name) =>
      [
        `errors without ${name}`,
        having({ 'wsgi.errors': { ...errors, [name]: 1 } }),
        `environ: wsgi.errors must have a method ${name}, not 1`,
      ] as const,
  ),
  [
    'an unusual method',
    having({ REQUEST_METHOD: 'PROPFIND' }),
    'warning: environ: REQUEST_METHOD is usually one of GET, HEAD, POST, PUT, DELETE, PATCH, ' +
      'OPTIONS, TRACE, not "PROPFIND"',
  ],
  [
    'a method with a space',
    having({ REQUEST_METHOD: 'GET /' }),
    'environ: REQUEST_METHOD must be an HTTP token, not "GET /"',
  ],
  [
    'an empty method',
    having({ REQUEST_METHOD: '' }),
    'environ: REQUEST_METHOD must be an HTTP token, not ""',
  ],
  [
    'an empty SERVER_NAME',
    having({ SERVER_NAME: '' }),
    'environ: SERVER_NAME must be a host name or an address, not ""',
  ],
  [
    'a SERVER_NAME with a path',
    having({ SERVER_NAME: 'a/b' }),
    'environ: SERVER_NAME must be a host name or an address, not "a/b"',
  ],
  [
    'an empty SERVER_PORT',
    having({ SERVER_PORT: '' }),
    'environ: SERVER_PORT must be a port number, not ""',
  ],
  [
    'a SERVER_PORT of letters',
    having({ SERVER_PORT: 'http' }),
    'environ: SERVER_PORT must be a port number, not "http"',
  ],
  [
    'another SERVER_PROTOCOL',
    having({ SERVER_PROTOCOL: 'FTP/1.1' }),
    'environ: SERVER_PROTOCOL must be like HTTP/1.1, or INCLUDED, not "FTP/1.1"',
  ],
  // The paths
  [
    'SCRIPT_NAME /',
    having({ SCRIPT_NAME: '/' }),
    'environ: SCRIPT_NAME must be "", not "/"; PATH_INFO should be "/" instead',
  ],
  [
    'SCRIPT_NAME without its slash',
    having({ SCRIPT_NAME: 'a' }),
    'environ: SCRIPT_NAME must be empty or begin with /, not "a"',
  ],
  [
    'PATH_INFO without its slash',
    having({ PATH_INFO: 'a' }),
    'environ: PATH_INFO must be empty or begin with / (or be * for OPTIONS), not "a"',
  ],
  [
    'neither SCRIPT_NAME nor PATH_INFO',
    having({ PATH_INFO: '' }),
    'environ: SCRIPT_NAME and PATH_INFO must not both be ""; the PATH_INFO of the root is "/"',
  ],
  [
    'PATH_INFO * for GET',
    having({ PATH_INFO: '*' }),
    'environ: PATH_INFO must be empty or begin with / (or be * for OPTIONS), not "*"',
  ],
  [
    'host:port in PATH_INFO',
    having({ PATH_INFO: 'a:443' }),
    'environ: PATH_INFO must be empty or begin with / (or be * for OPTIONS), not "a:443"',
  ],
  ...['CONNECT', 'OPTIONS', 'GET'].map(
    (name) =>
      [
        `an absolute URI in PATH_INFO for ${name}`,
        having({ REQUEST_METHOD: name, PATH_INFO: 'http://a/' }),
        'environ: PATH_INFO must be empty or begin with / (or be * for OPTIONS), not "http://a/"',
      ] as const,
  ),
  [
    'REQUEST_URI without its slash',
    having({ REQUEST_URI: 'a' }),
    'warning: environ: REQUEST_URI should be a path or an absolute URI (or * for OPTIONS), not "a"',
  ],
  [
    'REQUEST_URI * for GET',
    having({ REQUEST_URI: '*' }),
    'warning: environ: REQUEST_URI should be a path or an absolute URI (or * for OPTIONS), not "*"',
  ],
  [
    'REQUEST_URI host:port for GET',
    having({ REQUEST_URI: 'a:443' }),
    'warning: environ: REQUEST_URI should be a path or an absolute URI (or * for OPTIONS), not "a:443"',
  ],
  [
    'REQUEST_URI that is a path for CONNECT',
    having({ REQUEST_URI: '/', REQUEST_METHOD: 'CONNECT' }),
    `${UNUSUAL_CONNECT}\nwarning: environ: REQUEST_URI should be host:port for CONNECT, not "/"`,
  ],
  [
    'REQUEST_URI that is an absolute URI for CONNECT',
    having({ REQUEST_URI: 'http://a/', REQUEST_METHOD: 'CONNECT' }),
    `${UNUSUAL_CONNECT}\nwarning: environ: REQUEST_URI should be host:port for CONNECT, not "http://a/"`,
  ],
  ...['/a#b', '/a b'].map(
    (target) =>
      [
        `REQUEST_URI ${target}`,
        having({ REQUEST_URI: target }),
        `warning: environ: REQUEST_URI should contain neither a space nor "#", not "${target}"`,
      ] as const,
  ),
  // The body and the host
  ...['', '-1', '-0', '+1', '0_1', ' 1', '1 ', '0x5', '1234567890123456'].map(
    (length) =>
      [
        `CONTENT_LENGTH "${length}"`,
        having({ CONTENT_LENGTH: length }),
        `environ: CONTENT_LENGTH must be 1 to 15 digits, or have no key, not "${length}"`,
      ] as const,
  ),
  [
    'an empty CONTENT_TYPE',
    having({ CONTENT_TYPE: '' }),
    'environ: CONTENT_TYPE must have no key if it is empty, not ""',
  ],
  [
    'a Host with a path',
    having({ HTTP_HOST: 'a/b' }),
    'warning: environ: HTTP_HOST should be host or host:port, not "a/b"',
  ],
])
