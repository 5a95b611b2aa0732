/**
 * The conformance suite through real web servers: Apache (mod_cgid, mod_fcgid, mod_proxy_fcgi,
 * mod_proxy_scgi), nginx, lighttpd and HAProxy, with processes that they start and processes that the
 * test starts. One table lists what a server's own policy changes.
 */
import { writeFile, chmod, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { rolldown } from 'rolldown'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import { SCGIHandler } from '../../handlers/scgi.ts'
import {
  closedAgain,
  httpClient,
  REPORT,
  runRow,
  suite,
  suiteApplication,
  type Expectation,
} from '../../src/exports/testing.ts'
import type { Gateway } from '../../src/types.ts'
import { BROKEN_WITHOUT_LENGTH } from '../fixtures/gateways.ts'
import { buildScript } from '../fixtures/script.ts'
import { startApache } from '../servers/apache.ts'
import { startHaproxy } from '../servers/haproxy.ts'
import { startLighttpd } from '../servers/lighttpd.ts'
import type { Mount } from '../servers/mount.ts'
import { startNginx } from '../servers/nginx.ts'
import {
  installed,
  makeDirectory,
  openSocket,
  type ServerProgram,
  type WebServer,
} from '../servers/process.ts'

/** A web server, and where the suite is mounted in it. */
interface Setting {
  readonly program: ServerProgram
  readonly name: string
  readonly gateway: Gateway
  /** The server's SERVER_NAME. */
  readonly serverName: string
  readonly mounts: readonly string[]
  /** Serves the suite from this directory; bodies that are closed are reported to `report`. */
  start(directory: string, report: string): Promise<WebServer>
}

const settings: readonly Setting[] = [
  {
    program: 'apache2',
    name: 'CGI in Apache (mod_cgid)',
    gateway: 'cgi',
    serverName: '127.0.0.1',
    mounts: ['', '/cgi-bin/suite.cgi'],
    async start(directory, report) {
      const script = await buildScript(directory, 'src/testing/suite.ts', 'suiteApplication')
      return startApache({
        cgiBin: directory,
        // Without the second Apache 2.4.59 and later drop Content-Length of every script.
        everywhere: `
          SetEnv ${REPORT} "${report}"
          SetEnv ap_trust_cgilike_cl 1
          CGIPassAuth On`,
        // A client that still waits for what was declared learns the truth when this is over.
        extra: `ScriptAlias "/" "${script}/"\nKeepAliveTimeout 1`,
      })
    },
  },
  {
    program: 'apache2',
    name: 'FastCGI in Apache (mod_fcgid)',
    gateway: 'fastcgi',
    serverName: '127.0.0.1',
    mounts: ['', '/mnt'],
    async start(directory, report) {
      const script = await program(directory, report)
      const extra = 'CGIPassAuth On'
      return startApache({
        fcgid: ['/mnt', '/'].map((at) => ({ at, script, extra })),
        everywhere: 'SetEnv ap_trust_cgilike_cl 1',
        // Its own limit is 128 KiB.
        extra: 'KeepAliveTimeout 1\nFcgidMaxRequestLen 1073741824',
      })
    },
  },
  ...(['fastcgi', 'scgi'] as const).flatMap((protocol): Setting[] => {
    const title = protocol === 'fastcgi' ? 'FastCGI' : 'SCGI'
    const mounts = ['', '/mnt']
    return [
      {
        program: 'nginx',
        name: `${title} behind nginx`,
        gateway: protocol,
        serverName: 'localhost',
        mounts,
        start: async (directory, report) =>
          startNginx({
            mounts: mountsOf(protocol, await serve(protocol, directory, report)),
            extra: 'keepalive_timeout 1s;',
          }),
      },
      {
        program: 'apache2',
        name: `${title} behind Apache (mod_proxy_${title.toLowerCase().replace('fast', 'f')})`,
        gateway: protocol,
        serverName: '127.0.0.1',
        mounts,
        start: async (directory, report) =>
          startApache({
            mounts: mountsOf(protocol, await serve(protocol, directory, report), 'CGIPassAuth On'),
            everywhere: 'SetEnv ap_trust_cgilike_cl 1',
            extra: 'KeepAliveTimeout 1',
          }),
      },
      {
        program: 'lighttpd',
        name: `${title} behind lighttpd`,
        gateway: protocol,
        serverName: '127.0.0.1',
        mounts,
        start: async (directory, report) =>
          startLighttpd({
            mounts: mountsOf(protocol, await serve(protocol, directory, report)),
            extra: 'server.max-keep-alive-idle = 1',
          }),
      },
    ]
  }),
  {
    program: 'lighttpd',
    name: 'FastCGI in lighttpd, which starts the process',
    gateway: 'fastcgi',
    serverName: '127.0.0.1',
    mounts: ['', '/mnt'],
    async start(directory, report) {
      const script = await program(directory, report)
      const extra = `"bin-path" => "${script}", "max-procs" => 1`
      return startLighttpd({
        mounts: ['/mnt', '/'].map((at, i) => ({ at, to: `unix:${directory}/own${i}`, extra })),
        extra: 'server.max-keep-alive-idle = 1',
      })
    },
  },
  {
    program: 'haproxy',
    name: 'FastCGI behind HAProxy',
    gateway: 'fastcgi',
    serverName: '127.0.0.1',
    mounts: ['', '/mnt'],
    start: async (directory, report) =>
      startHaproxy({ mounts: mountsOf('fastcgi', await serve('fastcgi', directory, report)) }),
  },
]

/** Our handler for `protocol`, on a Unix socket that any web server may use. */
async function serve(protocol: 'fastcgi' | 'scgi', directory: string, report: string) {
  const path = join(directory, 'app.sock')
  const options = { listen: `unix:${path}`, osEnviron: { [REPORT]: report } }
  const handler = protocol === 'fastcgi' ? new FastCGIHandler(options) : new SCGIHandler(options)
  const application = await handler.run(suiteApplication)
  closers.push(() => application.close())
  await openSocket(path)
  return options.listen
}

/** Both mounts of the settings below; the longer one first, as servers want it. */
function mountsOf(protocol: 'fastcgi' | 'scgi', to: string, extra = ''): Mount[] {
  return ['/mnt', '/'].map((at) => ({ at, to, protocol, extra }))
}

/** A program that takes the socket on descriptor 0, as a web server that starts it wants it. */
async function program(directory: string, report: string): Promise<string> {
  const input = join(directory, 'entry.ts')
  const sources = resolve(import.meta.dirname, '../..')
  await writeFile(
    input,
    `import { FastCGIHandler } from '${sources}/handlers/fastcgi.ts'
     import { closeOnSignals } from '${sources}/src/process/shutdown.ts'
     import { suiteApplication } from '${sources}/src/exports/testing.ts'
     const osEnviron = { '${REPORT}': '${report}' }
     closeOnSignals(await new FastCGIHandler({ osEnviron }).run(suiteApplication))`,
  )
  const build = await rolldown({ input, platform: 'node', logLevel: 'silent' })
  const file = join(directory, 'suite.mjs')
  await build.write({ file, format: 'esm', codeSplitting: false, banner: '#!/usr/bin/env node' })
  await build.close()
  await chmod(file, 0o755)
  return file
}

/** How a server's own policy changes the rows whose names begin with `row`. */
interface Policy {
  /** The settings, by their names. */
  readonly places: readonly string[]
  readonly row: string
  readonly reason: string
  readonly expect: Expectation
}

const CGID = 'CGI in Apache (mod_cgid)'
const FCGID = 'FastCGI in Apache (mod_fcgid)'
const PROXY_FCGI = 'FastCGI behind Apache (mod_proxy_fcgi)'
const PROXY_SCGI = 'SCGI behind Apache (mod_proxy_scgi)'
const NGINX_SCGI = 'SCGI behind nginx'
const LIGHTTPD_SCGI = 'SCGI behind lighttpd'
const LIGHTTPD_FASTCGI = [
  'FastCGI behind lighttpd',
  'FastCGI in lighttpd, which starts the process',
]
const LIGHTTPD = [LIGHTTPD_SCGI, ...LIGHTTPD_FASTCGI]
const HAPROXY = 'FastCGI behind HAProxy'

const MERGED = 'Apache joins repeated headers, in requests and in responses'
const EXIT_CODE = 'Apache ignores the exit code, and no length was declared'
const NO_WORD = 'SCGI cannot signal it, a Unix socket has no reset, and no length was declared'
const BUFFERED = 'mod_fcgid buffers 64 KiB of a response, and can still send a 500'
const COUNTED =
  'Apache computes the length again if the response has ended before it begins to send it'
const LENIENT = 'lighttpd 1.4.69 takes the end of the connection for the end of the response'

const SHORT = [
  'an array shorter than declared is an aborted response',
  'a generator shorter than declared is an aborted response',
]

const policies: readonly Policy[] = [
  {
    places: [CGID, FCGID, PROXY_FCGI, PROXY_SCGI],
    row: 'two Cookie headers are joined with a semicolon',
    reason: MERGED,
    expect: { body: 'HTTP_COOKIE=a=1, b=2\n' },
  },
  {
    places: [CGID, FCGID, PROXY_FCGI, PROXY_SCGI],
    row: 'two headers with the same name arrive as two',
    reason: MERGED,
    expect: { headers: { 'X-Foo': ['foo, bar, baz'] } },
  },
  {
    places: [FCGID, HAPROXY, ...LIGHTTPD_FASTCGI],
    row: 'a GET has neither CONTENT_TYPE nor CONTENT_LENGTH',
    reason: 'they send 0 if there is no body',
    expect: { body: 'CONTENT_TYPE is absent\nCONTENT_LENGTH=0\n' },
  },
  {
    places: [PROXY_FCGI, PROXY_SCGI],
    row: 'PATH_INFO is empty at the mount point',
    reason: 'mod_proxy adds the slash',
    expect: { body: ({ mount }) => `SCRIPT_NAME=${mount}\nPATH_INFO=/\n` },
  },
  {
    places: LIGHTTPD,
    row: 'an empty header is present',
    reason: 'lighttpd drops empty headers',
    expect: { body: 'HTTP_X_EMPTY is absent\nHTTP_X_ABSENT is absent\n' },
  },
  {
    places: LIGHTTPD,
    row: 'an unusual query is not changed',
    reason: 'lighttpd escapes a % that does not begin an escape',
    expect: { body: 'QUERY_STRING=k=aa%2F%2Fbb&//q//p//=//a//b//?c=d&%25zz&+\n' },
  },
  {
    places: LIGHTTPD,
    row: 'percent-encoded bytes that are not UTF-8 are kept',
    reason: 'lighttpd refuses them (url-invalid-utf8-reject)',
    expect: { status: '400 Bad Request', body: undefined },
  },
  {
    places: LIGHTTPD,
    row: "the reason of a status is the application's",
    reason: 'lighttpd sends its own reason phrase',
    expect: { status: '403 Forbidden' },
  },
  {
    places: [HAPROXY],
    row: 'a redirect keeps its Location',
    reason: 'HAProxy 2.6 sends its own reason phrase',
    expect: { status: '302 Moved Temporarily' },
  },
  {
    places: [HAPROXY],
    row: 'a 304 has no body, and gets no headers',
    reason: 'HAProxy 2.6 adds Content-Length: 0',
    expect: { headers: { 'Content-Length': ['0'] } },
  },
  {
    places: [HAPROXY],
    row: 'PATH_INFO is empty at the mount point',
    reason: 'HAProxy sends the same without a mount point; the option scriptName would set it',
    expect: { body: ({ mount }) => `SCRIPT_NAME=\nPATH_INFO=${mount || '/'}\n` },
  },
  ...BROKEN_WITHOUT_LENGTH.flatMap((row): Policy[] => [
    { places: [CGID], row, reason: EXIT_CODE, expect: { broken: false } },
    {
      places: [NGINX_SCGI, PROXY_SCGI, LIGHTTPD_SCGI],
      row,
      reason: NO_WORD,
      expect: { broken: false },
    },
    { places: LIGHTTPD_FASTCGI, row, reason: LENIENT, expect: { broken: false } },
  ]),
  ...SHORT.map((row): Policy => ({
    places: [PROXY_SCGI],
    row,
    reason: COUNTED,
    expect: { broken: null },
  })),
  ...[...BROKEN_WITHOUT_LENGTH, ...SHORT].map((row): Policy => ({
    places: [FCGID],
    row,
    reason: BUFFERED,
    expect: { status: '500 Internal Server Error', body: undefined, headers: {}, broken: false },
  })),
]

const closers: (() => Promise<unknown>)[] = []

describe.each(settings)('The conformance suite through $name', (setting) => {
  const { name: place, gateway, serverName, mounts } = setting
  const { available, hint } = installed(setting.program)

  describe.skipIf(!available)(`passes${hint}`, () => {
    let server: WebServer
    let report: string

    beforeAll(async () => {
      vi.spyOn(process.stderr, 'write').mockReturnValue(true)
      const directory = await makeDirectory()
      closers.push(() => rm(directory, { recursive: true, force: true }))
      report = join(directory, 'closed')
      await writeFile(report, '')
      await chmod(report, 0o666)
      server = await setting.start(directory, report)
      closers.push(() => server.stop())
    })

    afterAll(async () => {
      vi.restoreAllMocks()
      for (const close of closers.splice(0).toReversed()) await close()
    })

    describe.each(mounts)('at "%s"', (mount) => {
      it.each(suite.map((row) => [row.name, row] as const))('%s', async (_, row) => {
        const policy = policies.find(
          ({ places, row: name }) => places.includes(place) && row.name.startsWith(name),
        )
        const { port } = server
        const where = { mount, gateway, serverName, serverPort: port }
        const options = { report, expect: policy?.expect }
        expect(await runRow(row, httpClient({ port }, { mount }), where, options)).toEqual([])
      })
    })

    it('without closing a body twice', () => {
      expect(closedAgain(report)).toEqual([])
    })
  })
})

it.each(policies)(
  'The policy about "$row" names a row and servers that exist',
  ({ row, places }) => {
    expect(settings.map(({ name }) => name)).toEqual(expect.arrayContaining([...places]))
    expect(suite.filter(({ name }) => name.startsWith(row))).not.toEqual([])
  },
)
