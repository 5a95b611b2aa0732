/**
 * A response on its way through a layer, from the layer's side: its head is held until it has to
 * go, so that status, headers and body can be seen and changed together.
 *
 * An application announces its head in three ways: before it returns, at the first step of a
 * generator, or before it calls `write`. Layers see none of this; they are asked once, by `change`.
 */
import { ApplicationError } from '../errors.ts'
import { checkStatus, Headers } from '../response/headers.ts'
import type { Application, Body, Chunk, Environ, StartResponse, Write } from '../types.ts'
import { closeBody, isChunk, isPromise } from '../response/body.ts'
import { type BodyHooks, chain, hook, type MaybePromise } from './body-hooks.ts'

/** A response whose head has not gone yet. Everything in it may be replaced. */
export interface Response {
  status: string
  headers: Headers
  /**
   * The body; undefined if it comes through `write` or has begun already: it can then be dropped,
   * by `[]`, but not be looked at. One that is replaced is closed.
   */
  body: Body | undefined
  /** True: what is the body now closes the one that was. */
  keepsBody?: boolean
}

/** Changes a response, or returns the application that answers instead of it. */
export type Change = (response: Response) => MaybePromise<Application | void>

/**
 * Runs `application` with `change` between it and the gateway.
 *
 * @param waits whether `change` may return a promise, or an application.
 */
export function intercept(
  application: Application,
  environ: Environ,
  startResponse: StartResponse,
  change: Change,
  waits = false,
): Body | Promise<Body> {
  const exchange = new Exchange(environ, startResponse, change, waits)
  return chain(application(environ, exchange.startResponse), (body) => exchange.finish(body))
}

class Exchange {
  readonly #environ: Environ
  readonly #outer: StartResponse
  readonly #change: Change
  readonly #waits: boolean
  #response: Response | null = null
  #error: unknown
  /** What `change` was asked about, once it has been asked; what it says may be waited for. */
  #decision: MaybePromise<void> | null = null
  #asked: Body | undefined
  #instead: Application | null = null
  #write: Write | null = null

  constructor(environ: Environ, outer: StartResponse, change: Change, waits: boolean) {
    this.#environ = environ
    this.#outer = outer
    this.#change = change
    this.#waits = waits
  }

  readonly startResponse: StartResponse = (status, headers, error) => {
    const again = error !== undefined && error !== null
    if (this.#response !== null && !again) {
      throw new ApplicationError('Headers already set!', 'PORTICO_HEADERS_ALREADY_SET')
    }
    checkStatus(status)
    const checked = new Headers(headers)
    // Its first head is with the gateway, which knows whether it can still be replaced.
    if (this.#write !== null) this.#write = this.#outer(status, checked.items(), error)
    else if (this.#decision !== null) throw error
    else this.#response = { status, headers: checked, body: undefined }
    this.#error = error
    return this.#writeChunk
  }

  readonly #writeChunk = async (chunk: Chunk): Promise<void> => {
    const wait = this.#decide(undefined)
    if (isPromise(wait)) await wait
    if (this.#write !== null && !this.#replaced) await this.#write(chunk)
  }

  /** The application has returned. */
  finish(body: Body): Body | Promise<Body> {
    const whole = isChunk(body) || Array.isArray(body)
    if (this.#response === null) return whole ? body : hook(body, this.#hooks())
    // A body that a failing layer keeps from the gateway is nobody else's to close.
    const failed = (error: unknown): MaybePromise<never> =>
      chain(closeBody(body, null), (): never => {
        throw error
      })
    let decided: MaybePromise<void>
    try {
      decided = this.#decide(body)
      if (isPromise(decided)) decided = decided.catch(failed)
    } catch (error) {
      return failed(error)
    }
    return chain(decided, () => {
      const other = this.#other()
      if (!other) return body
      return chain(this.#response!.keepsBody ? undefined : closeBody(body, null), other)
    })
  }

  /** A generator has a head at its first step. */
  #hooks(): BodyHooks {
    return {
      waits: this.#waits,
      first: () => {
        // Without one the gateway complains, as it would without this layer.
        if (this.#response === null) return undefined
        return chain(this.#decide(undefined), () => this.#other())
      },
    }
  }

  #decide(body: Body | undefined): MaybePromise<void> {
    if (this.#decision !== null) return this.#decision
    const response = this.#response!
    this.#asked = response.body = body
    this.#decision = undefined
    return (this.#decision = chain(this.#change(response), (instead) => {
      if (instead) this.#instead = instead
      else this.#write = this.#announce(response)
    }))
  }

  #announce({ status, headers }: Response): Write {
    const list = headers.items()
    // Two arguments where there is no error: a third is an announcement of one.
    if (this.#error === undefined) return this.#outer(status, list)
    return this.#outer(status, list, this.#error)
  }

  get #replaced(): boolean {
    return this.#response!.body !== this.#asked
  }

  /** What is sent in the place of the application's body, if anything is. */
  #other(): (() => MaybePromise<Body>) | undefined {
    const instead = this.#instead
    if (instead) return () => instead(this.#environ, this.#outer)
    if (this.#replaced) return () => this.#response!.body ?? []
  }
}

/** An application that answers with a status, its reason as the text, and `headers` besides. */
export function plain(status: string, headers: [string, string][] = []): Application {
  return (_environ, startResponse) => {
    startResponse(status, [['Content-Type', 'text/plain'], ...headers])
    return [`${status.slice(4)}\n`]
  }
}
