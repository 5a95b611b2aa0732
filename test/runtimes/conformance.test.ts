/**
 * The conformance suite on Bun, Deno and other versions of Node, through every gateway; on Node also
 * without undocumented internals (PORTICO_NO_INTERNALS).
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  cgiClient,
  closedAgain,
  fastcgiClient,
  httpClient,
  REPORT,
  runRow,
  scgiClient,
  suite,
  type Client,
  type ServerAddress,
} from '../../src/exports/testing.ts'
import type { Gateway } from '../../src/types.ts'
import { scgiFaults, type Fault } from '../fixtures/gateways.ts'
import { buildScript } from '../fixtures/script.ts'
import { start, type Running } from '../server/child.ts'
import { bun, deno, otherNodes, type TestedRuntime } from '../support/runtimes.ts'

const here: TestedRuntime = {
  name: `Node ${process.versions.node.split('.')[0]}`,
  command: [process.execPath],
  available: true,
  hint: '',
}
interface Setting {
  readonly runtime: TestedRuntime
  readonly where: string
  readonly env: Readonly<Record<string, string>>
  /** The mount points of CGI, which starts a process for each row: one or none. The others have two. */
  readonly cgi: readonly ('' | '/mnt')[]
}

const settings: readonly Setting[] = [
  { runtime: bun, where: bun.name, env: {}, cgi: [''] },
  { runtime: deno, where: deno.name, env: {}, cgi: ['/mnt'] },
  ...otherNodes.map((runtime, index): Setting => ({
    runtime,
    where: runtime.name,
    env: {},
    cgi: index === 0 ? [] : [''],
  })),
  // The internals of a CGI script do not concern the suite.
  ...[here, ...otherNodes].map((runtime): Setting => ({
    runtime,
    where: `${runtime.name} without internals`,
    env: { PORTICO_NO_INTERNALS: '1' },
    cgi: [],
  })),
]

/** What runtime-servers.mjs prints. */
interface Addresses {
  readonly fastcgi: Readonly<Record<'unix' | 'tcp', ServerAddress>>
  readonly scgi: Readonly<Record<'unix' | 'tcp', ServerAddress>>
  readonly http: Readonly<Record<string, ServerAddress>>
}

interface Tested {
  readonly name: string
  readonly gateway: Gateway
  readonly mount: string
  readonly faults?: readonly Fault[]
  readonly client: () => Client
}

const serverName = '127.0.0.1'
/** SERVER_PORT in the requests of the clients, except over HTTP. */
const serverPort = 8080

/** Rows of CGI that run at the same time; each waits for a process. An aborted response ends a shared connection. */
const CGI_AT_ONCE = 3

describe.each(settings)('The conformance suite on $where', ({ runtime, env, cgi: cgiMounts }) => {
  describe.skipIf(!runtime.available)(`passes${runtime.hint}`, () => {
    let directory: string
    let report: string
    let script: string
    let server: Running
    let addresses: Addresses

    beforeAll(async () => {
      directory = await mkdtemp(join(tmpdir(), 'portico-runtime-'))
      report = join(directory, 'closed')
      await writeFile(report, '')
      script = await buildScript(directory, 'src/testing/suite.ts', 'suiteApplication')
      // Deno reads a .cgi file as an ES module, unless this says otherwise.
      await writeFile(join(directory, 'package.json'), '{ "type": "commonjs" }')
      const [program, ...args] = runtime.command
      const servers = resolve('test/fixtures/runtime-servers.mjs')
      server = start(program!, [...args, servers, directory, report], { env })
      const printed = await server.printed('}}}')
      addresses = JSON.parse(/^\{.*\}$/m.exec(printed)![0]) as Addresses
    })

    afterAll(async () => {
      server?.process.kill()
      await server?.ended
      await rm(directory, { recursive: true, force: true })
    })

    const cgi = (mount: '' | '/mnt'): Tested => {
      const stdio = mount === '' ? 'pipes' : 'socket'
      const client = () =>
        cgiClient({
          command: [...(runtime.command as [string, ...string[]]), script],
          mount,
          stdio,
          serverName,
          serverPort,
          scriptFilename: script,
          variables: { [REPORT]: report, ...env },
        })
      return { name: `CGI over ${stdio}`, gateway: 'cgi', mount, client }
    }
    const all = (mount: string): Tested[] => [
      ...(['unix', 'tcp'] as const).flatMap((kind): Tested[] => [
        {
          name: `FastCGI over ${kind}`,
          gateway: 'fastcgi',
          mount,
          client: () =>
            fastcgiClient(addresses.fastcgi[kind], {
              mount,
              keepConn: kind === 'unix',
              serverName,
              serverPort,
            }),
        },
        {
          name: `SCGI over ${kind}`,
          gateway: 'scgi',
          mount,
          faults: scgiFaults,
          client: () => scgiClient(addresses.scgi[kind], { mount, serverName, serverPort }),
        },
      ]),
      {
        name: 'HTTP',
        gateway: 'http',
        mount,
        client: () => httpClient(addresses.http[mount]!, { mount }),
      },
    ]
    const tested = [...['', '/mnt'].flatMap(all), ...cgiMounts.map(cgi)]

    it.each(tested)(
      `over $name at '$mount'`,
      async ({ gateway, mount, faults = [], client: connect }) => {
        const client = connect()
        const http = addresses.http[mount]!
        const port = gateway === 'http' && 'port' in http ? http.port : serverPort
        const mountPoint = { mount, gateway, serverName, serverPort: port }
        const found: Record<string, string[]> = {}
        const rows = [...suite]
        const work = async () => {
          for (let row; (row = rows.shift()) !== undefined;) {
            const { name } = row
            const expected = faults.find((fault) => name.startsWith(fault.row))?.expect
            const complaints = await runRow(row, client, mountPoint, { report, expect: expected })
            if (complaints.length > 0) found[name] = complaints
          }
        }
        await Promise.all(Array.from({ length: gateway === 'cgi' ? CGI_AT_ONCE : 1 }, work))
        await client.close()
        expect(found).toEqual({})
      },
      180_000,
    )

    it('no body is closed twice', () => {
      expect(closedAgain(report)).toEqual([])
    })
  })
})
