/** --repeat and -c: many requests, their times and what became of them. */
import type { TestRequest } from '../../testing/client.ts'
import { CURL_EXIT } from './exit-codes.ts'
import { send, type Transfer } from './transfer.ts'

const PERCENTILES = [50, 90, 99]

/** Sends `count` requests, `concurrency` at a time. Resolves to the exit code of the first failure. */
export async function repeat(
  call: Transfer,
  request: TestRequest,
  count: number,
  concurrency: number,
): Promise<{ exit: number; report: string }> {
  const times: number[] = []
  const outcomes = new Map<string, number>()
  let exit: number = CURL_EXIT.done
  let bytes = 0
  let sent = 0
  const started = performance.now()
  const worker = async () => {
    while (sent < count) {
      sent += 1
      const result = await send(call, request)
      times.push(result.milliseconds)
      bytes += result.size
      const outcome = result.message ?? result.head?.status ?? 'no response'
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
      if (exit === CURL_EXIT.done) exit = result.exit
    }
  }
  await Promise.all(Array.from({ length: Math.min(concurrency, count) }, worker))
  const seconds = (performance.now() - started) / 1000
  times.sort((a, b) => a - b)
  const at = (percent: number) => times[Math.ceil((times.length * percent) / 100) - 1]!.toFixed(2)
  const lines = [
    `${count} requests in ${seconds.toFixed(2)} s, ${concurrency} at a time: ` +
      `${(count / seconds).toFixed(0)} requests/s, ${bytes} bytes of bodies`,
    `ms: min ${times[0]!.toFixed(2)}, ${PERCENTILES.map((p) => `${p} % ${at(p)}`).join(', ')}, ` +
      `max ${times.at(-1)!.toFixed(2)}`,
    ...[...outcomes].map(([outcome, number]) => `${String(number).padStart(7)}  ${outcome}`),
  ]
  return { exit, report: `${lines.join('\n')}\n` }
}
