/** Rows about head and framing: status, headers, lengths, HEAD, statuses without a body. */
import type { Application, HeaderList } from '../../types.ts'
import { reportClose, text, watched, type Row } from '../row.ts'

/** An application that responds with this to every request. */
function responding(status: string, headers: HeaderList, body: string[]): Application {
  return (environ, startResponse) => {
    startResponse(
      status,
      headers.map(([name, value]) => [name, value]),
    )
    return watched(environ, [...body])
  }
}

/** A generator that reports its end. */
function generating(status: string, headers: HeaderList, body: string[]): Application {
  return function* (environ, startResponse) {
    try {
      startResponse(
        status,
        headers.map(([name, value]) => [name, value]),
      )
      yield* body
    } finally {
      reportClose(environ)
    }
  } as Application
}

const NO_BODY = { body: '', closed: 1 }
const NO_FRAMING = { 'Content-Length': [], 'Transfer-Encoding': [] }

export const responseRows: readonly Row[] = [
  {
    name: 'an array of one chunk gets a Content-Length',
    request: { target: '/' },
    application: responding('200 OK', text(), ['http']),
    expect: { body: 'http', headers: { 'Content-Length': ['4'] }, closed: 1 },
  },
  {
    name: 'an array of several chunks gets a Content-Length',
    request: { target: '/' },
    application: responding('200 OK', text(), ['ht', '', 'tp']),
    expect: { body: 'http', headers: { 'Content-Length': ['4'] }, closed: 1 },
  },
  {
    name: 'an empty array gets Content-Length 0, and nothing is logged',
    request: { target: '/' },
    application: responding('200 OK', text(), []),
    expect: { ...NO_BODY, headers: { 'Content-Length': ['0'] } },
  },
  {
    name: 'an empty generator is an empty body',
    request: { target: '/' },
    application: generating('200 OK', text(), []),
    expect: NO_BODY,
  },
  {
    name: 'the Content-Length of an application is kept, after its Content-Type',
    request: { target: '/' },
    application: generating('200 OK', text(['Content-Length', '4']), ['ht', 'tp']),
    expect: {
      body: 'http',
      headers: { 'Content-Length': ['4'], 'Content-Type': ['text/plain'] },
      closed: 1,
    },
  },
  {
    name: 'a 404 has a body',
    request: { target: '/' },
    application: responding('404 Not Found', text(), ['nothing here']),
    expect: { status: '404 Not Found', body: 'nothing here', closed: 1 },
  },
  {
    name: "the reason of a status is the application's",
    request: { target: '/' },
    application: responding('403 Not Even You', text(), ['no']),
    expect: { status: '403 Not Even You', body: 'no', closed: 1 },
  },
  {
    name: 'two headers with the same name arrive as two',
    request: { target: '/' },
    application: responding('200 OK', text(['X-Foo', 'foo'], ['X-Foo', 'bar, baz']), ['x']),
    expect: { headers: { 'X-Foo': ['foo', 'bar, baz'] }, closed: 1 },
  },
  {
    name: 'Set-Cookie headers arrive one by one and in order',
    request: { target: '/' },
    application: responding('200 OK', text(['Set-Cookie', 'a=1'], ['Set-Cookie', 'b=2']), ['x']),
    expect: { headers: { 'Set-Cookie': ['a=1', 'b=2'] }, closed: 1 },
  },
  {
    name: 'a header may contain a tab and bytes above 0x7f',
    request: { target: '/' },
    application: responding('200 OK', text(['X-Bytes', 'a\tb\xe9\xff']), ['x']),
    expect: { headers: { 'X-Bytes': ['a\tb\xe9\xff'] }, closed: 1 },
  },
  {
    name: 'a redirect keeps its Location',
    request: { target: '/' },
    application: responding('302 Found', text(['Location', 'http://example.com/']), ['moved']),
    expect: {
      status: '302 Found',
      headers: { Location: ['http://example.com/'] },
      body: 'moved',
      closed: 1,
    },
  },
  {
    name: 'HEAD sends no body, but the Content-Length of GET',
    request: { method: 'HEAD', target: '/' },
    application: responding('200 OK', text(), ['Hello World']),
    expect: { ...NO_BODY, headers: { 'Content-Length': ['11'] } },
  },
  {
    name: 'HEAD keeps a Content-Length without a body',
    request: { method: 'HEAD', target: '/' },
    application: responding('200 OK', text(['Content-Length', '12345']), []),
    expect: { ...NO_BODY, headers: { 'Content-Length': ['12345'] } },
  },
  {
    name: 'HEAD ends a generator early, and closes it',
    request: { method: 'HEAD', target: '/' },
    application: generating(
      '200 OK',
      text(),
      Array.from({ length: 100 }, () => 'never seen'),
    ),
    expect: NO_BODY,
  },
  {
    name: 'HEAD drops what is passed to write()',
    request: { method: 'HEAD', target: '/' },
    application: async (_environ, startResponse) => {
      await startResponse('200 OK', text())('not for HEAD')
      return []
    },
    expect: { body: '' },
  },
  {
    name: 'a 204 has neither a body nor a Content-Length',
    request: { target: '/' },
    application: responding('204 No Content', [['Content-Length', '4']], ['http']),
    expect: { ...NO_BODY, status: '204 No Content', headers: NO_FRAMING },
  },
  {
    name: 'a 304 has no body, and gets no headers',
    request: { target: '/' },
    application: responding('304 Not Modified', [], []),
    expect: {
      ...NO_BODY,
      status: '304 Not Modified',
      headers: { ...NO_FRAMING, 'Content-Type': [] },
    },
  },
  {
    name: 'a 304 drops the body of the application',
    request: { target: '/' },
    application: generating('304 Not Modified', [['ETag', '"x"']], ['http']),
    expect: { ...NO_BODY, status: '304 Not Modified', headers: { ETag: ['"x"'] } },
  },
  {
    name: 'a body longer than declared is truncated',
    request: { target: '/' },
    application: responding('200 OK', text(['Content-Length', '4']), ['ht', 'tp/1.1']),
    expect: { body: 'http', headers: { 'Content-Length': ['4'] }, closed: 1 },
  },
  {
    name: 'a generator that sends more than declared is truncated and closed',
    request: { target: '/' },
    application: generating('200 OK', text(['Content-Length', '4']), ['http', '/1.1', 'and more']),
    expect: { body: 'http', headers: { 'Content-Length': ['4'] }, closed: 1 },
  },
  {
    name: 'an array shorter than declared is an aborted response',
    request: { target: '/' },
    application: responding('200 OK', text(['Content-Length', '40']), ['http']),
    expect: { body: 'http', broken: true, closed: 1, logged: '4 of the 40 bytes' },
  },
  {
    name: 'a generator shorter than declared is an aborted response',
    request: { target: '/' },
    application: generating('200 OK', text(['Content-Length', '40']), ['ht', 'tp']),
    expect: { body: 'http', broken: true, closed: 1, logged: '4 of the 40 bytes' },
  },
]
