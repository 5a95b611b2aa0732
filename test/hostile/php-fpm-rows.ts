/**
 * Input that the specification leaves open or forbids, and how php-fpm 8.2 and FastCGIHandler handle
 * it. Web servers have been tested with php-fpm for twenty years, so a row that differs gives a
 * reason.
 */
import { Buffer } from 'node:buffer'
import { encodePairs } from '../../src/protocol/fastcgi-pairs.ts'
import { begin, record } from '../protocol/fastcgi-helpers.ts'

export interface Row {
  readonly name: string
  /**
   * What php-fpm does: `1: 200 "5"` is a response with the body '5', `1: complete` an END_REQUEST.
   */
  readonly php: string
  /**
   * Absent if it is the same. With 'closed', an END_REQUEST without a response may come first: it
   * adds nothing to the close.
   */
  readonly ours?: string
  readonly why?: string
  readonly send: () => Buffer[]
  /** The web server then closes its half. */
  readonly eof?: boolean
}

type Pairs = readonly (readonly [string, string])[]

function pairs(more: Pairs = []): Buffer {
  return encodePairs([
    ['SCRIPT_FILENAME', 'index.php'],
    ['REQUEST_METHOD', 'POST'],
    ['SCRIPT_NAME', '/index.php'],
    ['SERVER_PROTOCOL', 'HTTP/1.1'],
    ...more,
  ])
}

const length = (value: string): Pairs => [['CONTENT_LENGTH', value]]

function params(id: number, more: Pairs = [], padding = 0): Buffer[] {
  return [record(4, id, pairs(more), padding), record(4, id, '', padding)]
}

/** A whole request: BEGIN_REQUEST, PARAMS and STDIN. */
function request(id: number, keep = false, body = '', declared = String(body.length)): Buffer[] {
  const stdin = body === '' ? [] : [record(5, id, body)]
  return [begin(id, 1, keep), ...params(id, length(declared)), ...stdin, record(5, id)]
}

function ofVersion(version: number, records: Buffer[]): Buffer[] {
  return records.map((each) => Buffer.concat([Buffer.from([version]), each.subarray(1)]))
}

function interleaved(first: Buffer[], second: Buffer[]): Buffer[] {
  return first.flatMap((each, index) => [each, second[index]!])
}

/** Reasons for more than one row. */
const STRICT =
  'after a protocol error nothing gets a response: earlier records may be part of the same mistake'

const ABORTED =
  'an aborted request gets no response (section 5.4); php-fpm runs the script with an empty body'

const OWN_END =
  'STDIN says itself where it ends (section 5.3): a body that came chunked has no length'

const DIGITS = 'anything but digits is a 400; php-fpm reads it as atoi does'

const UNKNOWN = 'the application says that it does not know the type (section 4.2)'

const ROLE = 'the web server gets UNKNOWN_ROLE (section 5.1), and the connection stays open'

const INACTIVE = 'records of an id that is not active are ignored (section 3.3)'

export const ROWS: readonly Row[] = [
  {
    name: 'a request',
    php: '1: 200 "5", 1: complete, closed',
    send: () => request(1, false, 'hello'),
  },
  {
    name: 'a request with KEEP_CONN',
    php: '1: 200 "5", 1: complete, open',
    send: () => request(1, true, 'hello'),
  },
  {
    name: 'two with KEEP_CONN and one id',
    php: '1: 200 "1", 1: complete, 1: 200 "2", 1: complete, open',
    ours: 'closed',
    why: 'the id is active until its END_REQUEST (section 3.3): a second BEGIN_REQUEST may be smuggled',
    send: () => [...request(1, true, 'a'), ...request(1, true, 'bc')],
  },
  {
    name: 'KEEP_CONN, then without',
    php: '1: 200 "1", 1: complete, 2: 200 "2", 2: complete, closed',
    send: () => [...request(1, true, 'a'), ...request(2, false, 'bc')],
  },
  {
    name: 'without KEEP_CONN, then another',
    php: '1: 200 "1", 1: complete, closed',
    ours: '1: 200 "1", 1: complete, 2: 200 "2", 2: complete, closed',
    why: 'KEEP_CONN belongs to a request; one that began before the response also gets a response',
    send: () => [...request(1, false, 'a'), ...request(2, true, 'bc')],
  },
  {
    name: 'two requests interleaved',
    php: '1: 200 "", 1: complete, closed',
    ours: '1: 200 "1", 1: complete, 2: 200 "2", 2: complete, open',
    why: 'requests are multiplexed',
    send: () => interleaved(request(1, true, 'a'), request(2, true, 'bc')),
  },
  {
    name: 'role 9',
    php: 'closed',
    ours: '1: unknown role, closed',
    why: ROLE,
    send: () => [begin(1, 9, false), ...params(1), record(5, 1)],
  },
  {
    name: 'role 9 with KEEP_CONN',
    php: 'closed',
    ours: '1: unknown role, open',
    why: ROLE,
    send: () => [begin(1, 9, true), ...params(1), record(5, 1)],
  },
  {
    name: 'role 9 with KEEP_CONN, then a request',
    php: 'closed',
    ours: '1: unknown role, 2: 200 "1", 2: complete, open',
    why: ROLE,
    send: () => [begin(1, 9, true), ...params(1), record(5, 1), ...request(2, true, 'a')],
  },
  {
    name: 'the role Filter',
    php: '1: 200 "0", 1: complete, closed',
    ours: '1: unknown role, closed',
    why: 'a Filter needs the file in FCGI_DATA, which is not passed on; php-fpm takes it for a Responder',
    send: () => [begin(1, 3, false), ...params(1), record(5, 1), record(8, 1)],
  },
  {
    name: 'the role Authorizer',
    php: '1: 200 "0", 1: complete, closed',
    send: () => [begin(1, 2, false), ...params(1)],
  },
  {
    name: 'the role Authorizer with STDIN',
    php: '1: 200 "0", 1: complete, closed',
    send: () => [begin(1, 2, false), ...params(1), record(5, 1)],
  },
  {
    name: 'BEGIN_REQUEST twice with one id',
    php: '1: 200 "", 1: complete, closed',
    ours: 'closed',
    why: STRICT,
    send: () => [begin(1, 1, true), ...request(1, true, 'a')],
  },
  {
    name: 'BEGIN_REQUEST with an active id after PARAMS',
    php: '1: 200 "0", 1: complete, closed',
    ours: 'closed',
    why: STRICT,
    send: () => [begin(1, 1, true), ...params(1, length('1')), ...request(1, true, 'a')],
  },
  {
    name: 'BEGIN_REQUEST with id 0',
    php: '0: 200 "1", 0: complete, closed',
    ours: 'unknown type 1, unknown type 4, unknown type 4, unknown type 5, unknown type 5, open',
    why: 'id 0 is for management records only (section 3.3)',
    send: () => request(0, false, 'a'),
  },
  {
    name: 'BEGIN_REQUEST of 4 bytes',
    php: 'closed',
    send: () => [record(1, 1, begin(1).subarray(8, 12)), ...params(1), record(5, 1)],
  },
  {
    name: 'BEGIN_REQUEST of 16 bytes',
    php: 'closed',
    send: () => [
      record(1, 1, Buffer.concat([begin(1).subarray(8), Buffer.alloc(8)])),
      ...params(1),
      record(5, 1),
    ],
  },
  { name: 'version 0', php: 'closed', send: () => ofVersion(0, request(1)) },
  {
    name: 'version 2',
    php: '1: 200 "0", 1: complete, closed',
    ours: 'closed',
    why: 'php-fpm looks whether the version is at least 1',
    send: () => ofVersion(2, request(1)),
  },
  {
    name: 'padding of 255 bytes everywhere',
    php: '1: 200 "0", 1: complete, closed',
    ours: '1: 200 "5", 1: complete, closed',
    why: 'php-fpm takes an empty PARAMS record with padding for one that is not empty',
    send: () => [
      begin(1, 1, false, 255),
      ...params(1, length('5'), 255),
      record(5, 1, 'hello', 255),
      record(5, 1, '', 255),
    ],
  },
  {
    name: 'PARAMS in single bytes',
    php: 'closed',
    ours: '1: 200 "1", 1: complete, closed',
    why: 'a stream is independent of its records (section 3.3); php-fpm wants pairs whole',
    send: () => [
      begin(1, 1, false),
      ...Array.from(pairs(length('1')), (byte) => record(4, 1, Buffer.from([byte]))),
      record(4, 1),
      record(5, 1, 'a'),
      record(5, 1),
    ],
  },
  {
    name: 'no PARAMS',
    php: '1: 200 "", 1: complete, closed',
    ours: '1: 200 "0", 1: complete, closed',
    why: 'the environ has what an application counts on; php-fpm runs no script without its name',
    send: () => [begin(1, 1, false), record(4, 1), record(5, 1)],
  },
  {
    name: 'PARAMS with a length beyond their end',
    php: 'closed',
    send: () => [
      begin(1, 1, false),
      record(4, 1, Buffer.concat([pairs(), Buffer.from([200, 200, 65])])),
      record(4, 1),
      record(5, 1),
    ],
  },
  {
    name: 'PARAMS after their end',
    php: '1: 200 "0", 1: complete, closed',
    ours: 'closed',
    why: STRICT,
    send: () => [
      begin(1, 1, false),
      ...params(1, length('1')),
      record(4, 1, pairs()),
      record(5, 1, 'a'),
      record(5, 1),
    ],
  },
  {
    name: 'STDIN before PARAMS',
    php: '1: 200 "", 1: complete, closed',
    ours: 'closed',
    why: STRICT,
    send: () => [begin(1, 1, false), record(5, 1, 'a'), ...params(1, length('1')), record(5, 1)],
  },
  {
    name: 'PARAMS of an id that is not active',
    php: '1: 200 "0", 1: complete, closed',
    ours: '1: 200 "1", 1: complete, closed',
    why: INACTIVE,
    send: () => [
      begin(1, 1, false),
      ...params(2),
      ...params(1, length('1')),
      record(5, 1, 'a'),
      record(5, 1),
    ],
  },
  {
    name: 'STDIN of an id that is not active',
    php: '1: 200 "1", 1: complete, closed',
    send: () => [
      begin(1, 1, false),
      ...params(1, length('1')),
      record(5, 2, 'bc'),
      record(5, 1, 'a'),
      record(5, 1),
    ],
  },
  {
    name: 'records of an id that is not active before BEGIN_REQUEST',
    php: 'closed',
    ours: '1: 200 "1", 1: complete, closed',
    why: INACTIVE,
    send: () => [record(5, 7, 'x'), ...request(1, false, 'a')],
  },
  {
    name: 'more STDIN than CONTENT_LENGTH',
    php: '1: 200 "3", 1: complete, closed',
    send: () => request(1, false, 'hello', '3'),
  },
  {
    name: 'more STDIN than CONTENT_LENGTH, KEEP_CONN, another',
    php: '1: 200 "3", 1: complete, closed',
    ours: 'closed',
    why: 'one id twice, as above; php-fpm closes where it has not read all of STDIN',
    send: () => [...request(1, true, 'hello', '3'), ...request(1, true, 'a')],
  },
  {
    name: 'less STDIN than CONTENT_LENGTH',
    php: 'open',
    ours: '1: 400, 1: complete, closed',
    why: 'STDIN has ended, so nothing more will come; php-fpm waits for it',
    send: () => request(1, false, 'hello', '9'),
  },
  {
    name: 'less STDIN and no end',
    php: 'open',
    send: () => request(1, false, 'hello', '9').slice(0, -1),
  },
  {
    name: 'less STDIN and the end of the connection',
    php: '1: 200 "0", 1: complete, closed',
    ours: '1: complete, closed',
    why: 'a truncated body is not a shorter body; php-fpm runs the script with none',
    eof: true,
    send: () => request(1, false, 'hello', '9').slice(0, -1),
  },
  {
    name: 'all of STDIN but its end',
    php: '1: 200 "5", 1: complete, closed',
    send: () => request(1, false, 'hello').slice(0, -1),
  },
  {
    name: 'STDIN without CONTENT_LENGTH',
    php: '1: 200 "0", 1: complete, closed',
    ours: '1: 200 "5", 1: complete, closed',
    why: OWN_END,
    send: () => [begin(1, 1, false), ...params(1), record(5, 1, 'hello'), record(5, 1)],
  },
  {
    name: 'CONTENT_LENGTH -1',
    php: 'open',
    ours: '1: 400, 1: complete, closed',
    why: DIGITS,
    send: () => request(1, false, 'hello', '-1'),
  },
  {
    name: 'CONTENT_LENGTH 5x',
    php: '1: 200 "5", 1: complete, closed',
    ours: '1: 400, 1: complete, closed',
    why: DIGITS,
    send: () => request(1, false, 'hello', '5x'),
  },
  {
    name: 'CONTENT_LENGTH empty',
    php: '1: 200 "0", 1: complete, closed',
    ours: '1: 200 "5", 1: complete, closed',
    why: OWN_END,
    send: () => request(1, false, 'hello', ''),
  },
  {
    name: 'STDIN after its end',
    php: '1: 200 "1", 1: complete, closed',
    ours: 'closed',
    why: STRICT,
    send: () => [...request(1, true, 'a', '1'), record(5, 1, 'b')],
  },
  {
    name: 'DATA for a Responder',
    php: '1: 200 "0", 1: complete, closed',
    ours: 'closed',
    why: STRICT,
    send: () => [
      begin(1, 1, false),
      ...params(1, length('1')),
      record(8, 1, 'x'),
      record(5, 1, 'a'),
      record(5, 1),
    ],
  },
  {
    name: 'a type that is unknown, for the request',
    php: '1: 200 "0", 1: complete, closed',
    ours: 'unknown type 42, 1: 200 "1", 1: complete, closed',
    why: UNKNOWN,
    send: () => [
      begin(1, 1, false),
      ...params(1, length('1')),
      record(42, 1, 'x'),
      record(5, 1, 'a'),
      record(5, 1),
    ],
  },
  {
    name: 'a type that only applications send',
    php: '1: 200 "0", 1: complete, closed',
    ours: 'closed',
    why: STRICT,
    send: () => [
      begin(1, 1, false),
      ...params(1, length('1')),
      record(6, 1, 'x'),
      record(5, 1, 'a'),
      record(5, 1),
    ],
  },
  {
    name: 'a management type that is unknown',
    php: 'closed',
    ours: 'unknown type 42, 1: 200 "1", 1: complete, closed',
    why: UNKNOWN,
    send: () => [record(42, 0, 'x'), ...request(1, false, 'a')],
  },
  {
    name: 'GET_VALUES',
    php: 'values FCGI_MPXS_CONNS0, 1: 200 "0", 1: complete, open',
    ours: 'values FCGI_MPXS_CONNS1  FCGI_MAX_CONNS4096, 1: 200 "0", 1: complete, open',
    why: 'several requests at a time, and the limit of connections is known',
    send: () => [
      record(
        9,
        0,
        encodePairs([
          ['FCGI_MPXS_CONNS', ''],
          ['FCGI_MAX_CONNS', ''],
          ['OTHER', ''],
        ]),
      ),
      ...request(1, true),
    ],
  },
  {
    name: 'GET_VALUES with values',
    php: 'values FCGI_MPXS_CONNS0, 1: 200 "0", 1: complete, open',
    ours: 'values FCGI_MPXS_CONNS1, 1: 200 "0", 1: complete, open',
    why: 'as above',
    send: () => [record(9, 0, encodePairs([['FCGI_MPXS_CONNS', '7']])), ...request(1, true)],
  },
  {
    name: 'GET_VALUES without names',
    php: 'values , 1: 200 "0", 1: complete, open',
    send: () => [record(9, 0), ...request(1, true)],
  },
  {
    name: 'GET_VALUES within a request',
    php: '1: 200 "0", 1: complete, closed',
    ours: 'values FCGI_MPXS_CONNS1, 1: 200 "1", 1: complete, open',
    why: 'it may come at any time (section 4.1)',
    send: () => [
      begin(1, 1, true),
      ...params(1, length('1')),
      record(9, 0, encodePairs([['FCGI_MPXS_CONNS', '']])),
      record(5, 1, 'a'),
      record(5, 1),
    ],
  },
  {
    name: 'ABORT_REQUEST after BEGIN_REQUEST',
    php: '1: 200 "", 1: complete, closed',
    ours: '1: complete, closed',
    why: ABORTED,
    send: () => [begin(1, 1, false), record(2, 1)],
  },
  {
    name: 'ABORT_REQUEST in place of STDIN',
    php: '1: 200 "0", 1: complete, closed',
    ours: '1: complete, closed',
    why: ABORTED,
    send: () => [begin(1, 1, false), ...params(1, length('5')), record(2, 1)],
  },
  {
    name: 'ABORT_REQUEST in place of STDIN, KEEP_CONN, another',
    php: '1: 200 "0", 1: complete, closed',
    ours: '1: complete, 2: 200 "1", 2: complete, open',
    why: ABORTED,
    send: () => [
      begin(1, 1, true),
      ...params(1, length('5')),
      record(2, 1),
      ...request(2, true, 'a'),
    ],
  },
  {
    name: 'ABORT_REQUEST of nothing',
    php: 'closed',
    ours: '1: 200 "1", 1: complete, closed',
    why: INACTIVE,
    send: () => [record(2, 1), ...request(1, false, 'a')],
  },
  {
    name: 'the end of the connection after a request',
    php: '1: 200 "5", 1: complete, closed',
    eof: true,
    send: () => request(1, true, 'hello'),
  },
  {
    name: 'the end of the connection within PARAMS',
    php: 'closed',
    eof: true,
    send: () => [begin(1, 1, false), record(4, 1, pairs())],
  },
  {
    name: 'the end of the connection within a record',
    php: 'closed',
    eof: true,
    send: () => [begin(1, 1, false), record(4, 1, pairs()).subarray(0, 30)],
  },
  {
    name: 'garbage after a request',
    php: '1: 200 "1", 1: complete, closed',
    ours: 'closed',
    why: STRICT,
    send: () => [...request(1, false, 'a'), Buffer.from('GET / HTTP/1.0\r\n\r\n')],
  },
  {
    name: 'garbage after a request with KEEP_CONN',
    php: '1: 200 "1", 1: complete, closed',
    ours: 'closed',
    why: STRICT,
    send: () => [...request(1, true, 'a'), Buffer.from('GET / HTTP/1.0\r\n\r\n')],
  },
  { name: 'HTTP', php: 'closed', send: () => [Buffer.from('GET / HTTP/1.0\r\n\r\n')] },
]
