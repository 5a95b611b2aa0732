/** Broken sites and scripts of one Apache: the doctor has to name the fault of each. */
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, it } from 'vitest'
import { loadModule } from '../../src/servers/apache-instance.ts'
import { installed, startServer, workerUser } from '../servers/process.ts'
import {
  type Applications,
  closeAll,
  closers,
  expectNamed,
  freePorts,
  itFindsNothingWrong,
  type Staging,
  startApplications,
} from './staging.ts'

const MODULES = [
  'mpm_event',
  'alias',
  'authz_core',
  'cgid',
  'deflate',
  'dir',
  'env',
  'filter',
  'mime',
  'negotiation',
  'proxy',
  'proxy_fcgi',
  'proxy_http',
  'rewrite',
  'setenvif',
]

const INFO = 'SetEnvIf Request_URI "^" proxy-fcgi-pathinfo=unescape'
const SLASHES = 'AllowEncodedSlashes On'
const GRANTED = '<Location "/">\nRequire all granted\nCGIPassAuth On\n</Location>'

function host(port: number, ...lines: string[]): string {
  return `Listen 127.0.0.1:${port}\n<VirtualHost 127.0.0.1:${port}>\nErrorLog ERRORS-${port}.log\n${lines.join('\n')}\n</VirtualHost>`
}

/** A site that is right, and what is added to it. */
function right(port: number, { fastcgi }: Applications, ...extra: string[]): string {
  return host(port, ...extra, pass(fastcgi), INFO, SLASHES, GRANTED)
}

function pass(socket: string, prefix = '/', target = '/'): string {
  return `ProxyPass "${prefix}" "unix:${socket}|fcgi://portico${target}" flushpackets=on`
}

/** A virtual host with one directory of scripts, in which is `app.cgi`. */
function scripts(port: number, { directory }: Applications, text: string, mode = 0o755): string {
  const scriptDirectory = join(directory, `cgi-${port}`)
  mkdirSync(scriptDirectory)
  const file = join(scriptDirectory, 'app.cgi')
  writeFileSync(file, text)
  chmodSync(file, mode)
  return host(
    port,
    `ScriptAlias "/cgi-bin/" "${scriptDirectory}/"`,
    `<Directory "${scriptDirectory}">\nRequire all granted\nOptions +ExecCGI\n</Directory>`,
  )
}

const SHEBANG = `#!${process.execPath}\n`

const stagings: readonly Staging[] = [
  {
    fault: 'a wrong path of the socket',
    site: (port, { directory }) =>
      host(port, pass(`${directory}/wrong.sock`), INFO, SLASHES, GRANTED),
    level: 'failure',
    check: 'socket',
    message: /wrong\.sock does not exist/,
  },
  {
    fault: 'a socket that only root may use',
    site: (port, { closed }) => host(port, pass(closed), INFO, SLASHES, GRANTED),
    level: 'failure',
    check: 'access',
    message: /has no write permission/,
  },
  {
    fault: 'fcgi:// to an application that speaks HTTP',
    site: (port, { http }) => host(port, pass(http), INFO, SLASHES, GRANTED),
    level: 'failure',
    check: 'protocol',
    message: /speaks http, and the web server expects fastcgi/,
    fix: /instead of fcgi:/,
  },
  {
    fault: 'an Authorization header that is dropped',
    site: (port, { fastcgi }) =>
      host(port, pass(fastcgi), INFO, SLASHES, '<Location "/">\nRequire all granted\n</Location>'),
    level: 'failure',
    check: 'Authorization',
    message: /gets no Authorization header/,
    fix: /^CGIPassAuth On$/,
  },
  {
    fault: 'encoded slashes that are refused',
    site: (port, { fastcgi }) => host(port, pass(fastcgi), INFO, GRANTED),
    level: 'warning',
    check: '%2F',
    message: /a path with %2F does not reach the application \(404\)/,
    fix: /^AllowEncodedSlashes/,
  },
  {
    fault: 'buffered event streams',
    site: (port, apps) => right(port, apps).replace(' flushpackets=on', ''),
    level: 'warning',
    check: 'streaming',
    message: /arrive together at its end/,
    fix: /flushpackets=on/,
  },
  {
    fault: 'no PATH_INFO below a prefix',
    site: (port, { fastcgi }) => host(port, pass(fastcgi, '/app', ''), SLASHES, GRANTED),
    path: '/app/doctor',
    level: 'failure',
    check: 'PATH_INFO',
    message: /sends no PATH_INFO without proxy-fcgi-pathinfo/,
    fix: /SetEnvIf Request_URI "\^\/app\(\/\|\$\)" proxy-fcgi-pathinfo=unescape/,
    also: ['web server'],
  },
  {
    fault: 'a prefix on both sides of ProxyPass',
    site: (port, { fastcgi }) => host(port, pass(fastcgi, '/app', '/app'), INFO, SLASHES, GRANTED),
    path: '/app/doctor',
    level: 'failure',
    check: 'mount',
    message: /has the prefix \/app on both sides/,
    also: ['web server'],
  },
  {
    fault: 'a slash at the end of one side of ProxyPass',
    site: (port, { fastcgi }) => host(port, pass(fastcgi, '/app', '/'), INFO, SLASHES, GRANTED),
    path: '/app/doctor',
    level: 'failure',
    check: 'mount',
    message: /has a slash at the end of one side only/,
    also: ['web server'],
  },
  {
    fault: 'REMOTE_USER of a header',
    site: (port, apps) =>
      right(port, apps, 'RewriteEngine On\nRewriteRule ^ - [E=REMOTE_USER:%{HTTP:X-Remote-User}]'),
    level: 'failure',
    check: 'REMOTE_USER',
    message: /makes REMOTE_USER of a header that any client can send/,
    fix: /delete the line/,
  },
  {
    fault: 'ProxyPass to HTTP without nocanon and without the Host header',
    site: (port, { http }) =>
      host(port, `ProxyPass "/" "unix:${http}|http://portico/"`, SLASHES, GRANTED),
    level: 'failure',
    check: 'HTTP_HOST',
    message: /sends the host of ProxyPass as Host/,
    fix: /^ProxyPreserveHost On$/,
    also: ['%2F'],
  },
  {
    fault: 'encoded slashes that are decoded',
    site: (port, { http }) =>
      host(
        port,
        `ProxyPass "/" "unix:${http}|http://portico/"`,
        'ProxyPreserveHost On',
        SLASHES,
        GRANTED,
      ),
    level: 'warning',
    check: '%2F',
    message: /without nocanon/,
    fix: /nocanon$/,
  },
  {
    fault: 'compressed event streams',
    site: (port, apps) => right(port, apps, 'AddOutputFilterByType DEFLATE text/event-stream'),
    level: 'warning',
    check: 'gzip',
    message: /mod_deflate compresses text\/event-stream/,
    fix: /no-gzip/,
  },
  {
    fault: "error pages instead of the application's own",
    site: (port, apps) => right(port, apps, 'ProxyErrorOverride On'),
    level: 'warning',
    check: 'error pages',
    message: /ProxyErrorOverride On replaces/,
    fix: /^ProxyErrorOverride Off$/,
  },
  {
    fault: 'a path that Apache denies',
    site: (port, { fastcgi }) =>
      host(port, pass(fastcgi), INFO, SLASHES, '<Location "/">\nRequire all denied\n</Location>'),
    level: 'failure',
    check: 'access',
    message: /denies access/,
    fix: /^Require all granted$/,
  },
  {
    fault: 'a module that is not loaded',
    site: (port, { scgi }) =>
      host(
        port,
        `ProxyPass "/" "unix:${scgi}|scgi://portico/"`,
        'SetEnvIf Request_URI "^" proxy-scgi-pathinfo=unescape',
        SLASHES,
        GRANTED,
      ),
    level: 'failure',
    check: 'modules',
    message: /needs mod_proxy_scgi, which is not loaded/,
    fix: /^a2enmod proxy_scgi/,
  },
  {
    fault: 'a script that is not executable',
    site: (port, apps) => scripts(port, apps, SHEBANG, 0o644),
    path: '/cgi-bin/app.cgi',
    level: 'failure',
    check: 'mode',
    message: /is not executable \(mode 0644\)/,
    fix: /^chmod 755/,
  },
  {
    fault: 'a script with Windows line ends',
    site: (port, apps) => scripts(port, apps, `#!${process.execPath}\r\n`),
    path: '/cgi-bin/app.cgi',
    level: 'failure',
    check: 'shebang',
    message: /carriage return/,
    fix: /^sed -i/,
  },
  {
    fault: 'a script with a Node that is not there',
    site: (port, apps) => scripts(port, apps, '#!/opt/node-12/bin/node\n'),
    path: '/cgi-bin/app.cgi',
    level: 'failure',
    check: 'shebang',
    message: /\/opt\/node-12\/bin\/node does not exist/,
  },
  {
    fault: 'a script that writes to stdout before its headers',
    site: (port, apps) =>
      scripts(
        port,
        apps,
        `${SHEBANG}console.log('started')\nconsole.log('Content-Type: text/plain\\n\\nx')\n`,
      ),
    path: '/cgi-bin/app.cgi',
    level: 'failure',
    check: 'output',
    message: /writes "started" before its headers/,
    fix: /console\.error/,
  },
  {
    fault: 'a script that requires a package that is not installed',
    site: (port, apps) => scripts(port, apps, `${SHEBANG}require('no-such-package')\n`),
    path: '/cgi-bin/app.cgi',
    level: 'failure',
    check: 'application',
    message: /no-such-package is not installed/,
    fix: /^npm install no-such-package # in \//,
  },
  {
    fault: 'a script that throws',
    site: (port, apps) => scripts(port, apps, `${SHEBANG}undefined.x\n`),
    path: '/cgi-bin/app.cgi',
    level: 'failure',
    check: 'application',
    message: /TypeError: Cannot read properties of undefined/,
    fix: /^correct \/.*app\.cgi:2: undefined\.x \(the stack is in \/.*error.*\)$/,
  },
  {
    fault: 'a handler of scripts without ExecCGI',
    site: (port, { directory }) => {
      const scriptDirectory = join(directory, `exec-${port}`)
      mkdirSync(scriptDirectory)
      writeFileSync(join(scriptDirectory, 'app.cgi'), SHEBANG, { mode: 0o755 })
      return host(
        port,
        `DocumentRoot "${scriptDirectory}"`,
        'AddHandler cgi-script .cgi',
        `<Directory "${scriptDirectory}">\nRequire all granted\n</Directory>`,
      )
    },
    path: '/app.cgi',
    level: 'failure',
    check: 'ExecCGI',
    message: /no Options has ExecCGI|Options ExecCGI is off/,
    fix: /^Options \+ExecCGI$/,
  },
]

const apache = installed('apache2')
describe.skipIf(!apache.available)(`Behind Apache${apache.hint}, portico doctor`, () => {
  let apps: Applications
  let ports: number[] = []

  beforeAll(async () => {
    apps = await startApplications()
    ports = await freePorts(stagings.length + 1)
    const sites = stagings.map(({ site }, index) => site(ports[index]!, apps))
    sites.push(right(ports.at(-1)!, apps))
    const started = await startServer({
      program: 'apache2',
      configure: ({ directory, port }) => `
ServerName localhost
Listen 127.0.0.1:${port}
${MODULES.map(loadModule).join('\n')}
${workerUser === undefined ? '' : `User ${workerUser}\nGroup ${workerUser}`}
PidFile ${directory}/apache2.pid
DefaultRuntimeDir ${directory}
Mutex file:${directory} default
ErrorLog ${directory}/error.log
ScriptSock ${directory}/cgid.sock
TypesConfig /etc/mime.types
StartServers 1
ServerLimit 2
ThreadsPerChild 32
MaxRequestWorkers 64
DocumentRoot "${directory}"
<Directory "/">
  AllowOverride None
  Require all denied
</Directory>
<VirtualHost 127.0.0.1:${port}>
Redirect 307 "/portico-test-is-ready" "/"
</VirtualHost>
${sites.join('\n').replaceAll('ERRORS', `${directory}/error`)}
`,
      args: (config, { directory }) => ['-d', directory, '-f', config, '-D', 'FOREGROUND'],
    })
    closers.push(() => started.stop())
  })
  afterAll(closeAll)

  itFindsNothingWrong(() => ports.at(-1)!)

  const cases = stagings.map((staging, index) => [staging.fault, staging, index] as const)

  it.concurrent.each(cases.filter(([, { path }]) => path?.endsWith('.cgi') !== true))(
    'names %s',
    async (_, staging, index) => {
      await expectNamed(staging, ports[index]!)
    },
  )

  // What scripts write to stderr is in one log, so that only one may run at a time.
  it.each(cases.filter(([, { path }]) => path?.endsWith('.cgi') === true))(
    'names %s',
    async (_, staging, index) => {
      await expectNamed(staging, ports[index]!)
    },
  )
})
