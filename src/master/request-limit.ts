/** The limit of requests of one worker. */

/**
 * `maxRequests` and up to `jitter` more, at random, so that workers that start together do not end at
 * the same time; 0 for no limit.
 *
 * @param jitter default: a tenth of `maxRequests`.
 */
export function requestLimit(
  maxRequests: number,
  jitter: number = Math.floor(maxRequests / 10),
): number {
  return maxRequests === 0 ? 0 : maxRequests + Math.floor(Math.random() * (jitter + 1))
}
