/** The default of the option `multiprocess`. */
import cluster from 'node:cluster'

/**
 * `options`, with `multiprocess` in a worker of node:cluster, and on descriptor 0: a program that
 * passes this socket on may start several processes. mod_fcgid starts one for each request in progress.
 *
 * @param fallback the address without `listen`.
 */
export function withMultiprocess<
  Options extends { readonly listen?: unknown; readonly multiprocess?: boolean | undefined },
>(options: Options, fallback?: string): Options {
  const several = cluster.isWorker || (options.listen ?? fallback) === 'fd:0'
  return several && options.multiprocess === undefined
    ? { ...options, multiprocess: true }
    : options
}
