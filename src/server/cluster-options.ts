/** The default of the option `multiprocess` in a worker of node:cluster. */
import cluster from 'node:cluster'

export function inCluster<Options extends { readonly multiprocess?: boolean | undefined }>(
  options: Options,
): Options {
  if (!cluster.isWorker || options.multiprocess !== undefined) return options
  return { ...options, multiprocess: true }
}
