/** Finds the application of a bundled program, in whatever way the program starts it. */
import { isListener } from '../application/detect.ts'
import type { NodeListener } from '../bridge/from-node.ts'
import { exportedBy, exportsPromise, settled } from '../application/load.ts'
import { setHost } from '../application/host.ts'
import { toApplication, type Runnable } from '../application/to-application.ts'
import { ConfigurationError } from '../errors.ts'
import type { Application } from '../types.ts'

export interface Found {
  readonly application: Promise<Runnable>
  /** The options of the program's `run()`, if it calls that while it loads. */
  readonly options: object
}

let resolveRun: (application: Runnable) => void
/** The application with which the program calls `run()`. */
const ran = new Promise<Runnable>((resolve) => {
  resolveRun = resolve
})
let runOptions: object | undefined

// Before the program is loaded, so that its `run()` leaves the application to the bundle.
setHost({
  run(application, options) {
    runOptions = options
    resolveRun(application)
    return Promise.resolve({})
  },
})

/** Lets `run()` run again. */
export function takeRun(): void {
  setHost(undefined)
}

/**
 * The application of a program: what its module exports, what it calls `run()` with, or the first
 * server that it lets listen.
 *
 * @param listening resolves to that server; absent if no file of the program calls `listen`.
 */
export function applicationOf(loaded: object, listening?: Promise<unknown>): Found {
  if (exportsPromise(loaded)) {
    const application = settled(loaded).then((exports) => applicationOf(exports).application)
    return { application, options: runOptions ?? {} }
  }
  const exported = exportedBy(loaded)
  if (exported !== null) {
    return { application: Promise.resolve(asRunnable(exported)), options: runOptions ?? {} }
  }
  if (runOptions === undefined && listening === undefined) {
    const names = Object.keys(loaded).join(', ') || 'nothing'
    const message =
      'This program exports no application. Export it as default, app, application or handler ' +
      `(exported: ${names})`
    return { application: Promise.reject(new ConfigurationError(message)), options: {} }
  }
  const first = listening === undefined ? ran : Promise.race([ran, listening as Promise<Runnable>])
  return { application: first, options: runOptions ?? {} }
}

/** SvelteKit and Astro export a listener (req, res, next) as `handler`. */
async function asRunnable(found: Runnable): Promise<Runnable> {
  if (typeof found !== 'function') return found
  if (isListener(found) === 'no' && !isOfAstro(found)) return found
  const { fromNode } = await import('../bridge/from-node.ts')
  return fromNode(found as unknown as NodeListener)
}

/** Astro's middleware is `async (...args) => { const [req, res, next, locals] = args`. */
function isOfAstro(found: object): boolean {
  const source = Function.prototype.toString.call(found)
  return /^async\s*\(\.{3}(\w+)\)\s*=>\s*\{\s*(?:const|let|var)\s*\[\s*req\s*,\s*res\b[^\]]*\]\s*=\s*\1\b/.test(
    source,
  )
}

/** An application that waits for the one that is found, so that a gateway can start before it. */
export function later(promise: Promise<Runnable>): Application {
  let prepared: Promise<Application> | undefined
  return async (environ, startResponse) => {
    prepared ??= promise.then(async (found) => (await toApplication(found)).application)
    return (await prepared)(environ, startResponse)
  }
}
