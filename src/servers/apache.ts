/** Apache httpd: CGI, FastCGI and SCGI through mod_proxy, FastCGI through mod_fcgid, and HTTP. */
import { apacheInstance } from './apache-instance.ts'
import {
  type Authentication,
  type ConfigFile,
  hostAndPort,
  indent,
  lines,
  makeSocketDirectory,
  type InstanceSettings,
  quoteRegExp,
  type Quirk,
  type ServerDescription,
  type Site,
  unixPath,
} from './site.ts'

export const CONTENT_LENGTH: Quirk = {
  versions: '2.4.59 and newer',
  symptom: 'the Content-Length of a response is dropped, so a truncated response looks complete',
  remedy: '`ap_trust_cgilike_cl` keeps it',
}
export const AUTHORIZATION: Quirk = {
  versions: 'every version',
  symptom: 'the application gets no Authorization header',
  remedy: '`CGIPassAuth On` passes it',
}
export const ENCODED_SLASHES: Quirk = {
  versions: 'every version',
  symptom: 'a path with %2F is a 404',
  remedy: '`AllowEncodedSlashes On` passes it. A .htaccess file cannot contain it',
}

/** Debian's site for requests without a name of another. */
const DEFAULT_SITE = '/etc/apache2/sites-enabled/000-default.conf'

export const apache: ServerDescription = {
  name: 'apache',
  title: 'Apache',
  gateways: ['fastcgi', 'scgi', 'http', 'cgi'],
  needsScriptName: ['http'],
  program: 'apache2',
  packages: ['apache2'],
  configure: (site) => [siteFile(site, application(site))],
  activate: (site) => [...makeSocketDirectory(site), ...activate(modules(site))],
  deactivate,
  defaultSite: DEFAULT_SITE,
  check: ['apachectl', '-t'],
  instance: (sites, settings) =>
    apacheInstance(
      settings,
      sites.flatMap(modules),
      virtualHostBody(sites[0], lines(...sites.map(application)), settings.additions),
    ),
  args,
  quirks: [
    CONTENT_LENGTH,
    AUTHORIZATION,
    ENCODED_SLASHES,
    {
      versions: 'every version, mod_cgid',
      symptom: 'every script is a 503, "unable to connect to cgi daemon", after `a2enmod cgid`',
      remedy: 'reload Apache a second time, or restart it',
    },
    {
      versions: 'every version, mod_proxy_fcgi and mod_proxy_scgi',
      symptom: 'PATH_INFO is not sent',
      remedy: '`proxy-fcgi-pathinfo=unescape`, or `proxy-scgi-pathinfo=unescape`, sends it',
    },
    {
      versions: 'every version, mod_proxy_fcgi',
      symptom: 'the chunks of a response arrive together at its end',
      remedy: '`flushpackets=on` sends each at once',
    },
    {
      versions: 'every version, `SetHandler "proxy:…"` instead of `ProxyPass`',
      symptom: 'Apache takes the first segment of the path for the script',
      remedy: "set the application's `scriptName`, `''` at the root, and `pathInfo: 'from-uri'`",
    },
  ],
}

export const apacheFcgid: ServerDescription = {
  name: 'apache-fcgid',
  title: 'Apache with mod_fcgid',
  gateways: ['fastcgi'],
  program: 'apache2',
  packages: ['apache2', 'libapache2-mod-fcgid'],
  runs: ({ program }) => [program],
  configure: (site) => [
    siteFile(
      site,
      `# mod_fcgid starts the program itself: one process for each of the requests that run at once.
${fcgidProgram(site)}
${fcgidSettings(site)}`,
    ),
  ],
  activate: ({ tls }) => activate(['fcgid', 'setenvif', ...(tls ? ['ssl'] : [])]),
  deactivate,
  defaultSite: DEFAULT_SITE,
  check: ['apachectl', '-t'],
  instance: (sites, settings) =>
    apacheInstance(
      settings,
      ['fcgid', ...(sites[0].tls ? ['ssl'] : []), 'setenvif'],
      virtualHostBody(
        sites[0],
        lines(
          `FcgidIPCDir ${settings.directory}\nFcgidProcessTableFile ${settings.directory}/fcgid.shm`,
          ...sites.map(fcgidProgram),
          fcgidSettings(sites[0]),
        ),
        settings.additions,
      ),
    ),
  args,
  quirks: [
    CONTENT_LENGTH,
    AUTHORIZATION,
    ENCODED_SLASHES,
    {
      versions: 'every version',
      symptom:
        'each concurrent request has a process of its own, so sessions in memory do not work',
      remedy:
        '`wsgi.multiprocess` is true; use a store that processes share, and limit the processes with `FcgidMaxProcessesPerClass`',
    },
    {
      versions: 'every version',
      symptom: 'the chunks of a response arrive together',
      remedy:
        '`FcgidOutputBufferSize 0` sends each at once, but then a truncated response gets an error page appended and looks complete',
    },
    {
      versions: 'every version',
      symptom: 'a request body of more than 128 KiB is a 500',
      remedy: '`FcgidMaxRequestLen` raises the limit',
    },
  ],
}

function args(file: string, { directory }: InstanceSettings): string[] {
  return ['-d', directory, '-f', file, '-D', 'FOREGROUND']
}

function activate(names: readonly string[]): string[] {
  return [
    `a2enmod ${names.join(' ')}`,
    'a2ensite portico',
    'apachectl -t',
    'apachectl graceful',
    // Only at the second reload after it was loaded, mod_cgid starts its daemon.
    ...(names.includes('cgid') ? ['apachectl graceful'] : []),
  ]
}

function deactivate(): string[] {
  return ['a2dissite portico']
}

/** Modules that the site needs beside those that every Apache has loaded. */
function modules(site: Site): string[] {
  const own = {
    cgi: ['cgid'],
    fastcgi: ['proxy', 'proxy_fcgi'],
    scgi: ['proxy', 'proxy_scgi'],
    http: ['proxy', 'proxy_http', 'headers'],
  }[site.gateway]
  return [...own, 'setenvif', ...(site.tls ? ['ssl'] : [])]
}

function siteFile(site: Site, body: string): ConfigFile {
  return {
    path: '/etc/apache2/sites-available/portico.conf',
    text: `# One application behind Apache.
${listenLine(site)}<VirtualHost ${site.listen.includes(':') ? site.listen : `*:${site.listen}`}>
${indent(virtualHostBody(site, body))}
</VirtualHost>
`,
  }
}

/** Debian's ports.conf listens on 80 and, with mod_ssl, on 443. */
function listenLine({ listen, tls }: Site): string {
  const { port } = hostAndPort(listen)
  return port === '80' || (tls && port === '443') ? '' : `Listen ${listen}\n`
}

function virtualHostBody(site: Site, body: string, additions?: string): string {
  return `${lines(
    site.hostname !== '_' && `ServerName ${site.hostname}`,
    site.tls &&
      `SSLEngine on\nSSLCertificateFile ${site.tls.certificate}\nSSLCertificateKeyFile ${site.tls.key}`,
    '# Without it a path with %2F is a 404.',
    'AllowEncodedSlashes On',
    // Over FastCGI and SCGI it would confuse SCRIPT_NAME; Portico restores slashes from REQUEST_URI.
    site.gateway === 'http' && '# An application may mean //, as in /fetch/http://example.org/.',
    site.gateway === 'http' && 'MergeSlashes Off',
    '# The largest request body, in bytes.',
    `LimitRequestBody ${site.maxBody * 1024 * 1024}`,
    `Timeout ${site.timeout}`,
  )}
${lines(additions)}${site.files ? staticFiles(site) : ''}
${body}`
}

function staticFiles({ files, gateway }: Site): string {
  if (!files) return ''
  return `
# Files that Apache sends itself.
${lines(gateway !== 'cgi' && `ProxyPass "${files.at}" "!"`)}
Alias "${files.at}" "${files.directory}"
<Directory "${files.directory}">
    Require all granted
</Directory>
`
}

function location(site: Site, ...directives: (string | false)[]): string {
  return `<Location "${site.mount || '/'}">
${indent(
  lines(
    ...directives,
    site.gateway !== 'http' && '# Without it the application gets no Authorization header.',
    site.gateway !== 'http' && 'CGIPassAuth On',
    site.auth ? authentication(site.auth) : 'Require all granted',
  ),
)}
</Location>`
}

export function authentication({ realm, file }: Authentication): string {
  return `AuthType Basic
AuthName "${realm}"
AuthUserFile "${file}"
Require valid-user`
}

const TRUST_CONTENT_LENGTH = `# Without it Apache 2.4.59 and newer drop the Content-Length of a response.
SetEnvIf Request_URI "^" ap_trust_cgilike_cl=1`

function application(site: Site): string {
  if (site.gateway === 'cgi') return cgi(site)
  const socket = unixPath(site.to)
  const scheme = { fastcgi: 'fcgi', scgi: 'scgi', http: 'http' }[site.gateway]
  // What comes after the host replaces the prefix; HTTP has no other field for the prefix.
  const path = site.gateway === 'http' ? site.mount || '/' : site.mount === '' ? '/' : ''
  const target =
    socket === undefined
      ? `${scheme}://${site.to}${path}`
      : `unix:${socket}|${scheme}://portico${path}`
  const options = lines(
    site.gateway === 'fastcgi' && site.streaming && ' flushpackets=on',
    site.gateway === 'http' && ' nocanon upgrade=websocket',
  )
  const pass = `ProxyPass "${site.mount || '/'}" "${target}"${options}`
  if (site.gateway === 'http') {
    return `ProxyPreserveHost On
# The application believes these if its proxyFix middleware trusts this web server.
RequestHeader set X-Forwarded-Proto expr=%{REQUEST_SCHEME}
${pass}
${location(site)}`
  }
  return `${lines(
    site.gateway === 'fastcgi' &&
      site.streaming &&
      '# flushpackets sends each part of a response at once. No slash follows the prefix at either end.',
    pass,
  )}
# Without it Apache sends no PATH_INFO.
SetEnvIf Request_URI "^${quoteRegExp(site.mount)}(/|$)" proxy-${scheme}-pathinfo=unescape
${TRUST_CONTENT_LENGTH}
${location(site)}`
}

function cgi(site: Site): string {
  const alias = site.mount === '' ? `"/" "${site.program}/"` : `"${site.mount}" "${site.program}"`
  return `ScriptAlias ${alias}
${TRUST_CONTENT_LENGTH}
${location(site, 'Options +ExecCGI')}`
}

const FCGID_STREAMING = `# Would send each part of a response at once. But then Apache appends an error page to a truncated
# response, which looks complete. Use it only for event streams.
# FcgidOutputBufferSize 0`

function fcgidProgram(site: Site): string {
  const alias =
    site.mount === ''
      ? `AliasMatch "^/(.*)" "${site.program}/$1"`
      : `Alias "${site.mount}" "${site.program}"`
  return `${alias}
${location(site, 'SetHandler fcgid-script', 'Options +ExecCGI')}`
}

function fcgidSettings({ maxBody, streaming }: Site): string {
  return `${TRUST_CONTENT_LENGTH}
# Idle processes end; this many may run at once.
FcgidMaxProcessesPerClass 8
# Without it a request body of more than 128 KiB is a 500.
FcgidMaxRequestLen ${maxBody * 1024 * 1024}
${streaming ? FCGID_STREAMING : ''}`
}
