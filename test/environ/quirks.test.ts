/**
 * SCRIPT_NAME and PATH_INFO from the variables that each web server sends. The variables are those of
 * the configurations that come with the servers, as far as they concern the path.
 */
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { completeEnviron, createEnviron, setVariable } from '../../src/environ/environ.ts'
import { decodePath } from '../../src/environ/decode-path.ts'
import type { PathOptions } from '../../src/environ/path.ts'

type Variables = Record<string, string>

function paths(
  variables: Variables,
  options: PathOptions = {},
  gateway?: string,
): [string, string] {
  const environ = createEnviron()
  for (const [name, value] of Object.entries(variables)) setVariable(environ, name, value)
  completeEnviron(environ, options, gateway)
  return [environ.SCRIPT_NAME, environ.PATH_INFO]
}

/** nginx 1.22, `include fastcgi_params`: $fastcgi_script_name and $document_uri are the URI. */
const nginx = (path: string, uri: string, more: Variables = {}): Variables => ({
  QUERY_STRING: 'a=//',
  REQUEST_METHOD: 'GET',
  CONTENT_TYPE: '',
  CONTENT_LENGTH: '',
  SCRIPT_NAME: path,
  REQUEST_URI: uri,
  DOCUMENT_URI: path,
  DOCUMENT_ROOT: '/usr/share/nginx/html',
  SERVER_PROTOCOL: 'HTTP/1.1',
  REQUEST_SCHEME: 'http',
  GATEWAY_INTERFACE: 'CGI/1.1',
  SERVER_SOFTWARE: 'nginx/1.22.1',
  REMOTE_ADDR: '127.0.0.1',
  REMOTE_PORT: '40000',
  SERVER_ADDR: '127.0.0.1',
  SERVER_PORT: '8080',
  SERVER_NAME: 'localhost',
  REDIRECT_STATUS: '200',
  ...more,
})

/** nginx 1.22, `include scgi_params`. */
const nginxScgi = (path: string, uri = path, more: Variables = {}): Variables => ({
  CONTENT_LENGTH: '0',
  SCGI: '1',
  REQUEST_METHOD: 'GET',
  REQUEST_URI: uri,
  QUERY_STRING: '',
  CONTENT_TYPE: '',
  DOCUMENT_URI: path,
  DOCUMENT_ROOT: '/usr/share/nginx/html',
  SERVER_PROTOCOL: 'HTTP/1.1',
  REMOTE_ADDR: '127.0.0.1',
  REMOTE_PORT: '40000',
  SERVER_PORT: '8080',
  SERVER_NAME: 'localhost',
  ...more,
})

/** nginx with `fastcgi_index index.php`: $fastcgi_script_name of a path that ends with a slash. */
const nginxIndex = (path: string, more: Variables = {}): Variables =>
  nginx(path, path, { SCRIPT_NAME: `${path}index.php`, ...more })

/** Apache 2.4, mod_cgid: the script is a file. */
const apache = (script: string, path: string | undefined, uri: string): Variables => ({
  GATEWAY_INTERFACE: 'CGI/1.1',
  SERVER_SOFTWARE: 'Apache/2.4.62 (Debian)',
  SCRIPT_FILENAME: `/usr/lib${script}`,
  REQUEST_URI: uri,
  SCRIPT_NAME: script,
  ...(path === undefined ? {} : { PATH_INFO: path, PATH_TRANSLATED: `/var/www/html${path}` }),
})

/** Apache 2.4, mod_proxy_fcgi with ProxyPass: no PATH_INFO. */
const proxyFcgi = (path: string, uri: string): Variables => ({
  GATEWAY_INTERFACE: 'CGI/1.1',
  SERVER_SOFTWARE: 'Apache/2.4.62 (Debian)',
  SCRIPT_FILENAME: `proxy:fcgi://127.0.0.1:9000${path}`,
  REQUEST_URI: uri,
  SCRIPT_NAME: path,
})

/** Apache 2.4, mod_proxy_fcgi with ProxyPass and `ProxyFCGIBackendType GENERIC`. */
const generic = (path: string, below = path): Variables => ({
  ...proxyFcgi(path, path),
  DOCUMENT_ROOT: '/var/www/html',
  SCRIPT_FILENAME: below,
})

/** Apache 2.4, mod_proxy_fcgi with SetHandler: what follows the first segment is PATH_INFO. */
const setHandler = (script: string, path?: string): Variables => ({
  GATEWAY_INTERFACE: 'CGI/1.1',
  SERVER_SOFTWARE: 'Apache/2.4.62 (Debian)',
  DOCUMENT_ROOT: '/var/www/html',
  CONTEXT_DOCUMENT_ROOT: '/var/www/html',
  SCRIPT_FILENAME: `proxy:fcgi://c/var/www/html${script}`,
  REQUEST_URI: script + (path ?? ''),
  SCRIPT_NAME: script,
  ...(path === undefined ? {} : { PATH_INFO: path }),
})

/** Apache 2.4, the same below `Alias /al /srv/al`. */
const alias = (script: string, prefix = '/al', directory = '/srv/al'): Variables => ({
  ...setHandler(script),
  CONTEXT_PREFIX: prefix,
  CONTEXT_DOCUMENT_ROOT: directory,
  SCRIPT_FILENAME: `proxy:fcgi://c/srv${script}`,
})

/** Apache 2.4, a script to which .htaccess redirects `url`. */
const rewritten = (
  script: string,
  path: string | undefined,
  url: string,
  uri = url,
  status = '200',
): Variables => ({
  ...apache(script, path, uri),
  REDIRECT_URL: url,
  REDIRECT_STATUS: status,
})

/** nginx, `include fastcgi_params` and `fastcgi_param PATH_INFO $fastcgi_script_name`. */
const nginxTwice = (path: string, more: Variables = {}): Variables =>
  nginx(path, path, { PATH_INFO: path, ...more })

/** Apache 2.4, mod_proxy_scgi with proxy-scgi-pathinfo: percent-encoded, and then in both. */
const proxyScgi = (script: string, path: string, uri: string): Variables => ({
  SCGI: '1',
  SERVER_SOFTWARE: 'Apache/2.4.62 (Debian)',
  REQUEST_URI: uri,
  SCRIPT_NAME: script,
  PATH_INFO: path,
})

/** lighttpd 1.4: no PATH_INFO where nothing follows the mount point. */
const lighttpd = (script: string, path: string | undefined, uri: string): Variables => ({
  CONTENT_LENGTH: '0',
  SERVER_SOFTWARE: 'lighttpd/1.4.69',
  SCRIPT_NAME: script,
  ...(path === undefined ? {} : { PATH_INFO: path }),
  SCRIPT_FILENAME: `/var/www${script}`,
  REQUEST_URI: uri,
  REDIRECT_STATUS: '200',
})

/** Caddy 2, `transport fastcgi`: everything it does not know is an empty string. */
const caddy = (script: string, path: string, uri: string): Variables => ({
  AUTH_TYPE: '',
  CONTENT_LENGTH: '',
  CONTENT_TYPE: '',
  DOCUMENT_URI: script,
  PATH_INFO: path,
  REMOTE_USER: '',
  REQUEST_URI: uri,
  SCRIPT_NAME: script,
  SCRIPT_FILENAME: `/srv${script}`,
  SERVER_SOFTWARE: 'Caddy/v2.8.4',
})

/** HAProxy 2.6, fcgi-app without `path-info`. */
const haproxy = (script: string, path: string | undefined, uri: string): Variables => ({
  DOCUMENT_ROOT: '/srv',
  SCRIPT_NAME: script,
  ...(path === undefined ? {} : { PATH_INFO: path }),
  REQUEST_URI: uri,
  SCRIPT_FILENAME: `/srv${script}`,
  SERVER_SOFTWARE: 'HAProxy 2.6.12',
})

/** IIS 10 with `allowPathInfo`: right, with empty strings. */
const iis = (script: string, path: string, uri: string): Variables => ({
  APPL_MD_PATH: '/LM/W3SVC/1/ROOT',
  AUTH_TYPE: '',
  HTTPS: 'off',
  PATH_INFO: path,
  REQUEST_URI: uri,
  SCRIPT_NAME: script,
  SERVER_SOFTWARE: 'Microsoft-IIS/10.0',
})

type Row = [server: string, variables: Variables, script: string, path: string]

const asSent: Row[] = [
  ['nginx at /', nginx('/', '/?a=//'), '', '/'],
  ['nginx, a path', nginx('/foo/bar', '/foo/bar'), '', '/foo/bar'],
  ['nginx, decoded once', nginx('/a%2cb,c', '/a%252cb%2cc'), '', '/a%2cb,c'],
  ['nginx, raw bytes', nginx('/\xe3\x81\x82', '/%E3%81%82'), '', '/\xe3\x81\x82'],
  ['nginx, merged slashes', nginx('/a/b/', '//a///b//?x=//'), '', '//a///b//'],
  ['nginx, %2F beside a slash', nginx('/a/b', '/a/%2Fb'), '', '/a//b'],
  ['nginx, %2F', nginx('/a/b', '/a%2fb'), '', '/a/b'],
  ['nginx, normalised dots', nginx('/b', '/a/../b'), '', '/b'],
  ['nginx, dots and slashes', nginx('/b', '/a//../b//'), '', '/b'],
  ['nginx, %2F..%2F', nginx('/etc', '/a%2F..%2Fetc'), '', '/etc'],
  ['nginx, rewritten', nginx('/index', '/pretty//url'), '', '/index'],
  [
    'nginx, SCRIPT_NAME set by hand',
    nginx('/app/x', '/app/x', { SCRIPT_NAME: '/app' }),
    '/app',
    '/x',
  ],
  [
    'nginx, SCRIPT_NAME set by hand, merged slashes',
    nginx('/app/x', '//app//x', { SCRIPT_NAME: '/app' }),
    '/app',
    '//x',
  ],
  [
    'nginx, fastcgi_split_path_info',
    nginx('/app', '/app/x//', { PATH_INFO: '/x/' }),
    '/app',
    '/x//',
  ],
  ['nginx, split and no rest', nginx('/app', '/app', { PATH_INFO: '' }), '/app', ''],
  ['nginx, absolute form', nginx('/a/b', 'http://h//a//b'), '', '//a//b'],
  ['nginx, an empty SCRIPT_NAME', nginx('/a b', '/a%20b?x', { SCRIPT_NAME: '' }), '', '/a b'],
  ['nginx, SCRIPT_NAME /', nginx('/a/b', '/a/b', { SCRIPT_NAME: '/' }), '', '/a/b'],
  [
    'nginx, SCRIPT_NAME set by hand with a slash at its end',
    nginx('/app/x', '/app/x', { SCRIPT_NAME: '/app/' }),
    '/app',
    '/x',
  ],
  ['nginx, fastcgi_index', nginxIndex('/app/'), '', '/app/'],
  ['nginx, fastcgi_index at /', nginxIndex('/'), '', '/'],
  ['nginx, fastcgi_index and a rewrite', nginxIndex('/b/', { REQUEST_URI: '/a' }), '', '/b/'],
  [
    'nginx, fastcgi_index and PATH_INFO $fastcgi_script_name',
    nginxIndex('/app/', { PATH_INFO: '/app/index.php' }),
    '',
    '/app/',
  ],
  [
    'nginx, fastcgi_index, PATH_INFO $fastcgi_script_name and an empty SCRIPT_NAME',
    nginx('/a/', '/a/', { SCRIPT_NAME: '', PATH_INFO: '/a/index.php' }),
    '',
    '/a/',
  ],
  [
    'nginx, fastcgi_index, PATH_INFO $fastcgi_script_name and SCRIPT_NAME set by hand',
    nginx('/app/a/', '/app/a/', { SCRIPT_NAME: '/app', PATH_INFO: '/app/a/index.php' }),
    '/app',
    '/a/',
  ],
  [
    'nginx, fastcgi_index and fastcgi_split_path_info',
    nginxIndex('/app/', { PATH_INFO: '' }),
    '/app/index.php',
    '',
  ],
  [
    'nginx, a front controller',
    nginx('/', '/', { SCRIPT_NAME: '/index.php', PATH_INFO: '/' }),
    '/index.php',
    '/',
  ],
  [
    'nginx, a path that a location has rewritten to /',
    nginx('/', '/app/x', { SCRIPT_NAME: '/app', PATH_INFO: '/x' }),
    '/app',
    '/x',
  ],
  [
    'an empty SCRIPT_NAME and REQUEST_URI',
    { SCRIPT_NAME: '', REQUEST_URI: '/a%20b?x' },
    '',
    '/a b',
  ],
  ['nginx SCGI, an empty SCRIPT_NAME', nginxScgi('/a', '/a', { SCRIPT_NAME: '' }), '', '/a'],
  ['nginx SCGI, SCRIPT_NAME', nginxScgi('/app/x', '/app/x', { SCRIPT_NAME: '/app' }), '/app', '/x'],
  ['nginx SCGI, the mount point', nginxScgi('/app', '/app', { SCRIPT_NAME: '/app' }), '/app', ''],
  ['nginx SCGI, an apple', nginxScgi('/apple', '/apple', { SCRIPT_NAME: '/app' }), '/app', ''],
  [
    'nginx SCGI, PATH_INFO $document_uri and SCRIPT_NAME set by hand',
    nginxScgi('/app/x', '/app/x', { SCRIPT_NAME: '/app', PATH_INFO: '/app/x' }),
    '/app',
    '/x',
  ],
  ['nginx SCGI', nginxScgi('/foo/b r', '/foo/b%20r?x'), '', '/foo/b r'],
  ['nginx SCGI at /', nginxScgi('/', '/'), '', '/'],
  ['nginx SCGI, merged slashes', nginxScgi('/foo/', '//foo//'), '', '//foo//'],
  ['REQUEST_URI alone', { REQUEST_URI: '/a%20b/c?d=e' }, '', '/a b/c'],
  ['Apache', apache('/cgi-bin/a.cgi', '/x/y', '/cgi-bin/a.cgi/x/y'), '/cgi-bin/a.cgi', '/x/y'],
  [
    'Apache, nothing after the script',
    apache('/cgi-bin/a.cgi', undefined, '/cgi-bin/a.cgi?x'),
    '/cgi-bin/a.cgi',
    '',
  ],
  [
    'Apache, merged slashes',
    apache('/cgi-bin/a.cgi', '/x/y', '//cgi-bin/a.cgi//x//y'),
    '/cgi-bin/a.cgi',
    '//x//y',
  ],
  ['Apache, rewritten', apache('/cgi-bin/a.cgi', '/x', '/pretty//x'), '/cgi-bin/a.cgi', '/x'],
  [
    'Apache, dots',
    apache('/cgi-bin/a.cgi', '/y', '/cgi-bin/a.cgi//x/../y'),
    '/cgi-bin/a.cgi',
    '/y',
  ],
  ['mod_proxy_fcgi', proxyFcgi('/app/x', '/app/x?y'), '', '/app/x'],
  ['mod_proxy_fcgi at /', proxyFcgi('/', '/'), '', '/'],
  ['mod_proxy_scgi', proxyScgi('/app', '/x', '/app/x'), '/app', '/x'],
  ['mod_proxy_scgi, escaped', proxyScgi('/app/a b', '/a%20b', '/app/a%20b'), '/app', '/a b'],
  ['mod_proxy_scgi, half', proxyScgi('/p/a b', '/a%20b/c', '/p/a%20b/c'), '/p', '/a b/c'],
  ['mod_proxy_scgi at /', proxyScgi('/a%2cb', '/a%252cb', '/a%252cb'), '', '/a%2cb'],
  ['mod_proxy_scgi, slashes', proxyScgi('/p/a/b c', '/a//b%20c', '/p/a//b%20c'), '/p', '/a//b c'],
  ['mod_proxy_scgi, another path', proxyScgi('/app', '/a%20b', '/app/a%2520b'), '/app', '/a%20b'],
  [
    'another SCGI server',
    { ...nginx('/a b', '/a%20b'), SCGI: '1', PATH_INFO: '/a%20b' },
    '/a b',
    '/a%20b',
  ],
  ['lighttpd', lighttpd('/p.fcgi', '/foo/bar', '/p.fcgi/foo/bar'), '/p.fcgi', '/foo/bar'],
  ['lighttpd, nothing after the script', lighttpd('/p.fcgi', undefined, '/p.fcgi'), '/p.fcgi', ''],
  ['lighttpd, fix-root-scriptname', lighttpd('', '/abc/def', '/abc/def'), '', '/abc/def'],
  ['Caddy', caddy('', '/foo/bar', '/foo/bar'), '', '/foo/bar'],
  ['Caddy at /', caddy('', '/', '/'), '', '/'],
  ['Caddy, split', caddy('/app.php', '/x', '/app.php/x'), '/app.php', '/x'],
  ['HAProxy', haproxy('/foo/bar', undefined, '/foo/bar'), '', '/foo/bar'],
  ['HAProxy, path-info', haproxy('/app', '/x', '/app/x'), '/app', '/x'],
  ['IIS', iis('/app.js', '/x', '/app.js/x'), '/app.js', '/x'],
  ['a server that says / for the mount point', { SCRIPT_NAME: '/', PATH_INFO: '/x' }, '', '/x'],
  ['a server that forgets slashes', { SCRIPT_NAME: 'app', PATH_INFO: 'x' }, '/app', '/x'],
  ['OPTIONS *', { ...nginx('*', '*'), REQUEST_METHOD: 'OPTIONS' }, '', '/'],
  ['nginx, PATH_INFO $fastcgi_script_name', nginxTwice('/a/b'), '', '/a/b'],
  ['nginx, PATH_INFO $fastcgi_script_name, at /', nginxTwice('/'), '', '/'],
  [
    'nginx, PATH_INFO $document_uri and SCRIPT_NAME set by hand',
    nginxTwice('/app/x', { SCRIPT_NAME: '/app' }),
    '/app',
    '/x',
  ],
  [
    'nginx, a path that repeats its mount point',
    nginx('/app', '/app/app', { PATH_INFO: '/app', DOCUMENT_URI: '/app/app' }),
    '/app',
    '/app',
  ],
  [
    'nginx, PATH_INFO $fastcgi_script_name, without DOCUMENT_URI',
    { ...lighttpd('/a b', '/a b', '/a%20b?q'), SERVER_SOFTWARE: 'nginx/1.22.1' },
    '',
    '/a b',
  ],
  ['another server, both names are the whole path', lighttpd('/a/b', '/a/b', '/a/b'), '', '/a/b'],
  ['another server, a path that repeats its mount point', lighttpd('/a', '/a', '/a/a'), '/a', '/a'],
  ['mod_proxy_fcgi GENERIC at /', generic('/x/y'), '', '/x/y'],
  ['mod_proxy_fcgi GENERIC, the root', generic('/'), '', '/'],
  ['mod_proxy_fcgi GENERIC at /app', generic('/app/y', '/y'), '', '/app/y'],
  ['mod_proxy_fcgi GENERIC, /app itself', generic('/app', '/'), '', '/app'],
  ['mod_proxy_fcgi SetHandler, the script', setHandler('/app'), '/app', ''],
  ['mod_proxy_fcgi SetHandler, a slash', setHandler('/app', '/'), '/app', '/'],
  ['mod_proxy_fcgi SetHandler, a path', setHandler('/app', '/y/z'), '/app', '/y/z'],
  [
    'mod_proxy_fcgi SetHandler, a slash at the end of DocumentRoot',
    { ...setHandler('/app'), DOCUMENT_ROOT: '/var/www/html/' },
    '/app',
    '',
  ],
  [
    'mod_proxy_fcgi at /, DocumentRoot /',
    { ...proxyFcgi('/app/x', '/app/x'), DOCUMENT_ROOT: '/' },
    '',
    '/app/x',
  ],
  ['mod_proxy_fcgi SetHandler, Alias', alias('/al/hello'), '/al/hello', ''],
  [
    'mod_proxy_fcgi SetHandler, Alias with slashes at the ends',
    alias('/al/hello', '/al/', '/srv/al/'),
    '/al/hello',
    '',
  ],
  ['mod_proxy_fcgi SetHandler, Alias of the script', alias('/al', '/al', '/srv/al'), '/al', ''],
  [
    'mod_proxy_fcgi GENERIC, Alias of the same name',
    {
      ...alias('/srv/al/hello', '/srv/al'),
      SCRIPT_FILENAME: '/srv/al/hello',
    },
    '/srv/al/hello',
    '',
  ],
  [
    'mod_fcgid, nothing after the script',
    {
      ...apache('/app', undefined, '/app'),
      SCRIPT_FILENAME: '/srv/app.mjs',
      DOCUMENT_ROOT: '/www',
    },
    '/app',
    '',
  ],
  ['.htaccess, index.cgi/$1', rewritten('/index.cgi', '/a/b', '/a/b'), '', '/a/b'],
  ['.htaccess, index.cgi/$1, at /', rewritten('/index.cgi', '/', '/'), '', '/'],
  ['.htaccess below /sub', rewritten('/sub/index.cgi', '/a', '/sub/a'), '/sub', '/a'],
  ['.htaccess, merged slashes', rewritten('/index.cgi', '/a/b', '/a/b', '//a//b'), '', '//a//b'],
  [
    '.htaccess, decoded twice (%2520)',
    rewritten('/index.cgi', '/a b', '/a%20b', '/a%2520b'),
    '',
    '/a%20b',
  ],
  [
    '.htaccess, another path than was requested',
    rewritten('/index.cgi', '/b', '/a'),
    '/index.cgi',
    '/b',
  ],
  [
    '.htaccess, requested by the name of the script',
    apache('/index.cgi', '/x', '/index.cgi/x'),
    '/index.cgi',
    '/x',
  ],
  [
    'ErrorDocument',
    rewritten('/index.cgi', '/gone', '/gone', '/gone', '404'),
    '/index.cgi',
    '/gone',
  ],
  [
    'FallbackResource (not certain)',
    apache('/index.cgi', undefined, '/articles/2009'),
    '/index.cgi',
    '',
  ],
]

test.each(asSent)(
  'The default settings split the path as sent by %s',
  (_, variables, script, path) => {
    expect(paths(variables)).toEqual([script, path])
  },
)

const configured: [string, Variables, PathOptions, string, string][] = [
  ['as-is keeps the values of nginx', nginx('/a/b', '//a/b'), { pathInfo: 'as-is' }, '/a/b', ''],
  [
    'scriptName is the mount point',
    nginx('/app/x', '/app/x'),
    { scriptName: '/app' },
    '/app',
    '/x',
  ],
  ['scriptName, the mount point itself', nginx('/app', '/app'), { scriptName: '/app' }, '/app', ''],
  [
    'scriptName is removed only before a slash',
    nginx('/apple', '/apple'),
    { scriptName: '/app' },
    '/app',
    '/apple',
  ],
  [
    'scriptName that the server has already removed',
    caddy('', '/x', '/x'),
    { scriptName: '/app' },
    '/app',
    '/x',
  ],
  ['scriptName, nginx with PATH_INFO twice', nginxTwice('/a/b'), { scriptName: '' }, '', '/a/b'],
  ['scriptName, SetHandler at /', setHandler('/x', '/y'), { scriptName: '' }, '', '/x/y'],
  ['scriptName, SetHandler at /app', setHandler('/app'), { scriptName: '/app' }, '/app', ''],
  ['scriptName, GENERIC', generic('/app/y', '/y'), { scriptName: '/app' }, '/app', '/y'],
  [
    'scriptName, .htaccess with index.cgi/$1',
    rewritten('/index.cgi', '/a/b', '/a/b'),
    { scriptName: '' },
    '',
    '/a/b',
  ],
  [
    'scriptName, .htaccess with index.cgi',
    rewritten('/sub/index.cgi', undefined, '/sub/a/b'),
    { scriptName: '/sub' },
    '/sub',
    '/a/b',
  ],
  [
    'scriptName, a script elsewhere',
    rewritten('/cgi-bin/app.cgi', '/x', '/pretty/x'),
    { scriptName: '/pretty' },
    '/pretty',
    '/x',
  ],
  [
    'scriptName as-is does not double a path that the script is not in',
    rewritten('/index.cgi', '/a/b', '/a/b'),
    { scriptName: '', pathInfo: 'as-is' },
    '',
    '/a/b',
  ],
  [
    'scriptName, a front controller that no REDIRECT_URL shows',
    caddy('/index.php', '/a b', '/a%20b?q'),
    { scriptName: '' },
    '',
    '/a b',
  ],
  [
    'scriptName /sub, a front controller that no REDIRECT_URL shows',
    caddy('/sub/index.php', '/x', '/sub/x'),
    { scriptName: '/sub' },
    '/sub',
    '/x',
  ],
  [
    'scriptName, a spelling of the client (security)',
    lighttpd('/app', '/x', '/y/../app/x'),
    { scriptName: '' },
    '',
    '/app/x',
  ],
  [
    'from-uri with scriptName, FallbackResource',
    apache('/index.cgi', undefined, '/articles/2009'),
    { pathInfo: 'from-uri', scriptName: '' },
    '',
    '/articles/2009',
  ],
  [
    'from-uri with scriptName, Caddy php_fastcgi',
    caddy('/index.php', '', '/x/y'),
    { pathInfo: 'from-uri', scriptName: '' },
    '',
    '/x/y',
  ],
  ['scriptName empty', lighttpd('/a', '/b', '/a/b'), { scriptName: '' }, '', '/a/b'],
  ['scriptName /', lighttpd('/a', '/b', '/a/b'), { scriptName: '/' }, '', '/a/b'],
  [
    'scriptName with a slash at the end',
    nginx('/app/x', '/app/x'),
    { scriptName: '/app/' },
    '/app',
    '/x',
  ],
  ['scriptName without a slash', nginx('/app/x', '/app/x'), { scriptName: 'app' }, '/app', '/x'],
  [
    'scriptName and merged slashes',
    nginx('/app/x', '/app//x'),
    { scriptName: '/app' },
    '/app',
    '//x',
  ],
  [
    'from-uri undoes a rewrite',
    nginx('/index', '/pretty/%20'),
    { pathInfo: 'from-uri' },
    '',
    '/pretty/ ',
  ],
  ['from-uri, nothing to undo', nginx('/a/b', '/a/b'), { pathInfo: 'from-uri' }, '', '/a/b'],
  [
    'from-uri below the script',
    apache('/cgi-bin/a.cgi', '/x', '/cgi-bin/a.cgi/y'),
    { pathInfo: 'from-uri' },
    '/cgi-bin/a.cgi',
    '/y',
  ],
  [
    'from-uri with scriptName',
    apache('/cgi-bin/a.cgi', '/x', '/app/y'),
    { pathInfo: 'from-uri', scriptName: '/app' },
    '/app',
    '/y',
  ],
  [
    'from-uri without a URI',
    { SCRIPT_NAME: '/app', PATH_INFO: '/x' },
    { pathInfo: 'from-uri', scriptName: '' },
    '',
    '/app/x',
  ],
]

test.each(configured)(
  'The options decide how the path is split: %s',
  (_, variables, options, script, path) => {
    expect(paths(variables, options)).toEqual([script, path])
  },
)

test.each<[string, Variables, string, string]>([
  ['fcgiwrap, the script', nginx('/cgi-bin/env.cgi', '/cgi-bin/env.cgi'), '/cgi-bin/env.cgi', ''],
  [
    'fcgiwrap, a path',
    nginx('/cgi-bin/env.cgi', '/cgi-bin/env.cgi/x', { PATH_INFO: '/x' }),
    '/cgi-bin/env.cgi',
    '/x',
  ],
  [
    'fcgiwrap, fastcgi_index',
    nginxIndex('/cgi-bin/', { SCRIPT_NAME: '/cgi-bin/index.cgi' }),
    '/cgi-bin/index.cgi',
    '',
  ],
])('Under CGI, SCRIPT_NAME names the script: %s', (_, variables, script, path) => {
  expect(paths(variables, {}, 'cgi')).toEqual([script, path])
})

test.each([
  [{}],
  [{ SCRIPT_NAME: '', PATH_INFO: '' }],
  [{ SCRIPT_NAME: '/', PATH_INFO: '' }],
  [{ SCRIPT_NAME: '', PATH_INFO: '*', REQUEST_URI: '*' }],
  [{ REQUEST_URI: '' }],
] as Variables[][])('SCRIPT_NAME and PATH_INFO are not both empty for %j', (variables) => {
  for (const pathInfo of ['auto', 'as-is', 'from-uri'] as const) {
    for (const scriptName of [undefined, '', '/']) {
      expect(paths(variables, { pathInfo, scriptName })).toEqual(['', '/'])
    }
  }
})

test('A mount point of 100,000 slashes and a letter is cut in linear time', () => {
  const start = performance.now()
  const scriptName = `${'/'.repeat(100_000)}x`
  paths({ SCRIPT_NAME: scriptName, PATH_INFO: '/' }, { scriptName })
  paths({ SCRIPT_NAME: scriptName, REQUEST_URI: '/a' }, { pathInfo: 'from-uri' })
  expect(performance.now() - start).toBeLessThan(1000)
})

test.each<[string, Variables, string, string | undefined]>([
  ['Caddy', { CONTENT_LENGTH: '-1', SERVER_SOFTWARE: 'Caddy/v2.6.2' }, 'CONTENT_LENGTH', undefined],
  ['Caddy', { CONTENT_LENGTH: '5', SERVER_SOFTWARE: 'Caddy/v2.6.2' }, 'CONTENT_LENGTH', '5'],
  ['Apache', { REDIRECT_HTTP_AUTHORIZATION: 'Basic YTpi' }, 'HTTP_AUTHORIZATION', 'Basic YTpi'],
  ['Apache', { REDIRECT_HTTP_AUTHORIZATION: '' }, 'HTTP_AUTHORIZATION', undefined],
  [
    'Apache',
    { REDIRECT_REDIRECT_HTTP_AUTHORIZATION: 'Basic YTpi' },
    'HTTP_AUTHORIZATION',
    'Basic YTpi',
  ],
  [
    'Apache',
    { HTTP_AUTHORIZATION: '', REDIRECT_HTTP_AUTHORIZATION: 'Basic YTpi' },
    'HTTP_AUTHORIZATION',
    'Basic YTpi',
  ],
  [
    'Apache',
    { REDIRECT_HTTP_AUTHORIZATION: 'Basic old', HTTP_AUTHORIZATION: 'Basic new' },
    'HTTP_AUTHORIZATION',
    'Basic new',
  ],
])('The variables of %s %j become %s %j', (_, variables, name, value) => {
  const environ = createEnviron()
  for (const [key, text] of Object.entries(variables)) setVariable(environ, key, text)
  completeEnviron(environ, {})
  expect(environ[name as 'X']).toBe(value)
})

test('A CONTENT_LENGTH of -1 from another server than Caddy is a 400', () => {
  const environ = createEnviron()
  setVariable(environ, 'CONTENT_LENGTH', '-1')
  expect(() => completeEnviron(environ, {})).toThrow('CONTENT_LENGTH')
})

const one = (text: string) => text.replace(/\/+/g, '/')

describe('The path of any variables', () => {
  const path = fc
    .array(
      fc.constantFrom('/', '//', 'a', 'app', '..', '.', '%2F', '%2e', '%', '*', '?', '#', '\xe9'),
    )
    .map((parts) => parts.join(''))
  const variables = fc.record(
    {
      SCRIPT_NAME: path,
      PATH_INFO: path,
      REQUEST_URI: path,
      DOCUMENT_URI: path,
      SCRIPT_FILENAME: path.map((name) => `proxy:${name}`),
      SERVER_SOFTWARE: fc.constantFrom('nginx/1', 'HAProxy', 'Apache'),
    },
    { requiredKeys: [] },
  )
  const options = fc.record(
    { scriptName: path, pathInfo: fc.constantFrom('auto', 'as-is', 'from-uri') },
    { requiredKeys: [] },
  ) as fc.Arbitrary<PathOptions>

  test('is empty or begins with a slash, and SCRIPT_NAME is never a slash alone', () => {
    fc.assert(
      fc.property(variables, options, (sent, given) => {
        const [script, info] = paths(sent, given)
        expect(script).toMatch(/^(?:\/.|$)/s)
        expect(info).toMatch(/^(?:\/|$)/)
      }),
      { numRuns: 500 },
    )
  })

  test('is the one that the server sends in both names, except for repeated slashes', () => {
    const absolute = path.map((text) => `/${text}`)
    fc.assert(
      fc.property(absolute, absolute, path, (script, info, uri) => {
        const [a, b] = paths({ SCRIPT_NAME: script, PATH_INFO: info, REQUEST_URI: uri })
        expect(one(a + b)).toBe(one((script === '/' ? '' : script) + info))
      }),
      { numRuns: 500 },
    )
  })
})

test.each([
  ['/a%20b?c%20d', '/a b'],
  ['/a#b', '/a'],
  ['/%zz%4', '/%zz%4'],
  ['/%2525', '/%25'],
  ['//host/path', '//host/path'],
  ['http://host:80/p?q', '/p'],
  ['http://host', ''],
  ['host:443', ''],
  ['*', ''],
  ['', ''],
])('The path of the target %j is %j', (target, path) => {
  expect(decodePath(target)).toBe(path)
})

test.each([
  ['HAProxy 2.6.12', 'example.org:8080', 'example.org'],
  ['HAProxy 2.6.12', '[::1]:8080', '[::1]'],
  ['HAProxy 2.6.12', '[::1]', '[::1]'],
  ['HAProxy 2.6.12', '::1', '::1'],
  ['nginx/1.22.1', 'odd:8080', 'odd:8080'],
])('From %s, SERVER_NAME %s becomes %s', (software, sent, name) => {
  const environ = createEnviron()
  environ['SERVER_SOFTWARE'] = software
  environ.SERVER_NAME = sent
  completeEnviron(environ, {})
  expect(environ.SERVER_NAME).toBe(name)
})

test.each([
  [undefined, 'localhost'],
  ['', 'localhost'],
  ['a.example.com', 'a.example.com'],
  ['a.example.com:8080', 'a.example.com'],
  ['[::1]', '[::1]'],
  ['[::1]:8080', '[::1]'],
])(
  'If SERVER_NAME is a regular expression of nginx and Host is %j, it becomes %s',
  (host, name) => {
    const environ = createEnviron()
    environ['SERVER_SOFTWARE'] = 'nginx/1.22.1'
    environ.SERVER_NAME = String.raw`~^(?<sub>.+)\.example\.com$`
    if (host !== undefined) environ['HTTP_HOST'] = host
    completeEnviron(environ, {})
    expect(environ.SERVER_NAME).toBe(name)
  },
)

test.each(
  ['a"b', 'a|b', 'a b', 'a@b', '\xc3\xa9', 'x:1:2', 'a:b', '[::1', '[x'].flatMap((host) =>
    ['HAProxy 2.6.12', 'Caddy/v2.6.2', 'nginx/1.22.1', ''].map((software) => [software, host]),
  ),
)('From the server %j, Host %j is a 400 where it is copied to SERVER_NAME', (software, host) => {
  const complete = (name: string, sent: string) => {
    const environ = createEnviron()
    for (const [variable, value] of [
      ['SERVER_SOFTWARE', software],
      ['SERVER_NAME', name],
      ['HTTP_HOST', sent],
    ] as const)
      setVariable(environ, variable, value)
    completeEnviron(environ, {})
    return environ.SERVER_NAME
  }
  const refusal = expect.objectContaining({
    code: 'PORTICO_BAD_REQUEST',
    status: '400 Bad Request',
  })
  expect(() => complete(host, host)).toThrow(refusal)
  if (software.startsWith('HAProxy')) return
  expect(complete('example.org', host)).toBe('example.org')
  // A name that the configuration has wrong is not the client's fault.
  expect(complete(host, 'example.org')).toBe(host)
  expect(() => complete(host, host)).toThrow(refusal)
})
