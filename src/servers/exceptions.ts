/**
 * What web servers change by themselves: rows of the conformance suite that have
 * another result through them, with the reason and that result. docs/servers/ shows them.
 */
import type { Expectation } from '../testing/row.ts'
import type { Site } from './site.ts'

export interface Exception {
  /**
   * `SERVER`, `SERVER GATEWAY` where it concerns one of its gateways, or `SERVER GATEWAY, VARIANT`
   * where it concerns a setting that the tests vary.
   */
  readonly where: readonly string[]
  /** Variants to which it does not apply. */
  readonly except?: readonly string[]
  /** The beginning of a row's name. */
  readonly row: string
  readonly reason: string
  readonly expect: Expectation
}

const APACHE_GATEWAYS = ['apache fastcgi', 'apache scgi', 'apache cgi', 'apache-fcgid', 'htaccess']

/** Responses without Content-Length that end before the application has finished. */
const TRUNCATED = [
  'startResponse with an error throws it when the headers are sent',
  'an error after the first chunk aborts the response',
  'an iterator that throws on its second item is closed',
]

/** Responses that end before their Content-Length. */
const SHORT = [
  'an array shorter than declared is an aborted response',
  'a generator shorter than declared is an aborted response',
]

export const exceptions: readonly Exception[] = [
  {
    where: ['apache', 'apache-fcgid', 'htaccess', 'caddy fastcgi'],
    row: 'two Cookie headers are joined with a semicolon',
    reason: 'it joins repeated headers with a comma',
    expect: { body: 'HTTP_COOKIE=a=1, b=2\n' },
  },
  {
    where: APACHE_GATEWAYS,
    row: 'two headers with the same name arrive as two',
    reason: 'Apache joins repeated headers',
    expect: { headers: { 'X-Foo': ['foo, bar, baz'] } },
  },
  {
    where: [
      'apache-fcgid',
      'htaccess fastcgi',
      'haproxy fastcgi',
      'lighttpd fastcgi',
      'lighttpd cgi',
      'caddy fastcgi',
    ],
    row: 'a GET has neither CONTENT_TYPE nor CONTENT_LENGTH',
    reason: 'it sends a CONTENT_LENGTH of 0 for a request without a body',
    expect: { body: 'CONTENT_TYPE is absent\nCONTENT_LENGTH=0\n' },
  },
  {
    where: ['apache fastcgi', 'apache scgi'],
    row: 'PATH_INFO is empty at the mount point',
    reason: 'mod_proxy adds a slash',
    expect: { body: ({ mount }) => `SCRIPT_NAME=${mount}\nPATH_INFO=/\n` },
  },
  {
    where: ['lighttpd'],
    row: 'an empty header is present',
    reason: 'lighttpd drops empty headers',
    expect: { body: 'HTTP_X_EMPTY is absent\nHTTP_X_ABSENT is absent\n' },
  },
  {
    where: ['lighttpd'],
    row: 'an unusual query is not changed',
    reason: 'lighttpd escapes a % that begins no escape',
    expect: { body: 'QUERY_STRING=k=aa%2F%2Fbb&//q//p//=//a//b//?c=d&%25zz&+\n' },
  },
  {
    where: ['lighttpd'],
    row: 'percent-encoded bytes that are not UTF-8 are kept',
    reason: 'lighttpd refuses them (url-invalid-utf8-reject)',
    expect: { status: '400 Bad Request', body: undefined },
  },
  {
    where: ['lighttpd', 'caddy'],
    row: "the reason of a status is the application's",
    reason: 'it has reason phrases of its own',
    expect: { status: '403 Forbidden' },
  },
  {
    where: ['haproxy fastcgi'],
    row: 'a redirect keeps its Location',
    reason: 'HAProxy 2.6 has reason phrases of its own',
    expect: { status: '302 Moved Temporarily' },
  },
  {
    where: ['haproxy fastcgi'],
    row: 'a 304 has no body, and gets no headers',
    reason: 'HAProxy 2.6 adds a Content-Length of 0',
    expect: { headers: { 'Content-Length': ['0'] } },
  },
  {
    where: ['nginx http', 'apache http', 'lighttpd http', 'caddy http', 'haproxy http', 'h2o http'],
    row: 'the environ has the method, the path and the server',
    reason: 'HTTP has no field for the web server; over a Unix socket it is localhost, port 80',
    expect: { body: undefined },
  },
  {
    where: ['lighttpd http'],
    row: 'REQUEST_URI is the raw target, mount point included',
    reason: 'lighttpd decodes what need not be encoded',
    expect: { body: ({ mount }) => `REQUEST_URI=${mount}/foo/bar%20bazs?x=a\n` },
  },
  {
    where: ['lighttpd http'],
    row: 'repeated slashes are kept in PATH_INFO',
    reason: 'lighttpd merges them, and HTTP has no other field for the path',
    expect: { body: ({ mount }) => `SCRIPT_NAME=${mount}\nPATH_INFO=/foo/bar/baz\n` },
  },
  {
    where: ['apache http'],
    row: 'repeated slashes are kept in PATH_INFO',
    reason: 'for an application at /, Apache merges those at the beginning',
    expect: {
      body: ({ mount }) =>
        `SCRIPT_NAME=${mount}\nPATH_INFO=${mount === '' ? '/foo' : '//foo'}///bar/baz\n`,
    },
  },
  {
    where: ['caddy fastcgi'],
    row: 'a body without a Content-Type has no CONTENT_TYPE',
    reason: 'Caddy adds application/x-www-form-urlencoded',
    expect: { body: 'CONTENT_TYPE=application/x-www-form-urlencoded\nCONTENT_LENGTH=1\n' },
  },
  {
    where: ['h2o fastcgi'],
    row: 'the environ has the method, the path and the server',
    reason: 'H2O sends the name of the host in its configuration, such as default, as SERVER_NAME',
    expect: { body: undefined },
  },
  {
    where: ['h2o fastcgi'],
    row: 'a percent-encoded letter of the path is decoded, and a repeated header',
    reason: 'H2O keeps the spaces around the value of a header',
    expect: { body: undefined },
  },
  {
    where: ['h2o fastcgi'],
    row: 'two Cookie headers are joined with a semicolon',
    reason: 'H2O joins them without a space',
    expect: { body: 'HTTP_COOKIE=a=1;b=2\n' },
  },
  ...(
    [
      [
        'a percent-encoded letter of the path is decoded, and a repeated header',
        'HTTP_X_TEST_HEADER=Python test\nQUERY_STRING=query=test\nPATH_INFO=/path/\n',
      ],
      ['two Cookie headers are joined with a semicolon', 'HTTP_COOKIE=a=1\n'],
      ['two headers with the same name are joined', 'HTTP_FOO=bar\n'],
    ] as const
  ).map(([row, body]): Exception => ({
    where: ['fcgiwrap'],
    row,
    reason:
      'nginx 1.22 sends a variable for each of the headers, and the environment keeps the first',
    expect: { body },
  })),
  {
    where: ['fcgiwrap'],
    row: 'the environ has the method, the path and the server',
    reason: 'fastcgi_params sends the name of the site as SERVER_NAME, not that of the request',
    expect: { body: undefined },
  },
  ...TRUNCATED.flatMap((row): Exception[] => [
    {
      where: ['nginx fastcgi'],
      except: ['nginx fastcgi, --no-streaming'],
      row,
      reason:
        'with fastcgi_buffering off nginx takes the end of the connection for the end of the response',
      expect: { broken: false },
    },
    {
      where: ['apache cgi', 'htaccess cgi', 'lighttpd cgi', 'fcgiwrap'],
      row,
      reason: 'it ignores the exit code, and no length was declared',
      expect: { broken: false },
    },
    {
      where: ['caddy', 'h2o'],
      row,
      reason: 'it takes the end of the connection for the end of the response',
      expect: { broken: false },
    },
    {
      where: ['lighttpd fastcgi', 'lighttpd http'],
      row,
      reason: 'lighttpd notices it only after it has begun to send the response',
      expect: { broken: null },
    },
    {
      where: ['nginx scgi', 'apache scgi', 'lighttpd scgi'],
      row,
      reason: 'SCGI cannot signal it, a Unix socket has no reset, and no length was declared',
      expect: { broken: false },
    },
  ]),
  ...[...TRUNCATED, ...SHORT].map((row): Exception => ({
    where: ['apache-fcgid', 'htaccess fastcgi'],
    row,
    reason: 'mod_fcgid holds 64 KiB of a response back, and can still respond with a 500',
    expect: { status: '500 Internal Server Error', body: undefined, headers: {}, broken: false },
  })),
  ...[
    'a request body that is not read does not prevent the response',
    'a request body that is partly read does not prevent the response',
  ].map((row): Exception => ({
    where: ['htaccess fastcgi'],
    row,
    reason: 'a body of more than 128 KiB is a 500, unless the administrator raises the limit',
    expect: { status: '500 Internal Server Error', body: undefined, headers: {} },
  })),
  ...SHORT.map((row): Exception => ({
    where: ['apache scgi'],
    row,
    reason: 'Apache counts the length again if the response is complete when it begins to send it',
    expect: { broken: null },
  })),
]

/** The exceptions for a server, a gateway and a variant, the more special ones first. */
export function exceptionsOf(
  server: string,
  gateway: Site['gateway'],
  variant?: string,
): Exception[] {
  const names = [server, `${server} ${gateway}`]
  if (variant !== undefined) names.push(`${server} ${gateway}, ${variant}`)
  const rank = ({ where }: Exception): number => names.findLastIndex((name) => where.includes(name))
  return exceptions
    .filter((each) => rank(each) !== -1 && each.except?.includes(names.at(-1)!) !== true)
    .toSorted((one, other) => rank(other) - rank(one))
}
