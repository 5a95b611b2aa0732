/**
 * What a bridge was made from, so that the bridge back gives the same function again and a request
 * never crosses two of them for nothing. From the side of the bridges only.
 */

const origins = new WeakMap<object, unknown>()

/** Notes that `made` is `origin` in another shape. */
export function markOrigin(made: object, origin: unknown): void {
  origins.set(made, origin)
}

/** What `made` was made from; undefined if no bridge made it. */
export function originOf(made: object): unknown {
  return origins.get(made)
}
