/**
 * What the types of the package promise. Nothing here runs: `tsc` checks it, in this repository and
 * (by types.test.ts) against the built package.
 */
import http from 'node:http'
import type { Buffer } from 'node:buffer'
import { getConnInfo } from '@hono/node-server/conninfo'
import express from 'express'
import Fastify from 'fastify'
import { Hono } from 'hono'
import {
  type Application,
  type ApplicationClass,
  type Environ,
  FastCGIHandler,
  type FastCGIOptions,
  FileWrapper,
  type GatewayServer,
  type HandlerOptions,
  Headers,
  HTTPHandler,
  type HTTPOptions,
  type InputStream,
  ResponseHeaders,
  run,
  type RunOptions,
  SCGIHandler,
  type SCGIOptions,
  type StartResponse,
  validator,
} from 'portico'
import { fromFetch } from 'portico/fetch'
import { BaseHandler, ErrorLog, Input } from 'portico/gateway'
import { fromNode } from 'portico/node'
import { demoApp, setupTestingDefaults } from 'portico/wsgiref'

declare module 'portico' {
  interface Environ {
    /** A key of custom middleware. */
    'example.user'?: { readonly name: string }
  }
}

/* oxlint-disable typescript/no-unnecessary-type-parameters -- types are compared by them */

/** Fails to compile unless the types are the same. */
function same<A, B>(
  ..._equal: (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? [] : [never]
): void {}

// Applications of every kind need no cast.

const plain: Application = (_environ, startResponse) => {
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  return ['text', new Uint8Array(1)]
}

const later: Application = async (_environ, startResponse) => {
  const write = startResponse('200 OK', [])
  await write('x')
  return new FileWrapper({ read: () => null })
}

const generator: Application = function* (_environ, startResponse) {
  startResponse('200 OK', [])
  yield 'x'
}

const asyncGenerator: Application = async function* (environ, startResponse) {
  startResponse('200 OK', [])
  for await (const line of environ['wsgi.input']) yield line
}

class Alphabet {
  readonly #startResponse: StartResponse

  constructor(_environ: Environ, startResponse: StartResponse) {
    this.#startResponse = startResponse
  }

  *[Symbol.iterator](): Generator<string> {
    this.#startResponse('200 OK', [])
    yield 'a'
  }
}

const asClass: ApplicationClass = Alphabet

// @ts-expect-error -- a number is not a chunk
const notAChunk: Application = () => [1]

// @ts-expect-error -- a header needs a value
const notAHeader: Application = (_environ, startResponse) => (startResponse('200 OK', [['X']]), [])

// @ts-expect-error -- the status is a string
const notAStatus: Application = (_environ, startResponse) => (startResponse(200, []), [])

// Environ keys.

export function readsEnviron(environ: Environ): void {
  same<typeof environ.REQUEST_METHOD, string>()
  same<typeof environ.HTTP_X_FOO, string | undefined>()
  same<(typeof environ)['wsgi.input'], InputStream>()
  same<(typeof environ)['portico.signal'], AbortSignal>()
  same<(typeof environ)['example.user'], { readonly name: string } | undefined>()
  same<(typeof environ)['someone.else'], unknown>()
  const gateway: string = environ['portico.gateway']
  if (gateway === 'fastcgi') environ['example.user'] = { name: 'ada' }
  // @ts-expect-error -- declared otherwise above
  environ['example.user'] = 'ada'
  // @ts-expect-error -- the gateway's
  environ['portico.signal'] = new AbortController().signal
}

// Every gateway runs every kind of application.

export async function runs(): Promise<void> {
  const framework = [Fastify(), new Hono(), http.createServer(() => {})] as const
  for (const app of framework) {
    await new FastCGIHandler({ listen: 'unix:/run/app.sock' }).run(app)
    await run(app)
  }
  for (const app of [plain, later, generator, asyncGenerator, validator(plain), demoApp]) {
    same<Awaited<ReturnType<FastCGIHandler['run']>>, GatewayServer>()
    await new SCGIHandler().run(app)
  }
  await run(asClass)
  await run((environ, startResponse) => (startResponse(environ.PATH_INFO, []), []))
  await run(fromNode((request, response) => response.end(request.url)))
  await run(fromFetch((request) => new Response(request.url)))
  // @ts-expect-error -- a listener is wrapped in fromNode
  await run((request: http.IncomingMessage, response: http.ServerResponse) => response.end())
  // @ts-expect-error -- not an application
  await run('./app.js')
}

// Misspelt options do not compile.

export const options = {
  run: { gateway: 'fastcgi', listen: 0 } satisfies RunOptions,
  fastcgi: { listen: 0, osEnviron: { A: 'b' } } satisfies FastCGIOptions,
  http: { listen: 0 } satisfies HTTPOptions,
  scgi: { listen: 0 } satisfies SCGIOptions,
  handler: { responseTimeout: 1000 } satisfies HandlerOptions,
}

export function misspelt(): void {
  // @ts-expect-error -- listen
  void new FastCGIHandler({ listne: 0 })
  // @ts-expect-error -- listen
  void new SCGIHandler({ listne: 0 })
  // @ts-expect-error -- listen
  void new HTTPHandler({ listne: 0 })
  // @ts-expect-error -- listen
  void run(plain, { listne: 0 })
  // @ts-expect-error -- not a gateway
  void run(plain, { gateway: 'fcgi' })
  // @ts-expect-error -- a number of milliseconds
  void new FastCGIHandler({ shutdownTimeout: '5s' })
}

// A custom gateway.

export class Gateway extends BaseHandler {
  override gateway = 'example'

  override getStdin(): Input {
    return new Input({ read: () => null })
  }

  override getStderr(): ErrorLog {
    return new ErrorLog(() => {})
  }
}

// The global `Headers` and the one for responses have different names.

same<InstanceType<typeof ResponseHeaders>, Headers>()
export const global: globalThis.Headers = new globalThis.Headers()

export async function reads(environ = setupTestingDefaults({})): Promise<Buffer> {
  same<typeof environ, Environ>()
  return environ['wsgi.input'].read(10)
}

export const refused = [notAChunk, notAHeader, notAStatus]

// Frameworks, with their own types.

const expressApp = express()
expressApp.get('/', (request, response) => {
  const user: string | undefined = request.environ['REMOTE_USER']
  same<typeof request.baseUrl, string>()
  response.send(`${user} ${request.originalUrl}`)
})
void run(expressApp)
void new FastCGIHandler().run(expressApp)
void new HTTPHandler().run(expressApp)
validator(fromNode(expressApp))

// The bindings of Hono are the environ.
const typedHono = new Hono<{ Bindings: Environ }>()
typedHono.get('/', (c) => {
  const user: string | undefined = c.env['REMOTE_USER']
  return c.json([user, c.env.SCRIPT_NAME, getConnInfo(c).remote.address])
})
void run(typedHono)
fromFetch(typedHono)
