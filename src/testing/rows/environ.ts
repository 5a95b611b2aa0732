/** Rows about the environ. */
import { sees, type Row } from '../row.ts'

const ODD_QUERY = 'k=aa%2F%2Fbb&//q//p//=//a//b//?c=d&%zz&+'
const LONG = 'long='.padEnd(4200, '0123456789')

export const environRows: readonly Row[] = [
  sees('SCRIPT_NAME is the mount point, and always present', { target: '/' }, ({ mount }) => ({
    SCRIPT_NAME: mount,
    PATH_INFO: '/',
  })),
  sees('PATH_INFO is empty at the mount point', { target: '' }, ({ mount }) => ({
    SCRIPT_NAME: mount,
    PATH_INFO: mount === '' ? '/' : '',
  })),
  sees('QUERY_STRING is not decoded', { target: '/?name=x' }, () => ({
    QUERY_STRING: 'name=x',
    PATH_INFO: '/',
  })),
  sees('an unusual query is not changed', { target: `/?${ODD_QUERY}` }, () => ({
    QUERY_STRING: ODD_QUERY,
  })),
  sees('QUERY_STRING is empty if there is no query', { target: '/a' }, () => ({
    QUERY_STRING: '',
  })),
  sees(
    'the environ has the method, the path and the server',
    { target: '/foo/?dankogai=kogaidan' },
    ({ mount, serverName, serverPort }) => ({
      REQUEST_METHOD: 'GET',
      SCRIPT_NAME: mount,
      PATH_INFO: '/foo/',
      QUERY_STRING: 'dankogai=kogaidan',
      SERVER_NAME: serverName,
      SERVER_PORT: String(serverPort),
    }),
  ),
  sees('a percent-encoded comma is decoded', { target: '/foo/bar%2cbaz' }, () => ({
    PATH_INFO: '/foo/bar,baz',
  })),
  sees('a path is decoded once', { target: '/foo/bar%252cbaz' }, () => ({
    PATH_INFO: '/foo/bar%2cbaz',
  })),
  sees(
    'percent-encoded UTF-8 becomes one character for each byte',
    { target: '/foo%E3%81%82' },
    () => ({
      PATH_INFO: '/foo\xe3\x81\x82',
    }),
  ),
  sees('percent-encoded bytes that are not UTF-8 are kept', { target: '/%80%ff' }, () => ({
    PATH_INFO: '/\x80\xff',
  })),
  sees(
    'a percent-encoded letter of the path is decoded, and a repeated header is joined without trailing spaces',
    {
      target: '/p%61th/?query=test',
      headers: [
        ['X-Test-Header', 'Python test '],
        ['X-Test-Header', 'Python test 2  '],
      ],
    },
    () => ({
      HTTP_X_TEST_HEADER: 'Python test, Python test 2',
      QUERY_STRING: 'query=test',
      PATH_INFO: '/path/',
    }),
  ),
  sees(
    'REQUEST_URI is the raw target, mount point included',
    { target: '/foo/bar%20baz%73?x=a' },
    ({ mount }) => ({ REQUEST_URI: `${mount}/foo/bar%20baz%73?x=a` }),
  ),
  sees('repeated slashes are kept in PATH_INFO', { target: '//foo///bar/baz' }, ({ mount }) => ({
    SCRIPT_NAME: mount,
    PATH_INFO: '//foo///bar/baz',
  })),
  sees('the scheme is http', { target: '/' }, () => ({ 'wsgi.url_scheme': 'http' })),
  sees('the protocol is HTTP/1.1', { target: '/' }, () => ({ SERVER_PROTOCOL: 'HTTP/1.1' })),
  sees('a request header Foo is HTTP_FOO', { target: '/', headers: [['Foo', 'Bar']] }, () => ({
    HTTP_FOO: 'Bar',
  })),
  sees('an empty header is present', { target: '/', headers: [['X-Empty', '']] }, () => ({
    HTTP_X_EMPTY: '',
    HTTP_X_ABSENT: undefined,
  })),
  sees(
    'a cookie is HTTP_COOKIE, and COOKIE is nothing',
    { target: '/', headers: [['Cookie', 'foo=bar']] },
    () => ({ HTTP_COOKIE: 'foo=bar', COOKIE: undefined }),
  ),
  sees(
    'two headers with the same name are joined',
    {
      target: '/',
      headers: [
        ['Foo', 'bar'],
        ['Foo', 'baz'],
      ],
    },
    () => ({ HTTP_FOO: 'bar, baz' }),
  ),
  sees(
    'two Cookie headers are joined with a semicolon',
    {
      target: '/',
      headers: [
        ['Cookie', 'a=1'],
        ['Cookie', 'b=2'],
      ],
    },
    () => ({ HTTP_COOKIE: 'a=1; b=2' }),
  ),
  sees(
    'a header of 128 bytes arrives whole',
    { target: '/', headers: [['X-Long', 'x'.repeat(128)]] },
    () => ({ HTTP_X_LONG: 'x'.repeat(128) }),
  ),
  sees(
    'a cookie of more than 4 KiB arrives whole',
    { target: '/', headers: [['Cookie', LONG]] },
    () => ({ HTTP_COOKIE: LONG }),
  ),
  sees(
    'bytes of a header above 0x7f are kept',
    { target: '/', headers: [['X-Bytes', 'a\xe9\xff\xc3\xa9z']] },
    () => ({ HTTP_X_BYTES: 'a\xe9\xff\xc3\xa9z' }),
  ),
  sees(
    'a header Proxy does not become HTTP_PROXY',
    { target: '/', headers: [['Proxy', 'http://evil.example/']] },
    () => ({ HTTP_PROXY: undefined }),
  ),
  sees(
    'Authorization is passed on',
    { target: '/', headers: [['Authorization', 'Basic YTpi']] },
    () => ({ HTTP_AUTHORIZATION: 'Basic YTpi' }),
  ),
  sees('Authorization is absent if it was not sent', { target: '/' }, () => ({
    HTTP_AUTHORIZATION: undefined,
  })),
  sees(
    'a form has CONTENT_TYPE and CONTENT_LENGTH, and no HTTP_CONTENT_*',
    {
      method: 'POST',
      target: '/',
      headers: [['Content-Type', 'application/x-www-form-urlencoded']],
      body: 'name=tatsuhiko',
    },
    () => ({
      REQUEST_METHOD: 'POST',
      CONTENT_TYPE: 'application/x-www-form-urlencoded',
      CONTENT_LENGTH: '14',
      HTTP_CONTENT_TYPE: undefined,
      HTTP_CONTENT_LENGTH: undefined,
    }),
  ),
  sees(
    'a body without a Content-Type has no CONTENT_TYPE',
    { method: 'POST', target: '/', body: 'x' },
    () => ({
      CONTENT_TYPE: undefined,
      CONTENT_LENGTH: '1',
    }),
  ),
  sees(
    'a GET has neither CONTENT_TYPE nor CONTENT_LENGTH, except over SCGI',
    { target: '/' },
    ({ gateway }) => ({
      CONTENT_TYPE: undefined,
      CONTENT_LENGTH: gateway === 'scgi' ? '0' : undefined,
    }),
  ),
  sees('an empty body has CONTENT_LENGTH 0', { method: 'PUT', target: '/', body: '' }, () => ({
    REQUEST_METHOD: 'PUT',
    CONTENT_LENGTH: '0',
  })),
  ...['DELETE', 'OPTIONS', 'PATCH', 'PROPFIND'].map((method) =>
    sees(`${method} is a method like any other`, { method, target: '/' }, () => ({
      REQUEST_METHOD: method,
    })),
  ),
  sees('the keys of PEP 3333 are present', { target: '/' }, ({ gateway }) => ({
    'wsgi.version': [1, 0],
    'wsgi.multithread': false,
    'wsgi.run_once': gateway === 'cgi',
    'portico.gateway': gateway,
  })),
]
