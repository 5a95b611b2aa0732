/**
 * `intercept`: changes responses before their head is sent.
 *
 * An application announces its head before it returns, at the first step of a generator, or before
 * it calls `write`. `intercept` hides the difference: it calls `onResponse` once for each response.
 */
import { asApplication } from '../application/detect.ts'
import { checkNames } from '../options/names.ts'
import { briefly, refuse } from '../options/values.ts'
import { ApplicationError } from '../errors.ts'
import { closeBody, isChunk, isPromise } from '../response/body.ts'
import { checkStatus, Headers } from '../response/headers.ts'
import type {
  Application,
  ApplicationClass,
  Body,
  Chunk,
  Environ,
  StartResponse,
  Write,
  MaybePromise,
} from '../types.ts'
import { type BodyHooks, hookBody } from './body-hooks.ts'
import { chain } from './maybe-promise.ts'

/** A response whose head has not been sent yet. */
export interface InterceptedResponse {
  /** The status line, such as `'200 OK'`. May be set. */
  status: string
  /** May be changed. */
  readonly headers: Headers
  /**
   * The body that the application returned. Undefined if the application sends it with `write`, or if
   * it comes from a generator, which has already started.
   */
  readonly body: Body | undefined
  /** Closes the application's body and sends `body` instead. */
  replaceBody(body: Body): void
  /** Sends `body`, which wraps the application's and closes it, instead. */
  wrapBody(body: Body): void
}

/** What `intercept` does with a response. */
export interface InterceptOptions {
  /**
   * Called once for each response, before its head is sent. May return a promise, which the head
   * waits for. If it gives an application, that one responds instead. If it throws, the
   * application's body is closed and the gateway responds with a 500.
   */
  readonly onResponse: (
    response: InterceptedResponse,
    environ: Environ,
  ) => MaybePromise<Application | void>
}

/**
 * Lets `onResponse` see and change every response of an application before its head is sent.
 *
 * @param app the application, of any kind.
 * @param options `onResponse`.
 * @returns the application with its responses changed. It is synchronous where `app` and `onResponse` are.
 * @example
 * import { intercept } from 'portico/middleware'
 *
 * const application = intercept(
 *   (environ, startResponse) => {
 *     startResponse('200 OK', [['Content-Type', 'text/plain']])
 *     return ['Hello']
 *   },
 *   {
 *     onResponse({ headers }, environ) {
 *       headers.set('X-Path', environ.PATH_INFO)
 *     },
 *   },
 * )
 * // GET /a → 200 Hello
 * // X-Path: /a
 */
export function intercept(
  app: Application | ApplicationClass,
  options: InterceptOptions,
): Application {
  const application = asApplication(app)
  checkNames('intercept', options ?? {}, ['onResponse'])
  const { onResponse } = options ?? {}
  if (typeof onResponse !== 'function') refuse('intercept', 'onResponse', onResponse, 'a function')
  return (environ, startResponse) => {
    const interception = new Interception(environ, startResponse, onResponse)
    return chain(application(environ, interception.startResponse), (body) =>
      interception.finish(body),
    )
  }
}

/** One request on its way through `intercept`. */
class Interception {
  readonly #environ: Environ
  readonly #outer: StartResponse
  readonly #onResponse: InterceptOptions['onResponse']
  #response: PendingResponse | null = null
  #error: unknown
  /** Set when `onResponse` has been called; a promise while it is awaited. */
  #decision: MaybePromise | null = null
  #instead: Application | null = null
  /** The gateway's, once the head has been passed on. */
  #write: Write | null = null

  constructor(environ: Environ, outer: StartResponse, onResponse: InterceptOptions['onResponse']) {
    this.#environ = environ
    this.#outer = outer
    this.#onResponse = onResponse
  }

  readonly startResponse: StartResponse = (status, headers, error) => {
    const again = error !== undefined && error !== null
    if (this.#response !== null && !again) {
      throw new ApplicationError('Headers already set!', 'PORTICO_HEADERS_ALREADY_SET')
    }
    checkStatus(status)
    const checked = new Headers(headers)
    // The head has already been passed on: the gateway decides whether it can still be replaced.
    if (this.#write !== null) this.#write = this.#outer(status, checked.items(), error)
    else if (this.#decision !== null) throw error
    else this.#response = new PendingResponse(status, checked)
    this.#error = error
    return this.#writeChunk
  }

  readonly #writeChunk = async (chunk: Chunk): Promise<void> => {
    const wait = this.#decide(undefined)
    if (isPromise(wait)) await wait
    if (this.#write !== null && !this.#response!.replacement) await this.#write(chunk)
  }

  /** The application has returned `body`. */
  finish(body: Body): Body | Promise<Body> {
    const whole = isChunk(body) || Array.isArray(body)
    if (this.#response === null) return whole ? body : hookBody(body, this.#hooks())
    // If this fails, the gateway never sees the body, so it must be closed here.
    const failed = (error: unknown): MaybePromise<never> =>
      chain(closeBody(body, null), (): never => {
        throw error
      })
    let decided: MaybePromise
    try {
      decided = this.#decide(body)
      if (isPromise(decided)) decided = decided.catch(failed)
    } catch (error) {
      return failed(error)
    }
    return chain(decided, () => {
      const other = this.#other()
      if (!other) return body
      const keep = this.#instead === null && this.#response!.wraps
      return chain(keep ? undefined : closeBody(body, null), other)
    })
  }

  /** A generator has announced its head by the end of its first step. */
  #hooks(): BodyHooks {
    return {
      onStart: () => {
        // Without a head the gateway complains, as it would without this middleware.
        if (this.#response === null) return undefined
        return chain(this.#decide(undefined), () => this.#other())
      },
    }
  }

  #decide(body: Body | undefined): MaybePromise {
    if (this.#decision !== null) return this.#decision
    const response = this.#response!
    response.body = body
    this.#decision = undefined
    return (this.#decision = chain(this.#onResponse(response, this.#environ), (result: unknown) => {
      if (typeof result === 'function') this.#instead = result as Application
      else if (result) throw wrongResult(result)
      else this.#write = this.#announce(response)
    }))
  }

  #announce({ status, headers }: PendingResponse): Write {
    const list = headers.items()
    // Two arguments if there is no error, because a third one announces an error.
    if (this.#error === undefined) return this.#outer(status, list)
    return this.#outer(status, list, this.#error)
  }

  /** Makes the body to send instead of the application's, if there is to be another. */
  #other(): (() => MaybePromise<Body>) | undefined {
    const instead = this.#instead
    if (instead) return () => instead(this.#environ, this.#outer)
    const { replacement } = this.#response!
    return replacement && (() => replacement)
  }
}

/** For `({ headers }) => headers.setDefault(…)`, for example, which returns what it sets. */
function wrongResult(value: unknown): ApplicationError {
  return new ApplicationError(
    `intercept: onResponse must return an application, or nothing (got ${briefly(value)})`,
  )
}

class PendingResponse implements InterceptedResponse {
  status: string
  readonly headers: Headers
  body: Body | undefined
  replacement: Body | undefined
  wraps = false

  constructor(status: string, headers: Headers) {
    this.status = status
    this.headers = headers
  }

  replaceBody(body: Body): void {
    this.replacement = body
    this.wraps = false
  }

  wrapBody(body: Body): void {
    this.replacement = body
    this.wraps = true
  }
}
