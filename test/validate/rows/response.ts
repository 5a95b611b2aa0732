/** Applications, each of which calls `startResponse` with something that breaks one rule. */
import type { Application } from '../../../src/types.ts'
import { app, applications, OK, PLAIN, type Row } from '../harness.ts'

const start = (...args: unknown[]): Application =>
  app((_environ, startResponse) => {
    startResponse(...args)
    return []
  })
const withStatus = (status: unknown) => start(status, PLAIN)
const withHeaders = (headers: unknown) => start(OK, headers)
const withHeader = (name: unknown, value: unknown) => withHeaders([...PLAIN, [name, value]])

const FIRST = 'startResponse call 1'
const BAD_NAME =
  `${FIRST}: header 2: the name must consist of letters, digits, "-" and "_", begin with a letter ` +
  'and end with a letter or a digit, not '
const BAD_TEXT = 'must contain no control character except a tab and no character above U+00FF, not'

const statusRows = applications([
  [
    'startResponse with one argument',
    start(OK),
    `${FIRST}: takes (status, headers, error?), not 1 argument`,
  ],
  [
    'startResponse with four arguments',
    start(1, 2, 3, 4),
    `${FIRST}: takes (status, headers, error?), not 4 arguments`,
  ],
  ['a status that is a number', withStatus(200), `${FIRST}: Status must be a string, not 200`],
  [
    'a status code of four digits',
    withStatus('2000 OK'),
    `${FIRST}: Status message must have a space after code, not "2000 OK"`,
  ],
  [
    'a status code of two digits',
    withStatus('20 OK'),
    `${FIRST}: Status message must begin w/3-digit code, not "20 OK"`,
  ],
  [
    'a status code that is not a number',
    withStatus('20X OK'),
    `${FIRST}: Status message must begin w/3-digit code, not "20X OK"`,
  ],
  [
    'a status code below 100',
    withStatus('099 Low'),
    `${FIRST}: Status code must be at least 100, not "099 Low"`,
  ],
  [
    'a status code without a space and a reason',
    withStatus('200'),
    `${FIRST}: Status must be at least 4 characters, not "200"`,
  ],
  [
    'a status without a space after the code',
    withStatus('200OK'),
    `${FIRST}: Status message must have a space after code, not "200OK"`,
  ],
  [
    'a line end in the status',
    withStatus('200 OK\r\nX: y'),
    String.raw`${FIRST}: Status ${BAD_TEXT} "\u000d" at character 7 of "200 OK\u000d\u000aX: y"`,
  ],
  [
    'a character above U+00FF in the status',
    withStatus('200 \u0416'),
    String.raw`${FIRST}: Status ${BAD_TEXT} "\u0416" at character 5 of "200 \u0416"`,
  ],
  [
    'an error that is a string',
    start(OK, PLAIN, 'x'),
    `${FIRST}: error must be an Error or omitted, not "x"`,
  ],
  [
    'an exc_info of three items, as in Python',
    start(OK, PLAIN, [TypeError, new TypeError('x'), null]),
    `${FIRST}: error must be an Error or omitted, not an array of 3`,
  ],
])

const headerRows = applications([
  [
    'headers that are a string',
    withHeaders('Content-Type: text/plain'),
    `${FIRST}: Headers must be an array of arrays [name, value], not "Content-Type: text/plain"`,
  ],
  [
    'headers that are an object',
    withHeaders({}),
    `${FIRST}: Headers must be an array of arrays [name, value], not an object of class Object`,
  ],
  [
    'a flat list of names and values',
    withHeaders(['Content-Type', 'text/plain']),
    `${FIRST}: header 1 must be an array [name, value], not "Content-Type"`,
  ],
  [
    'a header of three items',
    withHeaders([...PLAIN, ['A', 'b', 'c']]),
    `${FIRST}: header 2 must be an array [name, value], not an array of 3`,
  ],
  [
    'a header name that is a number',
    withHeader(1, 'a'),
    `${FIRST}: header 2: the name must be a string, not 1`,
  ],
  [
    'a header value that is a number',
    withHeader('A', 1),
    `${FIRST}: header 2: the value of A must be a string, not 1`,
  ],
  [
    'a header value that is undefined',
    withHeader('A', undefined),
    `${FIRST}: header 2: the value of A must be a string, not undefined`,
  ],
  [
    'Status as a header',
    withHeader('sTatus', '200'),
    `${FIRST}: header 2: the name must not be "sTatus"; the status is the first argument`,
  ],
  ['a colon in a header name', withHeader('A:B', 'c'), `${BAD_NAME}"A:B"`],
  ['a newline in a header name', withHeader('A\nB', 'c'), String.raw`${BAD_NAME}"A\u000aB"`],
  [
    'a carriage return at the end of a header name',
    withHeader('A\r', 'c'),
    String.raw`${BAD_NAME}"A\u000d"`,
  ],
  ['a space in a header name', withHeader('A B', 'c'), `${BAD_NAME}"A B"`],
  ['a header name that begins with a digit', withHeader('1A', 'c'), `${BAD_NAME}"1A"`],
  ['an empty header name', withHeader('', 'c'), `${BAD_NAME}""`],
  ['a header name that ends in -', withHeader('A-', 'c'), `${BAD_NAME}"A-"`],
  ['a header name that ends in _', withHeader('A_', 'c'), `${BAD_NAME}"A_"`],
  [
    'a character above U+00FF in a header name',
    withHeader('A\u0416B', 'c'),
    String.raw`${BAD_NAME}"A\u0416B"`,
  ],
  ...Array.from('(),/:;<=>?@[]{}\\\x01\x7f').map(
    (bad) =>
      [
        `${JSON.stringify(bad)} in a header name`,
        withHeader(`A${bad}B`, 'c'),
        `${BAD_NAME}${String.raw`"A${
          bad === '\\' ? '\\\\' : bad.replace('\x01', '\\u0001').replace('\x7f', '\\u007f')
        }B"`}`,
      ] as const,
  ),
  [
    'a hop-by-hop header',
    withHeader('Connection', 'close'),
    `${FIRST}: header 2: Connection is a hop-by-hop header, which only the gateway may send`,
  ],
  [
    'a line end in a header value',
    withHeader('A', 'b\r\nC: d'),
    String.raw`${FIRST}: header 2: the value of A ${BAD_TEXT} "\u000d" at character 2 of "b\u000d\u000aC: d"`,
  ],
  [
    'NUL in a header value',
    withHeader('A', 'text\0plain'),
    String.raw`${FIRST}: header 2: the value of A ${BAD_TEXT} "\u0000" at character 5 of "text\u0000plain"`,
  ],
  [
    'DEL in a header value',
    withHeader('A', '\x7f'),
    String.raw`${FIRST}: header 2: the value of A ${BAD_TEXT} "\u007f" at character 1 of "\u007f"`,
  ],
  [
    'a character above U+00FF in a header value',
    withHeader('A', '\u0416'),
    String.raw`${FIRST}: header 2: the value of A ${BAD_TEXT} "\u0416" at character 1 of "\u0416"`,
  ],
  [
    'a response without a Content-Type',
    withHeaders([]),
    `${FIRST}: No Content-Type header found; status 200 requires one`,
  ],
  [
    'two Content-Types',
    withHeaders([...PLAIN, ...PLAIN]),
    `${FIRST}: Content-Type must appear once, not 2 times (headers 1, 2)`,
  ],
  [
    'two Content-Lengths',
    withHeaders([...PLAIN, ['Content-Length', '1'], ['content-length', '1']]),
    `${FIRST}: Content-Length must appear once, not 2 times (headers 2, 3)`,
  ],
  [
    'a negative Content-Length',
    withHeader('Content-Length', '-1'),
    `${FIRST}: header 2: Content-Length must be 1 to 15 digits, not "-1"`,
  ],
  ...['100 Continue', '204 No Content', '304 Not Modified'].map(
    (status) =>
      [
        `a Content-Type for ${status}`,
        start(status, PLAIN),
        `${FIRST}: header 1: Content-Type is not allowed with status ${status.slice(0, 3)}, ` +
          'which has no body',
      ] as const,
  ),
  ...['101 Switching Protocols', '204 No Content'].map(
    (status) =>
      [
        `a Content-Length for ${status}`,
        start(status, [['Content-Length', '0']]),
        `${FIRST}: header 1: Content-Length is not allowed with status ` +
          `${status.slice(0, 3)}, which has no body`,
      ] as const,
  ),
  [
    'a Content-Length for 304',
    start('304 Not Modified', [['Content-Length', '3']]),
    `warning: ${FIRST}: header 1: Content-Length should not appear with status 304, which ` +
      'has no body',
  ],
  ...['Encoding', 'Language', 'MD5', 'Range'].map(
    (what) =>
      [
        `Content-${what} for 304`,
        start('304 Not Modified', [[`Content-${what}`, 'x']]),
        `warning: ${FIRST}: header 1: Content-${what} should not appear with status 304, ` +
          'which has no body',
      ] as const,
  ),
  [
    'an ETag without quotes',
    withHeader('ETag', 'x'),
    `warning: ${FIRST}: header 2: ETag should be "tag" or W/"tag" with the quotes, not "x"`,
  ],
  [
    'an ETag with a lower-case w',
    withHeader('ETag', 'w/"x"'),
    String.raw`warning: ${FIRST}: header 2: ETag should be "tag" or W/"tag" with the quotes, not "w/\"x\""`,
  ],
  [
    'a Location with status 200',
    withHeader('Location', '/x'),
    `warning: ${FIRST}: header 2: Location "/x" should come with a status other than 200, which ` +
      'makes it an internal redirect of the server',
  ],
])

export const responseRows: Row[] = [...statusRows, ...headerRows]
