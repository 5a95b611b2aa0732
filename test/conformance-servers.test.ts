/**
 * The conformance suite through real web servers: Apache's mod_cgid, and nginx in front of
 * FastCGIHandler and SCGIHandler. What a server's own policy changes is in one table.
 */
import { writeFile, chmod, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { FastCGIHandler } from '../handlers/fastcgi.ts'
import { SCGIHandler } from '../handlers/scgi.ts'
import type { GatewayServer } from '../src/server/lifecycle.ts'
import {
  closedAgain,
  httpClient,
  REPORT,
  runRow,
  suite,
  suiteApplication,
  type Expectation,
} from '../src/testing/index.ts'
import type { Gateway } from '../src/types.ts'
import { BROKEN_WITHOUT_LENGTH } from './fixtures/gateways.ts'
import { buildScript } from './fixtures/script.ts'
import { startApache } from './servers/apache.ts'
import { startNginx } from './servers/nginx.ts'
import { installed, makeFolder, openSocket, type WebServer } from './servers/process.ts'

/** A web server, and where the suite is mounted in it. */
interface Setting {
  readonly program: 'apache2' | 'nginx'
  readonly name: string
  readonly gateway: Gateway
  /** What the server says in SERVER_NAME. */
  readonly serverName: string
  readonly mounts: readonly string[]
  /** Serves the suite from `folder`; bodies that are closed are reported to `report`. */
  start(folder: string, report: string): Promise<WebServer>
}

const settings: readonly Setting[] = [
  {
    program: 'apache2',
    name: 'CGI in Apache (mod_cgid)',
    gateway: 'cgi',
    serverName: '127.0.0.1',
    mounts: ['', '/cgi-bin/suite.cgi'],
    async start(folder, report) {
      const script = await buildScript(folder, 'src/testing/suite.ts', 'suiteApplication')
      return startApache({
        cgiBin: folder,
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
    program: 'nginx',
    name: 'FastCGI behind nginx',
    gateway: 'fastcgi',
    serverName: 'localhost',
    mounts: ['', '/mnt'],
    start: (folder, report) =>
      behindNginx('fastcgi', folder, (listen) =>
        new FastCGIHandler({ listen, osEnviron: { [REPORT]: report } }).run(suiteApplication),
      ),
  },
  {
    program: 'nginx',
    name: 'SCGI behind nginx',
    gateway: 'scgi',
    serverName: 'localhost',
    mounts: ['', '/mnt'],
    start: (folder, report) =>
      behindNginx('scgi', folder, (listen) =>
        new SCGIHandler({ listen, osEnviron: { [REPORT]: report } }).run(suiteApplication),
      ),
  },
]

async function behindNginx(
  protocol: 'fastcgi' | 'scgi',
  folder: string,
  serve: (listen: string) => Promise<GatewayServer>,
): Promise<WebServer> {
  const path = join(folder, 'app.sock')
  const to = `unix:${path}`
  const application = await serve(to)
  closers.push(() => application.close())
  await openSocket(path)
  return startNginx({
    mounts: [
      { at: '/mnt', to, protocol },
      { at: '/', to, protocol },
    ],
    extra: 'keepalive_timeout 1s;',
  })
}

/** What a server does of its own accord to the rows of which this is the name's beginning. */
interface Policy {
  /** Of the setting, in front of which it stands: 'apache2 cgi'. */
  readonly place: `${Setting['program']} ${Gateway}`
  readonly row: string
  readonly reason: string
  readonly expect: Expectation
}

const MERGED = 'Apache joins the headers of a name, in requests and in answers'
const EXIT_CODE = 'Apache looks at no exit code, and no length was declared'
const NO_WORD = 'SCGI has no word for it, a Unix socket no reset, and no length was declared'

const policies: readonly Policy[] = [
  {
    place: 'apache2 cgi',
    row: 'two cookies are joined as cookies',
    reason: MERGED,
    expect: { body: 'HTTP_COOKIE=a=1, b=2\n' },
  },
  {
    place: 'apache2 cgi',
    row: 'two headers of a name arrive as two',
    reason: MERGED,
    expect: { headers: { 'X-Foo': ['foo, bar, baz'] } },
  },
  ...BROKEN_WITHOUT_LENGTH.flatMap((row): Policy[] => [
    { place: 'apache2 cgi', row, reason: EXIT_CODE, expect: { broken: false } },
    { place: 'nginx scgi', row, reason: NO_WORD, expect: { broken: false } },
  ]),
]

const closers: (() => Promise<unknown>)[] = []

describe.each(settings)('$name', (setting) => {
  const { program, gateway, serverName, mounts } = setting
  const { available, hint } = installed(program)

  describe.skipIf(!available)(`passes the suite${hint}`, () => {
    let server: WebServer
    let report: string

    beforeAll(async () => {
      vi.spyOn(process.stderr, 'write').mockReturnValue(true)
      const folder = await makeFolder()
      closers.push(() => rm(folder, { recursive: true, force: true }))
      report = join(folder, 'closed')
      await writeFile(report, '')
      await chmod(report, 0o666)
      server = await setting.start(folder, report)
      closers.push(() => server.stop())
    })

    afterAll(async () => {
      vi.restoreAllMocks()
      for (const close of closers.splice(0).toReversed()) await close()
    })

    describe.each(mounts)('at "%s"', (mount) => {
      it.each(suite.map((row) => [row.name, row] as const))('%s', async (_, row) => {
        const policy = policies.find(
          ({ place, row: name }) => place === `${program} ${gateway}` && row.name.startsWith(name),
        )
        const { port } = server
        const where = { mount, gateway, serverName, serverPort: port }
        const options = { report, expect: policy?.expect }
        expect(await runRow(row, httpClient({ port }, { mount }), where, options)).toEqual([])
      })
    })

    it('closes no body twice', () => {
      expect(closedAgain(report)).toEqual([])
    })
  })
})

it.each(policies)('$program: the policy about "$row" is about a row', ({ row }) => {
  expect(suite.filter(({ name }) => name.startsWith(row))).not.toEqual([])
})
