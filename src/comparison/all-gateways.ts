/**
 * One request through every gateway, for `portico request --all` and the demo: HTTP, FastCGI and SCGI
 * in this process, CGI in a process of its own. The environs are those that the gateways publish on
 * `node:diagnostics_channel`.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { withoutCatching } from '../application/caught-listen.ts'
import { load } from '../application/load.ts'
import type { Runnable } from '../application/to-application.ts'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import { HTTPHandler } from '../../handlers/http.ts'
import { checkNames } from '../options/names.ts'
import { SCGIHandler } from '../../handlers/scgi.ts'
import { cgiClient } from '../testing/client-cgi.ts'
import { fastcgiClient } from '../testing/client-fastcgi.ts'
import { httpClient } from '../testing/client-http.ts'
import { scgiClient } from '../testing/client-scgi.ts'
import type { Client, TestRequest, TestResponse } from '../testing/client.ts'
import type { CgiServer } from '../testing/cgi-variables.ts'
import type { Gateway } from '../gateways.ts'
import type { Environ } from '../types.ts'
import { shownEnviron, type ShownEnviron } from './shown-environ.ts'

/** What became of the request through one gateway. */
export interface Passed {
  readonly gateway: Gateway
  /** Null if the application was not called. */
  readonly environ: ShownEnviron | null
  readonly response: TestResponse | null
  /** Why there is no response. */
  readonly error?: string | undefined
  readonly milliseconds: number
}

export interface AllGatewaysOptions {
  /** The environ of an HTTP request that has just been made: it is the first column. */
  readonly http?: Environ | undefined
  /** The application of the file, if it is loaded already. */
  readonly application?: Runnable | undefined
}

/** The script that serves the file by CGI. */
const CGI_CHILD = fileURLToPath(new URL('../comparison/cgi-child.js', import.meta.url))

/** Serves the application of `file` through each gateway, and sends the request to each. */
export async function throughAllGateways(
  file: string,
  request: TestRequest,
  options: AllGatewaysOptions = {},
): Promise<Passed[]> {
  checkNames('throughAllGateways', options, ['http', 'application'])
  const application = options.application ?? (await load(file))
  const directory = await mkdtemp(join(tmpdir(), 'portico-compare-'))
  try {
    const http: Passed = options.http
      ? { gateway: 'http', environ: shownEnviron(options.http), response: null, milliseconds: 0 }
      : await overHttp(application, request)
    const server = serverOf(http.environ)
    return [
      http,
      await overCgi(file, directory, request, server),
      await overSocket('fastcgi', application, directory, request, server),
      await overSocket('scgi', application, directory, request, server),
    ]
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

/** The same connection as for HTTP, so that only true differences are left. */
function serverOf(environ: ShownEnviron | null): CgiServer {
  const { SERVER_NAME, SERVER_PORT, REMOTE_ADDR, REMOTE_PORT } = environ ?? {}
  return {
    serverName: SERVER_NAME,
    serverPort: Number(SERVER_PORT ?? 80),
    remoteAddr: REMOTE_ADDR,
    remotePort: Number(REMOTE_PORT ?? 0),
  }
}

async function overHttp(application: Runnable, request: TestRequest): Promise<Passed> {
  const handler = new HTTPHandler({ listen: '127.0.0.1:0' })
  const server = await withoutCatching(() => handler.run(application))
  const port = 'port' in server.address ? String(server.address.port) : ''
  const isOurs = (environ: Environ) => environ.SERVER_PORT === port
  return passed('http', isOurs, httpClient(server.address), request, () => server.close())
}

async function overSocket(
  gateway: 'fastcgi' | 'scgi',
  application: Runnable,
  directory: string,
  request: TestRequest,
  where: CgiServer,
): Promise<Passed> {
  const listen = `unix:${join(directory, gateway)}` as const
  const isFastcgi = gateway === 'fastcgi'
  const handler = isFastcgi ? new FastCGIHandler({ listen }) : new SCGIHandler({ listen })
  const server = await handler.run(application)
  const client = (isFastcgi ? fastcgiClient : scgiClient)(listen, where)
  const isOurs = (environ: Environ) => environ['portico.gateway'] === gateway
  return passed(gateway, isOurs, client, request, () => server.close())
}

async function overCgi(
  file: string,
  directory: string,
  request: TestRequest,
  where: CgiServer,
): Promise<Passed> {
  const report = join(directory, 'environ.json')
  const client = cgiClient({
    ...where,
    command: [process.execPath, ...process.execArgv, CGI_CHILD, file, report],
  })
  const result = await passed('cgi', () => false, client, request)
  const text = await readFile(report, 'utf8').catch(() => 'null')
  return { ...result, environ: JSON.parse(text) as ShownEnviron | null }
}

/** Sends the request, and takes the environ from the channel. */
async function passed(
  gateway: Gateway,
  isOurs: (environ: Environ) => boolean,
  client: Client,
  request: TestRequest,
  close?: () => Promise<unknown>,
): Promise<Passed> {
  let environ: ShownEnviron | null = null
  const record = (message: unknown) => {
    const { environ: own } = message as { environ: Environ }
    if (environ === null && isOurs(own)) environ = shownEnviron(own)
  }
  subscribe('portico:request:start', record)
  const started = performance.now()
  try {
    const response = await client.request(request)
    return { gateway, environ, response, milliseconds: performance.now() - started }
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    const milliseconds = performance.now() - started
    return { gateway, environ, response: null, error: message, milliseconds }
  } finally {
    unsubscribe('portico:request:start', record)
    await client.close()
    await close?.()
  }
}
