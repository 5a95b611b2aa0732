/**
 * One application over each gateway, because middleware has to behave the same over all of them.
 * The first is SimpleHandler in CGI's form, in this process; the others listen on 127.0.0.1.
 */
import { Buffer } from 'node:buffer'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import { HTTPHandler } from '../../handlers/http.ts'
import { NodeFastCGIHandler } from '../../handlers/node-fastcgi.ts'
import { SCGIHandler } from '../../handlers/scgi.ts'
import { BaseCGIHandler } from '../../handlers/simple.ts'
import { ErrorLog } from '../../src/request/error-log.ts'
import { bytesSource, Input } from '../../src/request/input.ts'
import { declaredLength, parseCgiResponse, valuesOf } from '../../src/response/cgi-response.ts'
import { cgiVariables } from '../../src/testing/cgi-variables.ts'
import { bodyBytes, type TestRequest, type TestResponse } from '../../src/testing/client.ts'
import { fastcgiClient, httpClient, scgiClient } from '../../src/exports/testing.ts'
import type { Application, ApplicationClass } from '../../src/types.ts'
import { addressOf } from '../fixtures/gateways.ts'

export const GATEWAYS = ['cgi', 'fastcgi', 'node-fastcgi', 'scgi', 'http'] as const
export type GatewayName = (typeof GATEWAYS)[number]

const SERVERS = {
  fastcgi: { Handler: FastCGIHandler, clientOf: fastcgiClient },
  'node-fastcgi': { Handler: NodeFastCGIHandler, clientOf: fastcgiClient },
  scgi: { Handler: SCGIHandler, clientOf: scgiClient },
  http: { Handler: HTTPHandler, clientOf: httpClient },
}

type App = Application | ApplicationClass
export type Ask = (request: TestRequest | string) => Promise<TestResponse>

/** Runs `use` with a function that asks the application through the gateway. */
export async function through<T>(
  gateway: GatewayName,
  application: App,
  use: (ask: Ask) => Promise<T>,
): Promise<T> {
  if (gateway === 'cgi') return use((request) => runCgi(application, request))
  const { Handler, clientOf } = SERVERS[gateway]
  const server = await new Handler({ listen: '127.0.0.1:0' }).run(application)
  const client = clientOf(addressOf(server))
  try {
    return await use((request) => client.request(asRequest(request)))
  } finally {
    await client.close()
    await server.close()
  }
}

/** Runs one request through a new handler; an undefined variable is taken away. */
export async function runCgi(
  application: App,
  request: TestRequest | string,
  variables: Record<string, string | undefined> = {},
): Promise<TestResponse & { errors: string }> {
  const asked = asRequest(request)
  const environ: Record<string, string | undefined> = {
    ...Object.fromEntries(cgiVariables(asked)),
    ...variables,
  }
  for (const name in environ) if (environ[name] === undefined) delete environ[name]
  const chunks: Buffer[] = []
  let errors = ''
  const handler = new BaseCGIHandler(
    new Input(bytesSource(bodyBytes(asked.body))),
    { write: (bytes) => void chunks.push(Buffer.from(bytes)) },
    new ErrorLog((text) => (errors += text)),
    environ,
  )
  await handler.run(application)
  const response = parseCgiResponse(Buffer.concat(chunks))
  const { status, headers, body } = response
  return {
    status,
    headers,
    body,
    broken: body.length < (declaredLength(response, asked.method) ?? 0),
    errors,
  }
}

function asRequest(request: TestRequest | string): TestRequest {
  return typeof request === 'string' ? { target: request } : request
}

/** The one value of a header, or undefined. */
export function valueOf({ headers }: TestResponse, name: string): string | undefined {
  const values = valuesOf(headers, name)
  if (values.length > 1) throw new Error(`${name} is there ${values.length} times`)
  return values[0]
}

/** Status and body: what tests compare most. */
export function brief({ status, body }: TestResponse): [status: string, body: string] {
  return [status, body.toString()]
}
