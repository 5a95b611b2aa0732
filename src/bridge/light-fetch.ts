/** `installLightFetch`: faster Request and Response classes for a process that serves requests. */
import { forwardTo } from './light-prototype.ts'
import { LightRequest } from './light-request.ts'
import { LightResponse } from './light-response.ts'

/**
 * Replaces the global Request, Response and fetch of this process with light versions, which make
 * an application inside `fromFetch` several times as fast: the streams and AbortControllers of the
 * real classes are created only when they are used. Call it once, before the first request.
 *
 * The classes behave as the Fetch Standard says, with one exception: the bytes that a Response is
 * made of are not copied. Do not change them before they have been sent.
 */
export function installLightFetch(): void {
  if (LightRequest.isInstalled) return
  const { Request, Response, fetch } = globalThis
  // With Proxies, `instanceof`, subclasses and static methods are those of the real classes.
  const lightRequest = new Proxy(Request, {
    construct: (target, args: unknown[], newTarget) =>
      Reflect.construct(
        target,
        args.map((it) => LightRequest.unwrap(it)),
        newTarget,
      ) as Request,
  })
  const lightResponse: typeof Response = new Proxy(Response, {
    construct(target, args: ConstructorParameters<typeof Response>, newTarget): Response {
      const made = newTarget === lightResponse ? LightResponse.make(args[0], args[1]) : null
      return made ?? (Reflect.construct(target, args, newTarget) as Response)
    },
  })
  forwardTo(Request, lightRequest, LightRequest)
  forwardTo(Response, lightResponse, LightResponse)
  globalThis.Request = lightRequest
  globalThis.Response = lightResponse
  globalThis.fetch = new Proxy(fetch, {
    apply: (target, _self, args: Parameters<typeof fetch>) =>
      target(...(args.map((it) => LightRequest.unwrap(it)) as typeof args)),
  })
  LightRequest.install(lightRequest)
}
