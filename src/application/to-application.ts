/** `toApplication`: turns anything that can be run into an application; loads bridges on demand. */
import type { FetchHandler } from '../bridge/from-fetch.ts'
import type { NodeApplication, NodeListener } from '../bridge/from-node.ts'
import { ConfigurationError } from '../errors.ts'
import type { Application, ApplicationClass } from '../types.ts'
import {
  asApplication,
  frameworkOf,
  isListener,
  LISTENER_OF_NODE,
  unsupportedMessage,
  type Framework,
} from './detect.ts'

/**
 * An application of a framework. None of these types is callable, so that TypeScript infers the
 * parameters in `run((environ, startResponse) => …)`.
 */
export type FrameworkApplication =
  | { readonly handle: (...args: never[]) => unknown }
  | ExpressApplication
  | Exclude<NodeApplication, NodeListener>
  | { readonly fetch: FetchHandler }

/** An Express application; @types/express does not declare `handle`. */
interface ExpressApplication {
  readonly engine: (...args: never[]) => unknown
  readonly listen: (...args: never[]) => unknown
  readonly set: (...args: never[]) => unknown
}

/** Anything that a handler can run. */
export type Runnable = Application | ApplicationClass | FrameworkApplication

/** An application, and a description of its original. */
export interface NamedApplication {
  readonly application: Application
  /** 'an application', 'an Express application' … */
  readonly description: string
}

/**
 * Turns `candidate` into an application. It may be a function, a class, an application of Express,
 * Connect, Koa or Fastify, an `http.Server`, an object with `fetch()`, such as Hono's and H3's, or a
 * listener `(req, res)` of node:http that uses a member of `res`.
 *
 * `validate` wraps it in the validator, unless it belongs to a framework: the framework decides
 * what it sends.
 *
 * @throws {ConfigurationError} for anything else, and for a function that may be a listener of
 *   node:http, but does not show it.
 */
export async function toApplication(
  candidate: Runnable,
  { validate = false }: { readonly validate?: boolean | undefined } = {},
): Promise<NamedApplication> {
  const listener = typeof candidate === 'function' ? isListener(candidate) : 'no'
  const framework = frameworkOf(candidate) ?? (listener === 'yes' ? LISTENER_OF_NODE : null)
  if (framework !== null) {
    return { application: await bridged(candidate, framework), description: framework.description }
  }
  if (typeof candidate !== 'function') {
    throw new ConfigurationError(
      'An application is a function (environ, startResponse) => chunks, a generator function, a ' +
        'class, an application of Express, Connect, Koa or Fastify, an http.Server, or an ' +
        `object with fetch(); this is ${candidate === null ? 'null' : `of type ${typeof candidate}`}`,
    )
  }
  if (listener === 'maybe') {
    throw new ConfigurationError(
      'This looks like a listener (req, res) of node:http: run fromNode(it), with fromNode from ' +
        "'portico/node'. An application has parameters (environ, startResponse) and calls the second",
    )
  }
  const application = asApplication(candidate as Application)
  return {
    application: validate ? await validated(application) : application,
    description: 'an application',
  }
}

// In portico.cjs these paths become 'portico/node', 'portico/fetch' and 'portico/validate', which
// Node finds if the package is installed (scripts/build.mjs).
const BRIDGES = {
  node: async (candidate: unknown) =>
    (await import('../bridge/from-node.ts')).fromNode(candidate as NodeApplication),
  fetch: async (candidate: unknown) =>
    (await import('../bridge/from-fetch.ts')).fromFetch(candidate as { fetch: FetchHandler }),
}

/**
 * Adapts the application of a framework.
 *
 * @throws {ConfigurationError} if the package is not installed beside portico.cjs. Other errors of
 *   the bridge are thrown unchanged.
 */
export async function bridged(candidate: unknown, framework: Framework): Promise<Application> {
  try {
    return await BRIDGES[framework.bridge](candidate)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error
    throw new ConfigurationError(unsupportedMessage(framework), { cause: error })
  }
}

/** The same for a function that cannot wait: loads the validator at the first request. */
export function validatedOnDemand(application: Application): Application {
  let loading: Promise<Application> | undefined
  return async (environ, startResponse) =>
    (await (loading ??= validated(application)))(environ, startResponse)
}

async function validated(application: Application): Promise<Application> {
  const { validator } = await import('../validate/validator.ts')
  return validator(application)
}
