/**
 * Web servers and settings through which the conformance suite runs: what `portico init` writes,
 * and settings that people write by hand. The names of the variants are those of
 * src/servers/exceptions.ts.
 */
import { existsSync } from 'node:fs'
import { chmod, chown, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { rolldown } from 'rolldown'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import { HTTPHandler } from '../../handlers/http.ts'
import { SCGIHandler } from '../../handlers/scgi.ts'
import { loadModule } from '../../src/servers/apache-instance.ts'
import { htaccess } from '../../src/servers/htaccess.ts'
import type { Site } from '../../src/servers/site.ts'
import { stopChild } from '../../src/servers/trial.ts'
import { REPORT, suiteApplication } from '../../src/exports/testing.ts'
import { buildScript } from '../fixtures/script.ts'
import { apacheServer, fcgidServer, prefork, startApache } from '../servers/apache.ts'
import { caddyServer, startCaddy } from '../servers/caddy.ts'
import { startCgiServer } from '../servers/cgi-server.ts'
import { h2oServer } from '../servers/h2o.ts'
import { haproxyServer } from '../servers/haproxy.ts'
import { lighttpdServer } from '../servers/lighttpd.ts'
import {
  type Mount,
  replacing,
  type ServerOptions,
  siteOf,
  startSites,
  type TestServer,
} from '../servers/mount.ts'
import { nginxServer, startNginx } from '../servers/nginx.ts'
import { openSocket, serverPath } from '../servers/process.ts'

/** A running server. */
export interface Started {
  readonly port: number
  stop(): Promise<unknown>
}

/** What a setting has to work with. */
export interface Workshop {
  /** The web server's user can enter it. */
  directory: string
  /** The file to which closed bodies are reported. */
  report: string
  /** Runs when the suite is over, in reverse order. */
  closers: (() => Promise<unknown>)[]
}

/** A web server, and where the suite is mounted in it. */
export interface Setting {
  /** As in src/servers/exceptions.ts. */
  readonly server: string
  readonly gateway: Site['gateway']
  readonly variant?: string
  /** The program that has to be installed. */
  readonly program: string
  readonly mounts: readonly string[]
  start(workshop: Workshop): Promise<Started>
}

/** Runs the suite in this process, at a mount point. */
async function serve(
  { directory, report, closers }: Workshop,
  gateway: Site['gateway'],
  name: string,
  options: { scriptName?: string; pathInfo?: 'from-uri'; tcp?: boolean } = {},
): Promise<string> {
  const Handler = { fastcgi: FastCGIHandler, scgi: SCGIHandler, http: HTTPHandler }[
    gateway as 'fastcgi' | 'scgi' | 'http'
  ]
  const path = join(directory, `${name}.sock`)
  const { tcp = false, ...rest } = options
  const listen = tcp ? '127.0.0.1:0' : `unix:${path}`
  const application = await new Handler({
    listen,
    osEnviron: { [REPORT]: report },
    ...rest,
  }).run(suiteApplication)
  closers.push(() => application.close())
  const { address } = application
  if (address.kind === 'tcp') return `127.0.0.1:${address.port}`
  await openSocket(path)
  return listen
}

/** What a variant changes. */
interface Changes extends Omit<ServerOptions, 'mounts' | 'edit'> {
  site?: Partial<Site>
  tcp?: boolean
  /** Only for one mount point, because the directives are for the whole server. */
  mounts?: readonly string[]
  edit?: (text: string, to: string) => string
  options?: { scriptName?: string; pathInfo?: 'from-uri' }
}

/** Kept-alive connections to the client end early, so that it sees the end of a short response. */
const IMPATIENT: Readonly<Record<string, string>> = {
  nginx: 'keepalive_timeout 1s;',
  lighttpd: 'server.max-keep-alive-idle = 1',
}

/** The configuration of a description, with an application for each mount point. */
function generated(
  server: TestServer,
  gateway: Site['gateway'],
  variant?: string,
  changes: Changes = {},
): Setting {
  const { description, program } = server
  const { site, tcp = false, mounts = ['', '/mnt'], edit, extra = '', ...others } = changes
  return {
    server: description.name,
    gateway,
    ...(variant === undefined ? {} : { variant }),
    program,
    mounts,
    async start(workshop) {
      const list: Mount[] = []
      for (const mount of mounts.toReversed()) {
        const scriptName = description.needsScriptName?.includes(gateway)
          ? { scriptName: mount }
          : {}
        const to = await serve(workshop, gateway, `app${list.length}`, {
          ...scriptName,
          ...changes.options,
          tcp,
        })
        list.push({ ...site, at: mount || '/', to, protocol: gateway })
      }
      return startSites(server, {
        ...others,
        mounts: list,
        extra: `${IMPATIENT[description.name] ?? ''}\n${extra}`,
        ...(edit ? { edit: (text) => edit(text, list[0]!.to) } : {}),
      })
    },
  }
}

/** A CGI script, or a FastCGI program that the server starts, at the root. */
function started(
  server: TestServer,
  gateway: 'cgi' | 'fastcgi',
  variant?: string,
  changes: Pick<Changes, 'edit'> = {},
): Setting {
  const { edit } = changes
  return {
    server: server.description.name,
    gateway,
    ...(variant === undefined ? {} : { variant }),
    program: server.program,
    mounts: [''],
    async start(workshop) {
      const path = await writeProgram(workshop, gateway)
      const mounts: Mount[] = [{ at: '/', to: '127.0.0.1:9', protocol: gateway, program: path }]
      return startSites(server, {
        mounts,
        extra: IMPATIENT[server.description.name] ?? '',
        ...(edit ? { edit: (text) => edit(text, path) } : {}),
      })
    },
  }
}

async function writeProgram(
  { directory, report }: Workshop,
  gateway: 'cgi' | 'fastcgi',
  options: object = {},
): Promise<string> {
  const osEnviron = { [REPORT]: report }
  if (gateway === 'cgi') {
    const entry = 'src/testing/suite.ts'
    return buildScript(directory, entry, 'suiteApplication', { osEnviron, ...options })
  }
  const input = join(directory, 'entry.ts')
  const sources = resolve(import.meta.dirname, '../..')
  await writeFile(
    input,
    `import { FastCGIHandler } from '${sources}/handlers/fastcgi.ts'
     import { closeOnSignals } from '${sources}/src/process/shutdown.ts'
     import { suiteApplication } from '${sources}/src/exports/testing.ts'
     const options = ${JSON.stringify({ osEnviron, ...options })}
     closeOnSignals(await new FastCGIHandler(options).run(suiteApplication))`,
  )
  const build = await rolldown({ input, platform: 'node', logLevel: 'silent' })
  const file = join(directory, 'suite.mjs')
  await build.write({ file, format: 'esm', codeSplitting: false, banner: '#!/usr/bin/env node' })
  await build.close()
  await chmod(file, 0o755)
  return file
}

/** A directory of documents whose `.htaccess` sends every URL to one program. */
function documents(gateway: 'cgi' | 'fastcgi', variant?: string, rule?: string): Setting {
  return {
    server: 'htaccess',
    gateway,
    ...(variant === undefined ? {} : { variant }),
    program: 'apache2',
    mounts: [''],
    async start(workshop) {
      const options = rule === undefined ? {} : { scriptName: '', pathInfo: 'from-uri' }
      const path = await writeProgram(workshop, gateway, options)
      const root = join(workshop.directory, 'www')
      await mkdir(root)
      const name = gateway === 'cgi' ? 'index.cgi' : 'index.fcgi'
      await writeFile(join(root, name), startScript(path))
      await chmod(join(root, name), 0o755)
      const [file] = htaccess.configure(siteOf({ at: '/', to: '', protocol: gateway }))
      const text = rule === undefined ? file!.text : file!.text.replace(/RewriteEngine[^]*/, rule)
      await writeFile(join(root, '.htaccess'), text)
      const fcgid = `${loadModule('fcgid')}
        FcgidIPCDir ${workshop.directory}
        FcgidProcessTableFile ${workshop.directory}/fcgid.shm
        FcgidInitialEnv PATH ${serverPath}`
      return startApache({
        documentRoot: root,
        extra: `${gateway === 'fastcgi' ? fcgid : ''}
          <Directory "${root}">
            AllowOverride All
          </Directory>`,
      })
    },
  }
}

/** A script in the directory of documents must not be seen as a file of them. */
function startScript(path: string): string {
  return path.endsWith('.cgi')
    ? `#!/usr/bin/env node\nrequire(${JSON.stringify(path)})\n`
    : `#!/usr/bin/env node\nimport(${JSON.stringify(path)})\n`
}

/** suexec runs only what lies below the directory that was compiled into it. */
const SUEXEC_ROOT = '/var/www'

/** Not the user of the web server, and with an id that suexec accepts. */
const SUEXEC_USER = { name: 'nobody', group: 'nogroup', uid: 65_534, gid: 65_534 }

const suexec: Setting = {
  server: 'apache',
  gateway: 'cgi',
  variant: 'suexec',
  program: '/usr/lib/apache2/suexec',
  mounts: [''],
  async start(workshop) {
    const directory = await mkdtemp(join(SUEXEC_ROOT, 'portico-'))
    workshop.closers.push(() => rm(directory, { recursive: true, force: true }))
    await chmod(directory, 0o755)
    await chown(directory, SUEXEC_USER.uid, SUEXEC_USER.gid)
    const path = await writeProgram({ ...workshop, directory }, 'cgi')
    await chown(path, SUEXEC_USER.uid, SUEXEC_USER.gid)
    return startSites(apacheServer, {
      mounts: [{ at: '/', to: '127.0.0.1:9', protocol: 'cgi', program: path }],
      extra: `${loadModule('suexec')}\nSuexecUserGroup ${SUEXEC_USER.name} ${SUEXEC_USER.group}`,
    })
  },
}

const phpFastcgi: Setting = {
  server: 'caddy',
  gateway: 'fastcgi',
  variant: 'php_fastcgi',
  program: 'caddy',
  mounts: [''],
  async start(workshop) {
    const options = { scriptName: '', pathInfo: 'from-uri' } as const
    const to = await serve(workshop, 'fastcgi', 'app', options)
    await writeFile(join(workshop.directory, 'index.php'), '')
    const extra = `root * ${workshop.directory}\n\tphp_fastcgi ${to.replace('unix:', 'unix/')}`
    return startCaddy({ extra })
  },
}

/** As docs/servers/cgi-elsewhere.md has it. */
const fcgiwrap: Setting = {
  server: 'fcgiwrap',
  gateway: 'cgi',
  program: 'fcgiwrap',
  mounts: ['/cgi-bin/suite.cgi'],
  async start(workshop) {
    const { directory, closers } = workshop
    await mkdir(join(directory, 'cgi-bin'))
    await writeProgram({ ...workshop, directory: join(directory, 'cgi-bin') }, 'cgi')
    const { child, text, settings } = startCgiServer('fcgiwrap', directory, 0)
    closers.push(() => stopChild(child))
    while (!existsSync(settings.socket)) await sleep(10)
    await openSocket(settings.socket)
    return startNginx({
      extra: `${text}\n${IMPATIENT['nginx']}`,
      edit: replacing(['client_max_body_size 1m;', 'client_max_body_size 64m;']),
    })
  },
}

/** A server that passes what a name stands for. */
const balancer = (text: string, to: string): string =>
  replacing([
    `ProxyPass "/" "fcgi://${to}/" flushpackets=on`,
    `${['proxy_balancer', 'lbmethod_byrequests', 'slotmem_shm'].map(loadModule).join('\n')}
     <Proxy "balancer://portico">
       BalancerMember "fcgi://${to}" flushpackets=on
     </Proxy>
     ProxyPass "/" "balancer://portico/"`,
  ])(text)

/** The handler of a location instead of ProxyPass. */
const setHandler = (text: string, to: string): string =>
  replacing(
    [`ProxyPass "/" "unix:${to.slice(5)}|fcgi://portico/" flushpackets=on`, ''],
    ['SetEnvIf Request_URI "^(/|$)" proxy-fcgi-pathinfo=unescape', ''],
    ['<Location "/">', `<Location "/">\nSetHandler "proxy:unix:${to.slice(5)}|fcgi://portico/"`],
  )(text)

const unbuffered: Changes = { site: { streaming: false } }
const root = { mounts: [''] }

export const settings: readonly Setting[] = [
  generated(nginxServer, 'fastcgi'),
  generated(nginxServer, 'fastcgi', '--no-streaming', unbuffered),
  generated(nginxServer, 'fastcgi', '--no-streaming --keep-alive 0', {
    site: { streaming: false, keepAlive: 0 },
    ...root,
  }),
  generated(nginxServer, 'fastcgi', 'over TCP', { tcp: true, ...root }),
  generated(nginxServer, 'scgi'),
  generated(nginxServer, 'scgi', '--no-streaming', { ...unbuffered, ...root }),
  generated(apacheServer, 'fastcgi'),
  generated(apacheServer, 'fastcgi', '--no-streaming', { ...unbuffered, ...root }),
  generated(apacheServer, 'fastcgi', 'over TCP', { tcp: true, ...root }),
  generated(apacheServer, 'fastcgi', 'over TCP with enablereuse', {
    tcp: true,
    edit: replacing(['flushpackets=on', 'flushpackets=on enablereuse=on']),
  }),
  generated(apacheServer, 'fastcgi', 'SetHandler', {
    edit: setHandler,
    options: { scriptName: '', pathInfo: 'from-uri' },
    ...root,
  }),
  generated(apacheServer, 'fastcgi', 'ProxyFCGIBackendType GENERIC', {
    extra: 'ProxyFCGIBackendType GENERIC',
    ...root,
  }),
  generated(apacheServer, 'fastcgi', 'a balancer', { tcp: true, edit: balancer, ...root }),
  generated(apacheServer, 'scgi'),
  started(apacheServer, 'cgi'),
  started(apacheServer, 'cgi', 'mod_cgi with prefork', { edit: prefork }),
  suexec,
  started(fcgidServer, 'fastcgi'),
  documents('cgi'),
  documents('cgi', 'FallbackResource', 'FallbackResource /index.cgi\n'),
  documents('fastcgi'),
  generated(lighttpdServer, 'fastcgi'),
  generated(lighttpdServer, 'fastcgi', '--no-streaming', { ...unbuffered, ...root }),
  started(lighttpdServer, 'fastcgi', 'started by lighttpd', {
    edit: (text, path) =>
      replacing([
        '"host" => "127.0.0.1", "port" => 9',
        `"socket" => "${path}.sock", "bin-path" => "${path}", "max-procs" => 1`,
      ])(text),
  }),
  generated(lighttpdServer, 'scgi'),
  started(lighttpdServer, 'cgi'),
  generated(caddyServer, 'fastcgi'),
  phpFastcgi,
  generated(haproxyServer, 'fastcgi'),
  generated(haproxyServer, 'fastcgi', '--keep-alive 0', { site: { keepAlive: 0 }, ...root }),
  generated(haproxyServer, 'fastcgi', 'option mpxs-conns', {
    edit: replacing(['option keep-conn', 'option keep-conn\n    option mpxs-conns']),
    ...root,
  }),
  generated(h2oServer, 'fastcgi'),
  ...[nginxServer, apacheServer, lighttpdServer, caddyServer, haproxyServer, h2oServer].map(
    (server) => generated(server, 'http', undefined, root),
  ),
  fcgiwrap,
]
