/** `portico request`: sends a request to a gateway, a CGI script or an application, as curl does. */
import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { ConfigurationError } from '../errors.ts'
import type { TestRequest } from '../testing/client.ts'
import { printToLog } from '../request/printed-output.ts'
import type { Call, Command } from './commands.ts'
import { describeRequest } from './request/body.ts'
import { exchangeOf } from './request/exchange-of.ts'
import { CURL_EXIT, TransferError } from './request/exit-codes.ts'
import { REQUEST_FLAGS } from './request/flags.ts'
import { loadApplication } from './request/in-process.ts'
import { namingProtocol } from './request/other-protocol.ts'
import { BodyOutput } from './request/output.ts'
import { parseTarget, type RequestedTarget } from './request/target.ts'
import { transfer, type Transfer } from './request/transfer.ts'
import { loaderOf } from './typescript.ts'
import { UsageError } from './usage-error.ts'

export const command: Command = {
  operands: 'TARGET',
  count: [1, 1],
  flags: REQUEST_FLAGS,
  notes: [
    'TARGET: fastcgi://HOST:PORT/path, fastcgi://unix:SOCKET:/path, scgi://…,',
    'http://…, cgi:./script.cgi/path, or ./app.js/path, which runs in this process.',
    "Exit codes are curl's: 7 no connection, 18 aborted, 22 with --fail, 28 timeout,",
    '52 empty.',
  ],
  run,
}

async function run(call: Call): Promise<number> {
  const { values, operands, out, err } = call
  const target = parseTarget(operands[0]!)
  checkFlags(values, target)
  const { stdout } = process
  try {
    if (target.kind === 'app') {
      const exit = runWithLoader(target.file)
      if (exit !== null) return exit
      out('') // It keeps its stream.
      // stdout is for the response.
      printToLog()
    }
    const request = await requestOf(call, target)
    if (values['all'] === true) return await compare(call, target, request, stdout)
    const host = request.headers?.find(([name]) => name.toLowerCase() === 'host')?.[1]
    const chosen = await exchangeOf(target, values, host ?? 'localhost')
    const exchange = namingProtocol(chosen.exchange, target)
    const output = new BodyOutput(values['output'] as string | undefined, stdout)
    const exit = await carryOut({ ...chosen, exchange, values, output, err }, request, call)
    // Timers and connections of the application would keep the process alive.
    if (target.kind === 'app') process.exit(exit)
    return exit
  } catch (error) {
    if (error instanceof ConfigurationError) throw new UsageError(`request: ${error.message}`)
    if (!(error instanceof TransferError)) throw error
    if (values['silent'] !== true || values['showError'] === true) {
      err(`portico: (${error.exit}) ${error.message}\n`)
    }
    if (target.kind === 'app') process.exit(error.exit)
    return error.exit
  }
}

/**
 * Runs this command once more with the project's tsx, if this Node does not load TypeScript. Returns
 * its exit code; null if nothing more is needed.
 *
 * @throws {TransferError} 7, without tsx.
 */
function runWithLoader(file: string): number | null {
  const loader = loaderOf(file)
  if ('missing' in loader) throw new TransferError(CURL_EXIT.notConnected, loader.missing)
  if (loader.execArgv.length === 0) return null
  const args = [...process.execArgv, ...loader.execArgv, ...process.argv.slice(1)]
  const { status } = spawnSync(process.execPath, args, { stdio: 'inherit' })
  return status ?? CURL_EXIT.notConnected
}

async function carryOut(transferCall: Transfer, request: TestRequest, call: Call): Promise<number> {
  const { values, out } = call
  if (values['repeat'] === undefined) return transfer(transferCall, request)
  const { repeat } = await import('./request/repeat.ts')
  const { repeat: count, concurrency = 1 } = values as { repeat: number; concurrency?: number }
  // Only the times are printed.
  const quiet = { ...transferCall, output: { write: () => {}, end: () => Promise.resolve() } }
  const { exit, report } = await repeat(quiet, request, count, concurrency)
  out(report)
  return exit
}

async function compare(
  call: Call,
  target: RequestedTarget,
  request: TestRequest,
  stdout: NodeJS.WriteStream,
): Promise<number> {
  if (target.kind !== 'app') throw new UsageError('request: --all takes the file of an application')
  const { throughAllGateways } = await import('../comparison/all-gateways.ts')
  const { comparisonText } = await import('../comparison/text.ts')
  const application = await loadApplication(target.file, call.values)
  const passed = await throughAllGateways(target.file, request, { application })
  const isVerbose = call.values['verbose'] === true
  const { text, same } = comparisonText(passed, { isTerminal: stdout.isTTY, isVerbose })
  call.out(text)
  await new Promise<void>((resolve) => stdout.write('', () => resolve()))
  return process.exit(same ? CURL_EXIT.done : CURL_EXIT.differs)
}

async function requestOf({ values }: Call, target: RequestedTarget): Promise<TestRequest> {
  const { version } = createRequire(import.meta.url)('portico/package.json') as { version: string }
  const described = describeRequest(values, target.host, `portico/${version}`)
  const { method, headers, body, query } = described
  const separator = target.path.includes('?') ? '&' : '?'
  const path = query === '' ? target.path : target.path + separator + query
  // As a byte string.
  const bytes = Buffer.from(path).toString('latin1')
  return { method, headers, target: bytes, ...(body === undefined ? {} : { body }) }
}

/** @throws {UsageError} for flags that contradict each other, and for a wrong time. */
function checkFlags(values: Call['values'], { kind }: RequestedTarget): void {
  for (const flag of ['maxTime', 'connectTimeout']) {
    const text = values[flag] as string | undefined
    if (text === undefined || (/^\d+(?:\.\d+)?$/.test(text) && Number(text) > 0)) continue
    const name = flag === 'maxTime' ? '--max-time' : '--connect-timeout'
    throw new UsageError(`request: ${name} takes seconds, such as 10 or 0.5 (got '${text}')`)
  }
  if (values['concurrency'] !== undefined && values['repeat'] === undefined) {
    throw new UsageError('request: -c is for --repeat N')
  }
  if (values['all'] !== true) return
  for (const flag of ['as', 'mount', 'output', 'param', 'repeat', 'role']) {
    if (values[flag] !== undefined) throw new UsageError(`request: --all excludes --${flag}`)
  }
  if (kind !== 'app') {
    throw new UsageError('request: --all takes the file of an application: ./app.js/path')
  }
}
