/** Rows about the environ: what an application is told of a request. */
import { sees, type Row } from '../row.ts'

const ODD_QUERY = 'k=aa%2F%2Fbb&//q//p//=//a//b//?c=d&%zz&+'
const LONG = 'long='.padEnd(4200, '0123456789')

export const environRows: readonly Row[] = [
  sees(
    'SCRIPT_NAME is the mount point, and always there',
    [100, 115],
    { target: '/' },
    (place) => ({
      SCRIPT_NAME: place.mount,
      PATH_INFO: '/',
    }),
  ),
  sees('PATH_INFO is empty at a mount point itself', [164], { target: '' }, ({ mount }) => ({
    SCRIPT_NAME: mount,
    PATH_INFO: mount === '' ? '/' : '',
  })),
  sees('the query is there, raw', [101], { target: '/?name=x' }, () => ({
    QUERY_STRING: 'name=x',
    PATH_INFO: '/',
  })),
  sees('an odd query stays as it is', [261], { target: `/?${ODD_QUERY}` }, () => ({
    QUERY_STRING: ODD_QUERY,
  })),
  sees('QUERY_STRING is empty where there is none', [230], { target: '/a' }, () => ({
    QUERY_STRING: '',
  })),
  sees(
    'method, path and server are told',
    [110],
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
  sees('a percent-encoded comma is decoded', [111], { target: '/foo/bar%2cbaz' }, () => ({
    PATH_INFO: '/foo/bar,baz',
  })),
  sees('a path is decoded once', [112], { target: '/foo/bar%252cbaz' }, () => ({
    PATH_INFO: '/foo/bar%2cbaz',
  })),
  sees(
    'escaped UTF-8 becomes one character for each byte',
    [113],
    { target: '/foo%E3%81%82' },
    () => ({
      PATH_INFO: '/foo\xe3\x81\x82',
    }),
  ),
  sees('escaped bytes that are no UTF-8 stay what they are', [12], { target: '/%80%ff' }, () => ({
    PATH_INFO: '/\x80\xff',
  })),
  sees(
    'path and query of a request with a letter escaped, and a header sent twice with blanks behind',
    [3],
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
    'REQUEST_URI is the raw target, mount point and all',
    [124],
    { target: '/foo/bar%20baz%73?x=a' },
    ({ mount }) => ({ REQUEST_URI: `${mount}/foo/bar%20baz%73?x=a` }),
  ),
  sees('repeated slashes stay in PATH_INFO', [134], { target: '//foo///bar/baz' }, ({ mount }) => ({
    SCRIPT_NAME: mount,
    PATH_INFO: '//foo///bar/baz',
  })),
  sees('the scheme is http', [77, 104], { target: '/' }, () => ({ 'wsgi.url_scheme': 'http' })),
  sees('the protocol is HTTP/1.1', [114], { target: '/' }, () => ({ SERVER_PROTOCOL: 'HTTP/1.1' })),
  sees(
    'a request header Foo is HTTP_FOO',
    [108],
    { target: '/', headers: [['Foo', 'Bar']] },
    () => ({ HTTP_FOO: 'Bar' }),
  ),
  sees('an empty header is there', [258], { target: '/', headers: [['X-Empty', '']] }, () => ({
    HTTP_X_EMPTY: '',
    HTTP_X_ABSENT: undefined,
  })),
  sees(
    'a cookie is HTTP_COOKIE, and COOKIE is nothing',
    [109, 122],
    { target: '/', headers: [['Cookie', 'foo=bar']] },
    () => ({ HTTP_COOKIE: 'foo=bar', COOKIE: undefined }),
  ),
  sees(
    'two headers of a name are joined',
    [120],
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
    'two cookies are joined as cookies',
    [192],
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
    [125],
    { target: '/', headers: [['X-Long', 'x'.repeat(128)]] },
    () => ({ HTTP_X_LONG: 'x'.repeat(128) }),
  ),
  sees(
    'a cookie of more than 4 KiB arrives whole',
    [125],
    { target: '/', headers: [['Cookie', LONG]] },
    () => ({ HTTP_COOKIE: LONG }),
  ),
  sees(
    'bytes of a header above 0x7f stay what they are',
    [282],
    { target: '/', headers: [['X-Bytes', 'a\xe9\xff\xc3\xa9z']] },
    () => ({ HTTP_X_BYTES: 'a\xe9\xff\xc3\xa9z' }),
  ),
  sees(
    'a header Proxy is no HTTP_PROXY',
    [193],
    { target: '/', headers: [['Proxy', 'http://evil.example/']] },
    () => ({ HTTP_PROXY: undefined }),
  ),
  sees(
    'Authorization is passed on',
    [133, 168],
    { target: '/', headers: [['Authorization', 'Basic YTpi']] },
    () => ({ HTTP_AUTHORIZATION: 'Basic YTpi' }),
  ),
  sees('Authorization is absent where nobody sent it', [133], { target: '/' }, () => ({
    HTTP_AUTHORIZATION: undefined,
  })),
  sees(
    'a form has a type and a length, and no doubles of them',
    [102],
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
  sees('a body without a type has none', [234], { method: 'POST', target: '/', body: 'x' }, () => ({
    CONTENT_TYPE: undefined,
    CONTENT_LENGTH: '1',
  })),
  sees(
    'a GET has neither type nor length, but for SCGI, where a length has to be',
    [132],
    { target: '/' },
    ({ gateway }) => ({
      CONTENT_TYPE: undefined,
      CONTENT_LENGTH: gateway === 'scgi' ? '0' : undefined,
    }),
  ),
  sees('an empty body has the length 0', [205], { method: 'PUT', target: '/', body: '' }, () => ({
    REQUEST_METHOD: 'PUT',
    CONTENT_LENGTH: '0',
  })),
  ...['DELETE', 'OPTIONS', 'PATCH', 'PROPFIND'].map((method) =>
    sees(`${method} is a method like any other`, [230], { method, target: '/' }, () => ({
      REQUEST_METHOD: method,
    })),
  ),
  sees('the keys of PEP 3333 are there', [75, 166], { target: '/' }, ({ gateway }) => ({
    'wsgi.version': [1, 0],
    'wsgi.multithread': false,
    'wsgi.run_once': gateway === 'cgi',
    'portico.gateway': gateway,
  })),
]
