/** `Status` as OpenMetrics, over HTTP. */
import { createServer } from '../node-http.ts'
import type { AddressInfo } from 'node:net'
import { ConfigurationError } from '../errors.ts'
import { logEntry } from '../log.ts'
import { listenError, parseListen } from '../server/listen.ts'
import { overlap, type BoundSocket } from './bind.ts'
import type { ProcessStatus, Status } from './status.ts'

/** OpenMetrics 1.0.0, section 4. */
const TYPE = 'application/openmetrics-text; version=1.0.0; charset=utf-8'

/** Milliseconds for a request: a monitor sends it at once. */
const REQUEST_TIME = 5_000

/**
 * Responds with the metrics to GET /metrics at `listenOn`, 'HOST:PORT'. Returns a function that stops.
 *
 * @param sockets those of the application. The system would refuse their port only later, in a worker.
 * @throws {ConfigurationError} if the address cannot be used.
 */
export async function serveMetrics(
  listenOn: string,
  sockets: readonly BoundSocket[],
  statusOf: () => Promise<Status>,
): Promise<() => void> {
  const target = parseListen(listenOn)
  if (target.kind !== 'tcp') {
    throw new ConfigurationError(`metrics: '${listenOn}' is not HOST:PORT or :PORT`)
  }
  const server = createServer({ requestTimeout: REQUEST_TIME }, (request, response) => {
    const [, found] = /^\/(metrics|ping)(?:\?|$)/.exec(request.url ?? '') ?? []
    const allowed = request.method === 'GET' || request.method === 'HEAD'
    if (found === undefined || !allowed) {
      response.writeHead(found ? 405 : 404, { 'Content-Type': 'text/plain', Allow: 'GET, HEAD' })
      response.end(found ? 'Method Not Allowed\n' : 'Here are /metrics and /ping\n')
      return
    }
    void statusOf().then((status) => {
      if (found === 'metrics') {
        return response.writeHead(200, { 'Content-Type': TYPE }).end(openMetrics(status))
      }
      // For the probes of Kubernetes.
      const ok = status.workers.ready > 0
      response.writeHead(ok ? 200 : 503, { 'Content-Type': 'text/plain' })
      return response.end(ok ? 'pong\n' : 'No worker responds\n')
    })
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => {
      const { message } = listenError(error, listenOn, target) as Error
      reject(new ConfigurationError(message.replace('listen:', 'metrics:'), { cause: error }))
    })
    server.listen(target.port, target.host === '*' ? undefined : target.host, resolve)
  })
  server.on('error', () => {}) // No descriptor is free; the next attempt may succeed.
  const { address, family, port } = server.address() as AddressInfo
  const other = sockets.find((socket) => overlap(socket.address, { host: address, port }))
  if (other !== undefined) {
    server.close()
    throw new ConfigurationError(
      `metrics: '${listenOn}' and '${other.settings.listen}' of --listen are the same port. ` +
        'Give the metrics a port of their own',
    )
  }
  const host = family === 'IPv6' ? `[${address}]` : address
  logEntry(`Metrics on http://${host}:${port}/metrics`)
  server.unref()
  return () => {
    server.close()
    server.closeAllConnections()
  }
}

type Labels = Readonly<Record<string, string | number>>
type Sample = readonly [labels: Labels, value: number]

/** Writes one metric. The unit is the end of its name (OpenMetrics 1.0.0, section 4.4.4). */
type Write = (name: string, help: string, samples: readonly Sample[]) => void

/** The text of all metrics, '# EOF' included. */
export function openMetrics(status: Status): string {
  let text = ''
  const writer =
    (type: 'counter' | 'gauge'): Write =>
    (name, help, samples) => {
      const metric = `portico_${name}`
      const unit = /_(bytes|seconds)$/.exec(name)?.[1]
      text += `# TYPE ${metric} ${type}\n`
      if (unit) text += `# UNIT ${metric} ${unit}\n`
      text += `# HELP ${metric} ${help}\n`
      const suffix = type === 'counter' ? '_total' : ''
      for (const [labels, value] of samples) {
        text += `${metric}${suffix}${showLabels(labels)} ${value}\n`
      }
    }
  writeMetrics(status, writer('counter'), writer('gauge'))
  return `${text}# EOF\n`
}

function writeMetrics(status: Status, counter: Write, gauge: Write): void {
  const { totals, workers, processes, pid } = status
  const perWorker = (value: (worker: ProcessStatus) => number): Sample[] =>
    processes.map((worker) => [{ pid: worker.pid }, value(worker)])
  counter('requests', 'Requests since the start.', one(totals.requests))
  counter('slow_requests', 'Requests that took longer than --slow.', one(totals.slow))
  counter('reloads', 'Reloads since the start.', one(totals.reloads))
  counter('worker_restarts', 'Workers that were replaced.', labelled(status.restarts, 'reason'))
  gauge('active_requests', 'Requests that are running.', one(totals.active))
  gauge('connections', 'Open connections.', one(totals.connections))
  gauge('idle_connections', 'Connections without a request.', one(totals.idle))
  gauge('workers', 'Workers by state.', labelled({ ...workers }, 'state'))
  gauge('limit', 'Limits as configured; times in milliseconds.', labelled(status.limits, 'name'))
  const started = Date.parse(status.since) / 1000
  gauge('start_time_seconds', 'When the master started.', one(started))
  gauge('resident_memory_bytes', 'Resident memory of a process.', [
    [{ pid, role: 'master' }, status.rssBytes],
    ...processes.map((worker): Sample => [{ pid: worker.pid, role: 'worker' }, worker.rssBytes]),
  ])
  counter(
    'worker_requests',
    'Requests of a worker.',
    perWorker(({ requests }) => requests),
  )
  gauge(
    'worker_active_requests',
    'Requests that run in a worker.',
    perWorker(({ active }) => active),
  )
  gauge(
    'worker_blocked',
    '1 if the main thread of a worker does not respond.',
    perWorker(({ state }) => Number(state === 'blocked')),
  )
  gauge(
    'worker_loop_delay_seconds',
    'How late the event loop was.',
    perWorker(({ loopDelayMs }) => loopDelayMs / 1000),
  )
  gauge(
    'worker_loop_utilization',
    'Part of the last second in which the event loop was busy.',
    perWorker(({ utilization }) => utilization),
  )
}

function one(value: number): Sample[] {
  return [[{}, value]]
}

function labelled(values: Readonly<Record<string, number>>, label: string): Sample[] {
  return Object.entries(values).map(([key, value]) => [{ [label]: key }, value])
}

/** Backslash, quote and line break are escaped (OpenMetrics 1.0.0, section 4.1). */
function showLabels(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => {
    const text = String(value).replace(/[\\"\n]/g, (c) => (c === '\n' ? '\\n' : `\\${c}`))
    return `${name}="${text}"`
  })
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}
