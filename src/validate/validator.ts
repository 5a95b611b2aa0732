/**
 * `wsgiref.validate`: middleware that looks at both sides, at the application and at the gateway,
 * and objects to whatever breaks the contract.
 *
 * Lines that begin with three slashes are the specification. `scripts/spec.mjs` takes them out of
 * this file and those in `validate/`, section by section, into SPEC.md, so that what is written
 * and what is checked cannot part.
 */
import { asApplication } from '../application/detect.ts'
import type { Application, ApplicationClass, Body, Environ, StartResponse } from '../types.ts'
import { checkBody, type Flow, wrapBody } from './body.ts'
import { guardOutput } from './console.ts'
import { checkEnviron, warnOfClient } from './environ.ts'
import { CheckedErrors } from './errors.ts'
import { Exchange } from './exchange.ts'
import { CheckedInput } from './input.ts'
import { type OpenBody, release, track, warnOfUnclosed } from './open.ts'
import { count, fail, show } from './report.ts'

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
  /// ## The application
  /// - An application is a function of `(environ, startResponse)`: a plain one, an async one, a
  ///   generator or an async generator. It returns the body, or a Promise of it.
  /// - Or it is a class, constructed with the same arguments for each request; the instance is the
  ///   body.
  const application = asApplication(app)
  return (...args: unknown[]) => {
    /// ## The gateway's duties
    /// - The application is called with `(environ, startResponse)`, once for each request.
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
      onRelease: environ['portico.gateway'] === 'cgi' ? guardOutput(warn) : () => {},
    })
  }
}

/** The validators that one request passes find each other by its environ. */
const flows = new WeakMap<Environ, Flow>()

function validate(
  application: Application,
  environ: Environ,
  startResponse: StartResponse,
  open: OpenBody,
): Body | Promise<Body> {
  const exchange = new Exchange(environ.REQUEST_METHOD, open)
  const outer = flows.get(environ)
  const flow: Flow = { taken: 0 }
  flows.set(environ, flow)
  environ['wsgi.input'] = new CheckedInput(environ['wsgi.input'], environ['CONTENT_LENGTH'])
  environ['wsgi.errors'] = new CheckedErrors(environ['wsgi.errors'])

  const wrap = (body: unknown): Body => {
    checkBody(body, open.warn)
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
/// | 270 | A field is decoded as the form says, whatever its part says | As its part says, where it does | RFC 7578, section 4.4 |
/// | 273 | The value of a file is `bytes` | An `UploadedFile`: `await file.bytes()`, `file.stream()` | It lies on the disk, and may be large |
///
/// Validators of this family, in other languages, make these checks. Those that are not named here
/// are made here as well, or have no meaning here; the tests have, by these numbers, something
/// crafted that breaks each of them. (2a: `wsgiref.validate`; 2b: what `webtest.lint` adds; 2c: what
/// werkzeug's LintMiddleware adds; 2d: `Plack::Middleware::Lint`; 2e: `Rack::Lint`; 2f: what an
/// asynchronous language needs besides.)
///
/// | check | there | Portico | why |
/// |---|---|---|---|
/// | 2a.5 | The environ is exactly a `dict` | Neither an array nor a Proxy, with an empty prototype chain | As above |
/// | 2a.9 | A missing QUERY_STRING is a warning | An error | One environ everywhere |
/// | 2a.10 | A variable is a `str` | And it holds characters from U+0001 to U+00FF | It stands for bytes, and no CGI variable can hold NUL |
/// | 2a.15, 2d.3 | A method is one of eight, or A to Z | A token; another one is a warning | `VERSION-CONTROL` is a method of WebDAV |
/// | 2a.24, 2c.59 | A status that is too short or without its space is a warning | An error | Newer versions of wsgiref refuse to send it |
/// | 2a.31, 2e.36 | Rack takes every name that is a token | Letters, digits, `-` and `_`, a letter first and none of the marks last | As wsgiref: a CGI variable cannot tell the others apart |
/// | 2a.33, 2d.26 | No control character below U+0020 in a value | A tab may be there; U+007F and what is above U+00FF may not | RFC 9110, section 5.5 |
/// | 2a.36 | `exc_info` is a tuple | An Error; an array of three is refused | An Error carries its own stack |
/// | 2a.37, 2a.41, 2d.29 | A chunk is bytes | Or a string, which is sent as UTF-8 | As above |
/// | 2a.43, 2c.67, 2e.44 | A body that was not closed is an error when it is garbage | A warning: at the next request, when it is garbage, or when the process ends | Nobody is left to whom it could be thrown |
/// | 2a.44, 2b.52, 2e.27 | `read` needs a size; or takes two arguments, or none; a negative size is all | One argument or none; a size from 0; at the end an empty Buffer, never null | One way to say each |
/// | 2a.45, 2e.26 | Rack's `gets` takes no argument and gives null at the end | `readline(size?)`, an empty Buffer at the end | PEP 3333 |
/// | 2a.51 | Nothing else can be asked of the streams | The same; it is undefined, and JavaScript says so | A message of its own would need a Proxy, which a library may trip over |
/// | 2b.53 | A status is longer than five characters | Not checked | The reason may be empty (RFC 9112, section 4) |
/// | 2c.60, 2e.40 | 304 has no header that describes a body | A warning, of Content-Encoding, -Language, -Length, -MD5 and -Range; a Content-Type is an error | Last-Modified updates caches, and Content-Length is allowed (RFC 9110, sections 8.6 and 15.4.5) |
/// | 2c.61 | Content-Length may be 0 for 1xx and 204 | It may not be there | RFC 9110, section 8.6 |
/// | 2c.64 | A relative Location is a warning | Only with the status 200 | It is legal (RFC 9110, section 10.2.2), but CGI makes another thing of it |
/// | 2d.12, 2e.14 | SERVER_PROTOCOL is `HTTP/` and a version | Or `INCLUDED` | RFC 3875, section 4.1.16 |
/// | 2d.16 | `psgi.streaming`, `psgi.nonblocking` and `psgi.run_once` are there | `portico.gateway`, `portico.signal`, `wsgi.run_once` and `wsgi.input_terminated` | What our handlers can tell |
/// | 2d.17 | HTTP_CONTENT_TYPE may be there if it is empty | It may not | One environ everywhere |
/// | 2d.28 | A body is an array, a file handle, or has `getline` | An iterable or an async iterable | These are the ways of JavaScript |
/// | 2e.2 | The environ's keys are strings | And it has no symbols | Middleware that copies an environ would lose them |
/// | 2e.10, 2e.11 | PATH_INFO may be an absolute URI, or `host:port` for CONNECT | Never; REQUEST_URI may be: `host:port` for CONNECT only, an absolute URI for every other method, OPTIONS too | A path is a path; a server has to take absolute URIs (RFC 9112, section 3.2.2) |
/// | 2e.12 | No `#` in a path | It may be in PATH_INFO; a warning for REQUEST_URI | `%23` is decoded to it |
/// | 2e.17 | HTTP_HOST that is no authority is an error | A warning | The client chooses it |
/// | 2e.19 | The scheme may be ws or wss | http or https | No gateway of ours upgrades |
/// | 2e.24 | `rack.response_finished` is an array of functions | There is none | The body's `close()` is called when the request is over |
/// | 2e.25 | The input may be left out | It is always there | One environ everywhere |
/// | 2e.28 | `each` of the input gives strings | Iteration gives lines, by `readline()`; `chunks()` gives pieces | PEP 3333 |
/// | 2e.31 | `rack.early_hints` is a function | There is none | CGI, FastCGI and SCGI have no answer before the answer |
/// | 2e.34 | The headers are a hash that is not frozen | An array of pairs, frozen or not | It is copied |
/// | 2e.41 | A body for HEAD is an error | A warning | The gateway drops it |
/// | 2e.45 | `to_path` is the path of a file | A FileWrapper's `path` is, else a warning; its FileHandle is open | A file may be unlinked while it is sent |
/// | 2e.47 | Middleware calls no `each` of its own, and gives an item for each | A warning if it holds back; where both sides are validated | It may have its reasons |
/// | 2f.1 | An application that throws, or rejects | No violation: its error passes as it is | The gateway answers |
/// | 2f.3 | A `write` that is not awaited is a warning | For a plain function only if the client did not take it at once | It cannot await, and mostly need not |
/// | 2f.5 | A late `startResponse` throws `error` | That the application lets it through is checked, that the gateway throws it is not | Middleware that has kept the body back may still replace the head |
/// | 2f.7 | No Readable in object mode or with an encoding | Object mode is fine, and utf8; each chunk is checked | `Readable.from` is in object mode |
/// | 2f.10 | An input that was not read to its end is reported | It is not | Refusing an upload unread is right; the gateway drains what is left, for as long as it sees fit |
/// | 2f.12 | Writing to standard output under CGI is an error | A warning, and it goes to standard error | The answer is not harmed |
