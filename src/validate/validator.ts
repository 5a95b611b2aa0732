/**
 * `validator`: middleware that checks both sides of the contract, the application and the gateway
 * (wsgiref.validate).
 *
 * Lines that begin with three slashes are the specification. `scripts/spec.mjs` collects them from
 * this directory into SPEC.md, so that the rules and the checks stay together.
 */
import { asApplication } from '../application/detect.ts'
import { checkNames } from '../options/names.ts'
import { refuse } from '../options/values.ts'
import { wrapInput } from '../environ/wrapped-input.ts'
import type { Application, ApplicationClass, Body, Environ, StartResponse } from '../types.ts'
import { checkBody } from './body-source.ts'
import { type Flow, wrapBody } from './body.ts'
import { guardOutput } from './console.ts'
import { checkEnviron, warnOfClient } from './environ.ts'
import { CheckedErrors } from './errors.ts'
import { CheckedExchange } from './exchange.ts'
import { CheckedInput } from './input.ts'
import { type OpenBody, release, track, warnOfUnclosed } from './open.ts'
import { count, describe, fail } from './report.ts'

/// # The Portico contract
/// This document specifies the interface between applications and gateways. It is PEP 3333 (WSGI)
/// for an asynchronous language; [the differences](docs/differences-from-wsgi.md) have a page of
/// their own.
///
/// Each rule is next to its check in the source of `validator(app)`, and this document is
/// generated from there. A violation throws an `ApplicationError`. A rule marked *Warning* is only
/// reported. A rule marked *(not checked)* cannot be checked between application and gateway.
///
/// The types are those of `portico`:
///
/// ```ts
/// type Chunk = Uint8Array | string
/// type Body = (Iterable<Chunk> | AsyncIterable<Chunk>) & { close?: () => unknown }
/// type Write = (chunk: Chunk) => Promise<void>
/// type HeaderPairs = Iterable<readonly [name: string, value: string]>
/// type StartResponse = (status: string, headers: HeaderPairs, error?: unknown) => Write
/// type Application = (environ: Environ, startResponse: StartResponse) => Body | Promise<Body>
/// ```
///
/// To check an application, wrap it: `validator(app)`. To check middleware, wrap both sides:
/// `validator(middleware(validator(app)))`.

export interface ValidatorOptions {
  /** Takes warnings. Default: writes each as a line to `wsgi.errors`. */
  warn?: (message: string) => void
}

/**
 * Wraps `app` so that each violation of SPEC.md throws an ApplicationError where it happens: in the
 * application if that made a wrong call, and in the gateway if the gateway did, or if the application
 * returned something wrong.
 *
 * Use it for development and tests. It hides the length of a body and the file of a FileWrapper, so
 * a gateway adds no Content-Length and cannot send a file by itself.
 *
 * @throws {ConfigurationError} if `app` cannot be an application, or the options cannot work.
 */
export function validator(
  app: Application | ApplicationClass,
  options: ValidatorOptions = {},
): Application {
  /// ## The application
  /// - An application is a function of `(environ, startResponse)`: a plain function, an async
  ///   function, a generator function or an async generator function. It returns the body, or a
  ///   Promise of the body.
  /// - Or an application is a class. It is constructed with the same arguments for each request, and
  ///   the instance is the body.
  const application = asApplication(app)
  checkNames('validator', options ?? {}, ['warn'])
  if (options?.warn !== undefined && typeof options.warn !== 'function') {
    refuse('validator', 'warn', options.warn, 'a function')
  }
  return (...args: unknown[]) => {
    /// ## The gateway's duties
    /// - It calls the application with `(environ, startResponse)`, once for each request.
    ///   *(not checked: how often)*
    if (args.length !== 2) {
      fail(
        'gateway: the application takes (environ, startResponse), not ' +
          count(args.length, 'argument'),
      )
    }
    const [environ, startResponse] = args
    checkEnviron(environ)
    if (!isStartResponse(startResponse)) {
      fail(`gateway: startResponse must be a function, not ${describe(startResponse)}`)
    }
    const errors = environ['wsgi.errors']
    const warn = options.warn ?? ((message) => errors.write(`portico validator: ${message}\n`))
    warnOfClient(environ, warn)
    warnOfUnclosed()
    const { REQUEST_METHOD, SCRIPT_NAME, PATH_INFO } = environ
    return validate(application, environ, startResponse, {
      request: `${REQUEST_METHOD} ${describe(SCRIPT_NAME + PATH_INFO)}`,
      warn,
      warnLate: options.warn ?? ((message) => console.error(`portico validator: ${message}`)),
      onRelease: environ['portico.gateway'] === 'cgi' ? guardOutput(warn) : () => {},
    })
  }
}

/** How the validators of one request find each other. */
const flows = new WeakMap<Environ, Flow>()

function validate(
  application: Application,
  environ: Environ,
  startResponse: StartResponse,
  open: OpenBody,
): Body | Promise<Body> {
  const exchange = new CheckedExchange(environ.REQUEST_METHOD, open)
  const outer = flows.get(environ)
  const flow: Flow = { taken: 0 }
  flows.set(environ, flow)
  const { 'wsgi.input': input, CONTENT_LENGTH: length } = environ
  environ['wsgi.input'] = wrapInput(new CheckedInput(input, length, open.warn), input)
  environ['wsgi.errors'] = new CheckedErrors(environ['wsgi.errors'])

  const wrap = (body: unknown): Body => {
    checkBody(body, open.warn)
    return wrapBody(body, exchange, open, flow, outer)
  }
  /// ## The application
  /// - It may throw, or reject, at any time. Both mean the same. *(not checked)*
  const failed = (error: unknown): never => {
    exchange.abandon()
    release(open)
    throw error
  }
  track(open)
  try {
    const result: unknown = application(environ, exchange.startResponse(startResponse))
    if (!isPromise(result)) {
      exchange.returnedAtOnce()
      return wrap(result)
    }
    return result
      .then((body) => {
        exchange.returned()
        return wrap(body)
      })
      .catch(failed)
  } catch (error) {
    return failed(error)
  }
}

function isStartResponse(value: unknown): value is StartResponse {
  return typeof value === 'function'
}

function isPromise(value: unknown): value is Promise<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value
}

/// ## The gateway's duties
/// - It takes the first chunk before it reports that `startResponse` was not called, because a
///   generator calls it in its first step. *(not checked)*
/// - It takes chunks no faster than the client does. A `write` resolves when the data that waits to
///   be sent is below the high-water mark. *(not checked)*
/// - It adds a missing Content-Length if the body is empty, an array, or a FileWrapper over a regular
///   file. It never adds a Content-Type. *(not checked)*
/// - It drops the body of a response to HEAD, and closes it. *(not checked)*
/// - It reads and discards input that the application left unread, up to a limit, or refuses it.
///   *(not checked)*
/// - If the application fails before anything was sent, it responds with a 500 of fixed text. Details
///   go to `wsgi.errors` only. If the application fails later, it aborts the response so that the
///   client can notice. A failed request affects no other. *(not checked)*
