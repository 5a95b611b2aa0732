/**
 * `wsgiref.validate`: middleware that looks at both sides, at the application and at the gateway,
 * and objects to whatever breaks the contract.
 *
 * Lines that begin with three slashes are the specification. `scripts/spec.mjs` takes them out of
 * this file and those in `validate/`, section by section, into SPEC.md, so that what is written
 * and what is checked cannot part.
 */
import { asApplication } from './application.ts'
import { ConfigurationError } from './errors.ts'
import type { Application, ApplicationClass, Body, Environ, StartResponse } from './types.ts'
import { checkBody, type Flow, wrapBody } from './validate/body.ts'
import { guardConsole } from './validate/console.ts'
import { checkEnviron, warnOfClient } from './validate/environ.ts'
import { Exchange } from './validate/exchange.ts'
import { type OpenBody, release, track, warnOfUnclosed } from './validate/open.ts'
import { fail, show } from './validate/report.ts'
import { CheckedErrors, CheckedInput } from './validate/streams.ts'

/// # The Portico contract
/// This is PEP 3333 (WSGI) for an asynchronous language: what an application may expect, and what
/// a gateway has to give. It is generated from the comments of the validator, which checks each
/// point as far as it can be seen from between the two; *(not checked)* is what cannot. What is
/// marked *Warning* is reported and goes on; everything else throws an `ApplicationError`.
///
/// Types are in `src/types.ts`:
///
/// ```ts
/// type Chunk = Uint8Array | string
/// type Body = (Iterable<Chunk> | AsyncIterable<Chunk>) & { close?: () => unknown }
/// type Write = (chunk: Chunk) => Promise<void>
/// type StartResponse = (status: string, headers: [string, string][], error?: unknown) => Write
/// type Application = (environ: Environ, startResponse: StartResponse) => Body | Promise<Body>
/// ```
///
/// To check an application, wrap it: `validator(app)`. To check middleware, wrap both sides:
/// `validator(middleware(validator(app)))`.

export interface ValidatorOptions {
  /** Gets what is doubtful but no violation. Without it: one line on `wsgi.errors`. */
  warn?: (message: string) => void
}

/**
 * Wraps `app` so that each violation throws ApplicationError where it happens: into the application
 * if it called something wrongly, into the gateway if that did, or if the application returned
 * what it should not have. SPEC.md lists the checks. What cannot be an application at all is a
 * ConfigurationError at once.
 *
 * For development. It hides a body's length and a FileWrapper's file, so that nothing which a
 * gateway does with these (Content-Length, sendfile) happens under it.
 */
export function validator(
  app: Application | ApplicationClass,
  options: ValidatorOptions = {},
): Application {
  const application = checkApplication(app)
  return (...args: unknown[]) => {
    /// ## The gateway's duties
    /// - The application is called once for each request, with `(environ, startResponse)`.
    if (args.length !== 2) {
      fail(`gateway: the application takes (environ, startResponse), not ${args.length} arguments`)
    }
    const [environ, startResponse] = args
    checkEnviron(environ)
    if (!isStartResponse(startResponse)) {
      fail(`gateway: startResponse must be a function, not ${show(startResponse)}`)
    }
    const errors = environ['wsgi.errors']
    const warn = options.warn ?? ((message) => errors.write(`portico validator: ${message}\n`))
    warnOfClient(environ, warn)
    warnOfUnclosed()
    const { REQUEST_METHOD, SCRIPT_NAME, PATH_INFO } = environ
    return validate(application, environ, startResponse, {
      request: `${REQUEST_METHOD} ${show(SCRIPT_NAME + PATH_INFO)}`,
      warn,
      warnLate: options.warn ?? ((message) => console.error(`portico validator: ${message}`)),
      onRelease: environ['portico.gateway'] === 'cgi' ? guardConsole(warn) : () => {},
    })
  }
}

/// ## The application
/// - An application is a function of `(environ, startResponse)`: a plain one, an async one, a
///   generator or an async generator. It returns the body, or a Promise of it.
/// - Or it is a class, constructed with the same arguments for each request; the instance is the
///   body.
function checkApplication(app: Application | ApplicationClass): Application {
  const members: Partial<Record<string, unknown>> = Object(app)
  let bridge: string | undefined
  if (typeof app !== 'function' && 'fetch' in members) bridge = 'has fetch(); use fromFetch(app)'
  if (typeof app !== 'function' && 'callback' in members) {
    bridge = 'has callback(); use fromNode(app.callback())'
  }
  if ('handle' in members && 'use' in members) bridge = 'takes (req, res); use fromNode(app)'
  if (bridge === undefined) return asApplication(app)
  throw new ConfigurationError(`An application takes (environ, startResponse); this ${bridge}`)
}

/** The validators that one request passes find each other by its environ. */
const flows = new WeakMap<Environ, Flow>()

function validate(
  application: Application,
  environ: Environ,
  startResponse: StartResponse,
  open: OpenBody,
): Body | Promise<Body> {
  const exchange = new Exchange(environ.REQUEST_METHOD, open.warn)
  const outer = flows.get(environ)
  const flow: Flow = { taken: 0 }
  flows.set(environ, flow)
  environ['wsgi.input'] = new CheckedInput(environ['wsgi.input'], environ['CONTENT_LENGTH'])
  environ['wsgi.errors'] = new CheckedErrors(environ['wsgi.errors'])

  const wrap = (body: unknown): Body => {
    checkBody(body)
    return wrapBody(body, exchange, open, flow, outer)
  }
  /// ## The application
  /// - It may throw, or reject, at any time; both mean the same. *(not checked)*
  const failed = (error: unknown): never => {
    exchange.abandon()
    release(open)
    throw error
  }
  track(open)
  try {
    const result: unknown = application(environ, exchange.startResponse(startResponse))
    if (!isPromise(result)) return wrap(result)
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
/// - It pulls the first chunk before it complains that `startResponse` was not called, since a
///   generator calls it at its first step. *(not checked)*
/// - It pulls a body no faster than the client takes it, and resolves a `write` when what waits is
///   below the high-water mark. *(not checked)*
/// - It adds Content-Length where the body is an array, a FileWrapper over a regular file, or
///   empty, and none was given. It never adds a Content-Type. *(not checked)*
/// - It drops the body of an answer to HEAD, and still closes it. *(not checked)*
/// - It drains or refuses what the application left unread of the input, up to a limit.
///   *(not checked)*
/// - It answers an application that failed before anything was sent with a 500 of fixed text, and
///   tells the rest to `wsgi.errors` only. One request's failure ends no other. *(not checked)*

/// ## Differences from PEP 3333 and wsgiref
///
/// | PEP 3333, wsgiref | Portico | why |
/// |---|---|---|
/// | The application returns an iterable of bytes | An iterable or async iterable, or a Promise of one | Node answers many requests in one thread; nothing may block it |
/// | A chunk is `bytes` | A Uint8Array or a string, sent as UTF-8 | JavaScript has no literal for bytes, and most bodies are text |
/// | `write(data)` blocks | `write(chunk)` returns a Promise; await it | The same back-pressure without blocking |
/// | `exc_info`, a tuple of three | `error`, an Error | An Error carries its own stack |
/// | `wsgi.input` blocks; `read()` under the validator needs a size | Every read returns a Promise; the size may be left out | The input ends at CONTENT_LENGTH, so reading everything is bounded |
/// | `wsgi.input` has `read`, `readline`, `readlines`, iteration | Also `chunks()` and `stream()` | Pieces without copying, and what Node's libraries take |
/// | A client that goes away gives a short read | The read rejects | A cut upload must not look whole |
/// | environ is a `dict` | An object with an empty prototype chain | `__proto__` and `toString` are names like any other |
/// | `SERVER_PROTOCOL`, `QUERY_STRING`, `SCRIPT_NAME` and `PATH_INFO` may be missing or empty | Always there; SERVER_PROTOCOL never empty | One environ everywhere needs no second way to read it |
/// | `CONTENT_TYPE` and `CONTENT_LENGTH` may be empty | Absent when empty | An empty CONTENT_LENGTH makes frameworks expect a body |
/// | `HTTP_PROXY` is a header like others | Never there | httpoxy: programs take it for their proxy |
/// | `int(CONTENT_LENGTH) >= 0` | 1 to 15 digits | `+1`, `-0` and `1_0` are read in different ways by different programs |
/// | An unknown method is one of eight, or a warning | The same, and it must be a token | WebDAV has more; a space in a method is an attack |
/// | The process's environment is copied into environ | Only under CGI, where it is the channel | It holds secrets |
/// | Several threads: `wsgi.multithread` may be true | False | There is one thread |
/// | `wsgi.file_wrapper(file, block_size)` | `new FileWrapper(file, { blockSize, start, length })` | Ranges; 64 KiB instead of 8 KiB blocks |
/// | Returning a string works, slowly | Sent as one chunk; the validator objects | Iterating a Uint8Array gives numbers |
/// | Content-Length that does not fit goes unnoticed by the validator | An error | It breaks the connection or the page |
/// | A client's repeated headers are joined with `,` | With `, `; Cookie with `; ` | RFC 9110, section 5.3, and RFC 6265, section 5.4 |
/// | Middleware that holds back chunks goes unnoticed | A warning, where both sides are validated | PEP 3333 asks it; event streams depend on it |
/// | An array of one chunk gets a Content-Length | Of any number, and a FileWrapper over a regular file | Their length is known |
/// | What an application returns for HEAD is sent | It is dropped, and closed | RFC 9110, section 9.3.2 |
/// | An error after output leaves what looks like a whole answer | It is broken off, so that the client can tell | A page cut in two must not be cached |
///
/// The tests cite the facts of CPython's own tests of `wsgiref` and `cgi` by number. These are the
/// ones where Portico means to differ:
///
/// | fact | there | Portico | why |
/// |---|---|---|---|
/// | 1 | `HTTP/1.0` and `WSGIServer` in the head of the server | `HTTP/1.1` and `Portico`; the rest, and its order, is the same | Connections are kept |
/// | 3 | Repeated headers are joined with `,` | With `, ` | RFC 9110, section 5.3 |
/// | 4 | Lines of a request may end in LF | 400 | Two readings of one request are what smuggling is made of |
/// | 10 | `read()` under the validator needs a size | It may be left out | The input ends at CONTENT_LENGTH |
/// | 12 | A raw byte over 0x7F in a request line is taken | 400; percent-encoded it is the same byte | RFC 3986, section 2 |
/// | 74 | The process's environment is in the environ | Only under CGI; `osEnviron` adds what a deployment wants | It holds secrets |
/// | 273 | The value of a file is `bytes` | An `UploadedFile`: `await file.bytes()`, `file.stream()` | It lies on the disk, and may be large |
