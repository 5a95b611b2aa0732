/** The flags of `portico request`: curl's, with the same letters, and those for gateways. */
import { SERVER_NAMES } from '../../testing/web-servers/servers.ts'
import type { FlagTable } from '../flags.ts'

/** As in curl. */
export const MAX_REDIRECTS = 50

export const REQUEST_FLAGS = {
  request: { kind: 'text', short: 'X', value: 'METHOD', help: 'the method' },
  header: {
    kind: 'text',
    short: 'H',
    value: 'LINE',
    repeatable: true,
    help: "a header; 'Name:' leaves one out",
  },
  data: {
    kind: 'text',
    short: 'd',
    value: 'DATA',
    repeatable: true,
    help: 'a form as the body; @FILE reads it without its newlines',
  },
  dataRaw: { kind: 'text', value: 'DATA', repeatable: true, help: 'like -d, without @FILE' },
  dataBinary: {
    kind: 'text',
    value: 'DATA',
    repeatable: true,
    help: 'like -d, but @FILE is sent unchanged; @- is stdin',
  },
  dataUrlencode: {
    kind: 'text',
    value: 'DATA',
    repeatable: true,
    help: 'like -d, percent-encoded: VALUE, NAME=VALUE',
  },
  json: { kind: 'text', value: 'DATA', repeatable: true, help: 'like --data-binary, as JSON' },
  form: {
    kind: 'text',
    short: 'F',
    value: 'NAME=VALUE',
    repeatable: true,
    help: 'multipart/form-data; NAME=@FILE uploads a file',
  },
  get: { kind: 'switch', short: 'G', help: 'send the data of -d in the query of a GET' },
  uploadFile: { kind: 'text', short: 'T', value: 'FILE', help: 'PUT the file; - is stdin' },
  user: { kind: 'text', short: 'u', value: 'USER:PASSWORD', help: 'Authorization: Basic' },
  userAgent: { kind: 'text', short: 'A', value: 'NAME', help: 'the User-Agent header' },
  referer: { kind: 'text', short: 'e', value: 'URL', help: 'the Referer header' },
  cookie: { kind: 'text', short: 'b', value: 'PAIRS', help: 'the Cookie header: a=1; b=2' },
  include: { kind: 'switch', short: 'i', help: 'also print the head of the response' },
  head: { kind: 'switch', short: 'I', help: 'send HEAD, and print the head' },
  output: { kind: 'text', short: 'o', value: 'FILE', help: 'write the body to a file' },
  verbose: { kind: 'switch', short: 'v', help: 'show variables, heads and times on stderr' },
  silent: { kind: 'switch', short: 's', help: 'print no error message' },
  showError: { kind: 'switch', short: 'S', help: 'with -s: print error messages nevertheless' },
  fail: { kind: 'switch', short: 'f', help: 'from status 400: exit 22, and print no body' },
  failWithBody: { kind: 'switch', help: 'from status 400: exit 22, but print the body' },
  location: { kind: 'switch', short: 'L', help: 'follow redirects to the same host' },
  maxRedirs: {
    kind: 'count',
    value: 'N',
    help: 'follow at most N redirects',
    default: MAX_REDIRECTS,
  },
  maxTime: { kind: 'text', short: 'm', value: 'SECONDS', help: 'give up after this time' },
  connectTimeout: {
    kind: 'text',
    value: 'SECONDS',
    help: 'give up if there is no connection after this time',
  },
  param: {
    kind: 'text',
    value: 'NAME=VALUE',
    repeatable: true,
    help: 'a variable of the gateway; NAME leaves it out',
  },
  as: {
    kind: 'choice',
    choices: SERVER_NAMES,
    value: 'SERVER',
    help: 'send the variables that this web server sends',
  },
  mount: { kind: 'text', value: 'PATH', help: 'SCRIPT_NAME: the beginning of the path' },
  role: {
    kind: 'choice',
    choices: ['responder', 'authorizer'],
    value: 'ROLE',
    help: 'the FastCGI role',
  },
  validate: { kind: 'switch', help: 'FILE.js: report what breaks the contract' },
  recordDump: { kind: 'switch', help: 'show FastCGI records or SCGI bytes on stderr' },
  repeat: {
    kind: 'count',
    range: [1, 10_000_000],
    value: 'N',
    help: 'send the request N times, and print the times',
  },
  concurrency: {
    kind: 'count',
    short: 'c',
    range: [1, 10_000],
    value: 'C',
    help: 'with --repeat: C requests at a time',
  },
  all: { kind: 'switch', help: 'FILE.js: send through all gateways, and compare' },
} as const satisfies FlagTable
