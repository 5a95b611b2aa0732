/** examples/opentelemetry.mjs with the API and the SDK of OpenTelemetry. */
import { context, propagation, trace } from '@opentelemetry/api'
import { W3CTraceContextPropagator } from '@opentelemetry/core'
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base'
import { createServer } from 'node:http'
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import { HTTPHandler } from '../../handlers/http.ts'
import { fastcgiClient, httpClient, type TestRequest } from '../../src/exports/testing.ts'
import type { Application } from '../../src/types.ts'
// @ts-expect-error An example without types.
import { traceRequests } from '../../examples/opentelemetry.mjs'

const exporter = new InMemorySpanExporter()
const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] })

beforeAll(() => {
  trace.setGlobalTracerProvider(provider)
  propagation.setGlobalPropagator(new W3CTraceContextPropagator())
  ;(traceRequests as () => void)()
})
beforeEach(() => exporter.reset())
afterAll(async () => {
  await provider.shutdown()
  trace.disable()
  context.disable()
  propagation.disable()
})

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'
const PARENT = '00f067aa0ba902b7'
const TRACEPARENT = `00-${TRACE}-${PARENT}-01`
const request: TestRequest = { target: '/a', headers: [['Traceparent', TRACEPARENT]] }

/** What the application does: a span of its own, after it has waited. */
async function work(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve))
  trace.getTracer('application').startSpan('work').end()
}

const application: Application = async (environ, startResponse) => {
  await work()
  if (environ.PATH_INFO === '/throws') throw new Error('thrown')
  startResponse('201 Created', [['Content-Type', 'text/plain']])
  return [String(environ['HTTP_TRACEPARENT'])]
}

it('makes a span over FastCGI that continues traceparent, with the spans of the application below', async () => {
  const server = await new FastCGIHandler({ listen: '127.0.0.1:0' }).run(application)
  const client = fastcgiClient(server.address)
  const response = await client.request(request)
  expect(response.body.toString()).toBe(TRACEPARENT)
  await expect.poll(() => exporter.getFinishedSpans().length).toBe(2)
  const [inner, span] = exporter.getFinishedSpans()
  expect(span).toMatchObject({
    name: 'GET',
    parentSpanContext: { traceId: TRACE, spanId: PARENT },
    attributes: {
      'http.response.status_code': 201,
      'portico.gateway': 'fastcgi',
      'url.path': '/a',
    },
  })
  expect(inner!.parentSpanContext?.spanId).toBe(span!.spanContext().spanId)

  exporter.reset()
  await client.request({ target: '/throws' })
  await expect.poll(() => exporter.getFinishedSpans().length).toBe(2)
  const [, failed] = exporter.getFinishedSpans()
  expect(failed!.status.code).toBe(2)
  expect(failed!.events[0]!.attributes!['exception.message']).toBe('thrown')
  await server.close()
})

it('makes a span for an application of node:http on HTTPHandler', async () => {
  const listener = createServer((_request, response) => {
    void work().then(() => response.end('hello'))
  })
  const server = await new HTTPHandler({ listen: '127.0.0.1:0' }).run(listener)
  await httpClient(server.address).request(request)
  await expect.poll(() => exporter.getFinishedSpans().length).toBe(2)
  const [inner, span] = exporter.getFinishedSpans()
  expect(span!.spanContext().traceId).toBe(TRACE)
  expect(inner!.parentSpanContext?.spanId).toBe(span!.spanContext().spanId)
  await server.close()
})
