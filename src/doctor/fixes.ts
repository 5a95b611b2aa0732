/** The line that fixes a problem, for the web server that is in front. */
import type { ServerName } from './front.ts'

type Fixes = Partial<Record<ServerName, string>> & {
  /** For an unknown web server, and those that are not listed. */
  readonly any: string
}

const FIXES = {
  'speak HTTP': {
    nginx: 'proxy_pass http://ADDRESS; # instead of fastcgi_pass',
    apache: 'ProxyPass "/" "http://ADDRESS/" # instead of fcgi://',
    lighttpd: 'proxy.server # instead of fastcgi.server',
    caddy: 'reverse_proxy ADDRESS # without transport fastcgi',
    haproxy: 'server app ADDRESS # without proto fcgi and use-fcgi-app',
    h2o: 'proxy.reverse.url: "http://ADDRESS/" # instead of fastcgi.connect',
    any: 'portico serve … --gateway fastcgi',
  },
  'speak FastCGI': {
    nginx: 'fastcgi_pass ADDRESS; # instead of proxy_pass',
    apache: 'ProxyPass "/" "fcgi://ADDRESS/" # instead of http://',
    lighttpd: 'fastcgi.server # instead of proxy.server',
    caddy: 'reverse_proxy ADDRESS { transport fastcgi }',
    haproxy: 'server app ADDRESS proto fcgi # and use-fcgi-app',
    h2o: 'fastcgi.connect: … # instead of proxy.reverse.url',
    any: 'portico serve … --gateway http',
  },
  'proxy module': {
    apache: 'a2enmod proxy proxy_fcgi proxy_scgi proxy_http && systemctl restart apache2',
    any: 'load the module',
  },
  'header buffer': {
    nginx: 'fastcgi_buffer_size 16k; fastcgi_buffers 8 16k; # proxy_… and scgi_… for the others',
    any: 'send fewer or shorter headers',
  },
  'body limit': {
    nginx: 'client_max_body_size 64m;',
    apache: 'FcgidMaxRequestLen 67108864 # with mod_fcgid; otherwise LimitRequestBody 67108864',
    lighttpd: 'server.max-request-size = 65536',
    caddy: 'request_body { max_size 64MiB }',
    haproxy: 'delete the rule that denies large bodies (req.body_size)',
    h2o: 'limit-request-body: 67108864',
    any: 'raise the limit of the web server for request bodies',
  },
  timeout: {
    nginx: 'fastcgi_read_timeout 300s; # scgi_… and proxy_… for the others',
    apache: 'ProxyTimeout 300',
    lighttpd: 'server.max-read-idle = 300',
    caddy: 'transport fastcgi { read_timeout 300s }',
    haproxy: 'timeout server 300s',
    h2o: 'fastcgi.timeout.io: 300000',
    any: 'raise the time that the web server waits',
  },
  crash: {
    any: 'look at the log of the application: portico serve prints it, journalctl -u portico',
  },
  install: { any: 'npm ci # in the directory of the application' },
  suexec: { any: 'chmod go-w FILE DIRECTORY; both must belong to the user of SuexecUserGroup' },
  script: { any: 'portico doctor FILE' },
  output: { any: 'console.error instead of console.log; only the response goes to stdout' },
  ExecCGI: { apache: 'Options +ExecCGI', any: 'allow scripts in the directory' },
  require: { apache: 'Require all granted', any: 'allow access to the path' },
  location: { nginx: 'portico init nginx # shows a complete location', any: 'pass the path on' },
  'socket mode': { any: 'portico serve … --socket-group GROUP --socket-mode 0660' },
  start: { any: 'start the application, or correct the address' },
  Authorization: {
    nginx: 'fastcgi_pass_request_headers on;',
    apache: 'CGIPassAuth On',
    haproxy: 'pass-header Authorization # in the section fcgi-app',
    any: 'pass the header Authorization on',
  },
  REMOTE_USER: {
    nginx: 'fastcgi_param REMOTE_USER ""; # unless the location has auth_basic',
    apache:
      'AuthType Basic, AuthUserFile and Require valid-user; no RewriteRule or SetEnvIf that sets REMOTE_USER',
    haproxy: 'set-param REMOTE_USER %[var(txn.user)] # in the section fcgi-app',
    any: 'do not send a REMOTE_USER that is not verified',
  },
  REMOTE_ADDR: {
    nginx: 'set_real_ip_from PROXY; # only the address of your own proxy',
    apache: 'RemoteIPInternalProxy PROXY # only the address of your own proxy',
    lighttpd: 'extforward.forwarder = ( "PROXY" => "trust" )',
    caddy: 'servers { trusted_proxies static PROXY }',
    haproxy: 'http-request set-src … if { src PROXY }',
    any: 'believe X-Forwarded-For only of your own proxy',
  },
  HTTPS: {
    nginx: 'fastcgi_param HTTPS $https if_not_empty;',
    any: 'set HTTPS from the connection, not from a header',
  },
  HTTP_HOST: {
    nginx:
      'fastcgi_param HTTP_HOST $http_host; # with proxy_pass: proxy_set_header Host $http_host;',
    apache: 'ProxyPreserveHost On',
    caddy: 'header_up Host {host}',
    haproxy: 'delete the line that sets the header Host',
    h2o: 'proxy.preserve-host: ON',
    any: "pass the client's Host on",
  },
  scheme: {
    nginx: 'fastcgi_param HTTPS $https if_not_empty;',
    any: 'over HTTP, or behind another proxy: the middleware proxyFix',
  },
  PATH_INFO: {
    nginx:
      'fastcgi_split_path_info "(?s)^(/app)(|/.*)\\z"; fastcgi_param PATH_INFO $fastcgi_path_info;',
    apache: 'SetEnvIf Request_URI "^/app(/|$)" proxy-fcgi-pathinfo=unescape',
    lighttpd: '"fix-root-scriptname" => "enable" # for a prefix of "/"',
    caddy: 'transport fastcgi { split /app }',
    haproxy: 'path-info ^(/app)(/.*)?$ # in the section fcgi-app',
    h2o: "scriptName: '/app' in the application",
    any: "set the application's scriptName, and pathInfo: 'from-uri'",
  },
  QUERY_STRING: {
    nginx: 'fastcgi_param QUERY_STRING $query_string;',
    apache: 'RewriteRule … [QSA]',
    any: 'pass the query on',
  },
  headers: {
    nginx: 'fastcgi_pass_request_headers on;',
    any: 'pass request headers on',
  },
  body: {
    nginx:
      'fastcgi_pass_request_body on; fastcgi_param CONTENT_LENGTH $content_length if_not_empty;',
    any: 'pass request bodies on',
  },
  chunked: {
    nginx: 'fastcgi_request_buffering on; # the default: nginx then sends CONTENT_LENGTH',
    apache: 'SetEnv proxy-sendcl 1',
    haproxy:
      'option http-buffer-request # HAProxy 2.6 refuses chunked bodies; clients have to send Content-Length',
    caddy: 'request_buffers 1MiB # Caddy 2.6: clients have to send Content-Length',
    any: 'clients have to send Content-Length',
  },
  'encoded slash': {
    apache: 'AllowEncodedSlashes NoDecode # and nocanon with ProxyPass to http://',
    lighttpd: 'server.http-parseopts = ( "url-path-2f-decode" => "enable" )',
    any: 'let paths with %2F pass',
  },
  'slash at the mount': {
    apache: 'DirectorySlash Off',
    nginx: 'location ~ "(?s)^/app(?<portico_path>|/.*)\\z" # instead of location /app/',
    any: 'pass the mount point without a slash on',
  },
  streaming: {
    nginx: 'fastcgi_buffering off; # scgi_… and proxy_… for the others',
    apache: 'ProxyPass … flushpackets=on # with mod_fcgid: FcgidOutputBufferSize 0',
    lighttpd: 'server.stream-response-body = 1',
    caddy: 'flush_interval -1',
    any: 'switch buffering of responses off',
  },
  gzip: {
    nginx: 'gzip_types text/css application/json; # without text/event-stream',
    apache: 'SetEnvIf Request_URI "/events$" no-gzip=1',
    lighttpd: 'deflate.mimetypes = ( "text/html", "text/css", "application/json" )',
    haproxy: 'compression type text/html text/css application/json',
    caddy: 'encode { match { header Content-Type text/html* } }',
    any: 'do not compress text/event-stream',
  },
  'error pages': {
    nginx: 'fastcgi_intercept_errors off; # proxy_… for HTTP',
    apache: 'ProxyErrorOverride Off',
    lighttpd: 'server.error-intercept = "disable"',
    caddy: 'delete handle_response and handle_errors for the application',
    haproxy: 'delete errorfile and http-response return for the application',
    any: "let the application's own error pages pass",
  },
  cache: {
    nginx: 'fastcgi_cache off; # proxy_cache for HTTP',
    apache: 'CacheDisable /',
    any: 'switch the cache off for the application, or let it send Cache-Control',
  },
  methods: {
    nginx: 'delete limit_except, and conditions on $request_method',
    apache: 'delete Limit, LimitExcept and AllowMethods for the application',
    any: 'let the method pass',
  },
} as const satisfies Record<string, Fixes>

export type Problem = keyof typeof FIXES

/** The line for the web server that is in front. */
export function fixFor(problem: Problem, server: ServerName | undefined): string {
  const fixes: Fixes = FIXES[problem]
  return (server === undefined ? undefined : fixes[server]) ?? fixes.any
}
