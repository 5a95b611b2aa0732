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
  `${FIRST}: header 2: the name must be letters, digits, "-" and "_", the first of them a letter ` +
  'and the last a letter or a digit, not '
const BAD_TEXT = 'must hold no control character but a tab and none above U+00FF, not'

const statusRows = applications([
  [
    '2a.3 2c.66',
    'one argument',
    start(OK),
    `${FIRST}: takes (status, headers, error?), not 1 argument`,
  ],
  [
    '2a.3 2c.66',
    'four arguments',
    start(1, 2, 3, 4),
    `${FIRST}: takes (status, headers, error?), not 4 arguments`,
  ],
  ['2a.21', 'a number', withStatus(200), `${FIRST}: Status must be a string, not 200`],
  [
    '2a.22',
    'a code of four digits',
    withStatus('2000 OK'),
    `${FIRST}: Status message must have a space after code, not "2000 OK"`,
  ],
  [
    '2a.22 2c.59',
    'a code of two digits',
    withStatus('20 OK'),
    `${FIRST}: Status message must begin w/3-digit code, not "20 OK"`,
  ],
  [
    '2a.23 2d.20 2e.33',
    'fact 8: a code that is no number',
    withStatus('20X OK'),
    `${FIRST}: Status message must begin w/3-digit code, not "20X OK"`,
  ],
  [
    '2a.23 2c.59 2d.20 2e.33',
    'a code below 100',
    withStatus('099 Low'),
    `${FIRST}: Status code must be at least 100, not "099 Low"`,
  ],
  [
    '2a.24 2c.59',
    'fact 7: a code and nothing else',
    withStatus('200'),
    `${FIRST}: Status must be at least 4 characters, not "200"`,
  ],
  [
    '2a.24 2c.59',
    'fact 9: no space after the code',
    withStatus('200OK'),
    `${FIRST}: Status message must have a space after code, not "200OK"`,
  ],
  [
    '',
    'a line end in the status',
    withStatus('200 OK\r\nX: y'),
    String.raw`${FIRST}: Status ${BAD_TEXT} "\u000d" at character 7 of "200 OK\u000d\u000aX: y"`,
  ],
  [
    '2b.54',
    'text in the status',
    withStatus('200 \u0416'),
    String.raw`${FIRST}: Status ${BAD_TEXT} "\u0416" at character 5 of "200 \u0416"`,
  ],
  [
    '2a.36',
    'a string as error',
    start(OK, PLAIN, 'x'),
    `${FIRST}: error must be an Error or be left out, not "x"`,
  ],
  [
    '2a.36',
    "an exc_info of three, as Python's",
    start(OK, PLAIN, [TypeError, new TypeError('x'), null]),
    `${FIRST}: error must be an Error or be left out, not an array of 3`,
  ],
])

const headerRows = applications([
  [
    '2a.25 2d.21 2e.34',
    'fact 6: headers that are a text',
    withHeaders('Content-Type: text/plain'),
    `${FIRST}: Headers must be an array of arrays [name, value], not "Content-Type: text/plain"`,
  ],
  [
    '2a.25 2d.21 2e.34',
    'headers of an object',
    withHeaders({}),
    `${FIRST}: Headers must be an array of arrays [name, value], not an object of class Object`,
  ],
  [
    '2a.26 2d.22',
    'flat headers',
    withHeaders(['Content-Type', 'text/plain']),
    `${FIRST}: header 1 must be an array [name, value], not "Content-Type"`,
  ],
  [
    '2a.27 2d.22',
    'a header of three',
    withHeaders([...PLAIN, ['A', 'b', 'c']]),
    `${FIRST}: header 2 must be an array [name, value], not an array of 3`,
  ],
  [
    '2a.28 2e.34',
    'a name that is a number',
    withHeader(1, 'a'),
    `${FIRST}: header 2: the name must be a string, not 1`,
  ],
  [
    '2a.28 2e.38',
    'a value that is a number',
    withHeader('A', 1),
    `${FIRST}: header 2: the value of A must be a string, not 1`,
  ],
  [
    '2d.27',
    'a value that is undefined',
    withHeader('A', undefined),
    `${FIRST}: header 2: the value of A must be a string, not undefined`,
  ],
  [
    '2a.29 2d.23 2e.35',
    'Status as a header',
    withHeader('sTatus', '200'),
    `${FIRST}: header 2: the name must not be "sTatus"; the status is the first argument`,
  ],
  ['2a.30 2d.24', 'a colon in a name', withHeader('A:B', 'c'), `${BAD_NAME}"A:B"`],
  [
    '2a.30 2d.24',
    'a newline in a name',
    withHeader('A\nB', 'c'),
    String.raw`${BAD_NAME}"A\u000aB"`,
  ],
  [
    '2d.24',
    'a carriage return at the end of a name',
    withHeader('A\r', 'c'),
    String.raw`${BAD_NAME}"A\u000d"`,
  ],
  ['2a.31 2d.25', 'a space in a name', withHeader('A B', 'c'), `${BAD_NAME}"A B"`],
  ['2a.31 2d.25', 'a digit first', withHeader('1A', 'c'), `${BAD_NAME}"1A"`],
  ['2a.31 2d.25', 'an empty name', withHeader('', 'c'), `${BAD_NAME}""`],
  ['2a.32 2d.24', 'a name that ends in -', withHeader('A-', 'c'), `${BAD_NAME}"A-"`],
  ['2a.32 2d.24', 'a name that ends in _', withHeader('A_', 'c'), `${BAD_NAME}"A_"`],
  ['2b.54', 'text in a name', withHeader('A\u0416B', 'c'), String.raw`${BAD_NAME}"A\u0416B"`],
  ...Array.from('(),/:;<=>?@[]{}\\\x01\x7f').map(
    (bad) =>
      [
        '2e.36',
        `fact 177: ${JSON.stringify(bad)} in a name`,
        withHeader(`A${bad}B`, 'c'),
        `${BAD_NAME}${String.raw`"A${
          bad === '\\' ? '\\\\' : bad.replace('\x01', '\\u0001').replace('\x7f', '\\u007f')
        }B"`}`,
      ] as const,
  ),
  [
    '',
    'fact 99: a hop-by-hop header',
    withHeader('Connection', 'close'),
    `${FIRST}: header 2: Connection is the gateway's, not the application's, to send`,
  ],
  [
    '2a.33 2d.26 2e.38',
    'a line end in a value',
    withHeader('A', 'b\r\nC: d'),
    String.raw`${FIRST}: header 2: the value of A ${BAD_TEXT} "\u000d" at character 2 of "b\u000d\u000aC: d"`,
  ],
  [
    '2a.33 2d.26 2e.38',
    'fact 178: NUL in a value',
    withHeader('A', 'text\0plain'),
    String.raw`${FIRST}: header 2: the value of A ${BAD_TEXT} "\u0000" at character 5 of "text\u0000plain"`,
  ],
  [
    '2a.33',
    'DEL in a value',
    withHeader('A', '\x7f'),
    String.raw`${FIRST}: header 2: the value of A ${BAD_TEXT} "\u007f" at character 1 of "\u007f"`,
  ],
  [
    '2b.54',
    'fact 251: text in a value',
    withHeader('A', '\u0416'),
    String.raw`${FIRST}: header 2: the value of A ${BAD_TEXT} "\u0416" at character 1 of "\u0416"`,
  ],
  [
    '2a.34',
    'no Content-Type',
    withHeaders([]),
    `${FIRST}: No Content-Type header found for the status 200; there must be one`,
  ],
  [
    '',
    'two Content-Types',
    withHeaders([...PLAIN, ...PLAIN]),
    `${FIRST}: Content-Type must be there once, not 2 times (headers 1, 2)`,
  ],
  [
    '',
    'two Content-Lengths',
    withHeaders([...PLAIN, ['Content-Length', '1'], ['content-length', '1']]),
    `${FIRST}: Content-Length must be there once, not 2 times (headers 2, 3)`,
  ],
  [
    '',
    'a negative Content-Length',
    withHeader('Content-Length', '-1'),
    `${FIRST}: header 2: Content-Length must be 1 to 15 digits, not "-1"`,
  ],
  ...['100 Continue', '204 No Content', '304 Not Modified'].map(
    (status) =>
      [
        '2a.35 2b.55 2e.39',
        `a Content-Type for ${status}`,
        start(status, PLAIN),
        `${FIRST}: header 1: Content-Type must not be there for the status ${status.slice(0, 3)}, ` +
          'which has no body',
      ] as const,
  ),
  ...['101 Switching Protocols', '204 No Content'].map(
    (status) =>
      [
        '2c.61 2e.40',
        `a Content-Length for ${status}`,
        start(status, [['Content-Length', '0']]),
        `${FIRST}: header 1: Content-Length must not be there for the status ` +
          `${status.slice(0, 3)}, which has no body`,
      ] as const,
  ),
  [
    '2c.60 2e.40',
    'a Content-Length for 304',
    start('304 Not Modified', [['Content-Length', '3']]),
    `warning: ${FIRST}: header 1: Content-Length should not be there for the status 304, which ` +
      'has no body',
  ],
  ...['Encoding', 'Language', 'MD5', 'Range'].map(
    (what) =>
      [
        '2c.60',
        `Content-${what} for 304`,
        start('304 Not Modified', [[`Content-${what}`, 'x']]),
        `warning: ${FIRST}: header 1: Content-${what} should not be there for the status 304, ` +
          'which has no body',
      ] as const,
  ),
  [
    '2c.63',
    'an ETag without quotes',
    withHeader('ETag', 'x'),
    `warning: ${FIRST}: header 2: ETag should be "tag" or W/"tag", quotes included, not "x"`,
  ],
  [
    '2c.63',
    'an ETag with a small w',
    withHeader('ETag', 'w/"x"'),
    String.raw`warning: ${FIRST}: header 2: ETag should be "tag" or W/"tag", quotes included, not "w/\"x\""`,
  ],
  [
    '2c.64',
    'a Location with 200',
    withHeader('Location', '/x'),
    `warning: ${FIRST}: header 2: Location "/x" should come with a status other than 200, which ` +
      'makes it a redirect inside the server',
  ],
])

export const responseRows: Row[] = [...statusRows, ...headerRows]
