#!/usr/bin/env node
// A span for each request, through every gateway: Portico publishes requests, OpenTelemetry exports
// spans. Needs @opentelemetry/api and an SDK that your service has set up.
import { AsyncLocalStorage } from 'node:async_hooks'
import { channel } from 'node:diagnostics_channel'
import {
  context,
  propagation,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api'

const storage = new AsyncLocalStorage()

/** OpenTelemetry's context in an AsyncLocalStorage, so that Portico can run an application in it. */
const contextManager = {
  active: () => storage.getStore() ?? ROOT_CONTEXT,
  with: (current, run, self, ...args) => storage.run(current, () => run.apply(self, args)),
  bind: (current, target) =>
    typeof target === 'function'
      ? (...args) => storage.run(current, () => target(...args))
      : target,
  enable() {
    return this
  },
  disable() {
    return this
  },
}

/** Headers in an environ, for the propagator of W3C Trace Context. */
const getter = {
  get: (environ, name) => environ[`HTTP_${name.toUpperCase().replaceAll('-', '_')}`],
  keys: (environ) => Object.keys(environ),
}

/** Call it once, after the SDK has been set up and before the application is served. */
export function traceRequests() {
  context.setGlobalContextManager(contextManager)
  const tracer = trace.getTracer('portico')
  const spans = new WeakMap()
  const start = channel('portico:request:start')
  start.bindStore(storage, (message) => {
    const { environ } = message
    const parent = propagation.extract(ROOT_CONTEXT, environ, getter)
    const attributes = {
      'http.request.method': environ.REQUEST_METHOD,
      'url.path': environ.SCRIPT_NAME + environ.PATH_INFO,
      'server.address': environ.SERVER_NAME,
      'client.address': environ.REMOTE_ADDR,
      'portico.gateway': environ['portico.gateway'],
    }
    const options = { kind: SpanKind.SERVER, attributes }
    const span = tracer.startSpan(environ.REQUEST_METHOD, options, parent)
    spans.set(message, span)
    return trace.setSpan(parent, span)
  })
  channel('portico:request:error').subscribe((message) => {
    spans.get(message)?.recordException(message.error)
  })
  channel('portico:request:end').subscribe((message) => {
    const span = spans.get(message)
    if (span === undefined) return
    const code = Number(message.status?.slice(0, 3) ?? 0)
    if (code > 0) span.setAttribute('http.response.status_code', code)
    if (code >= 500 || !message.complete) span.setStatus({ code: SpanStatusCode.ERROR })
    span.end()
  })
}
