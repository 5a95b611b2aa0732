/**
 * Values that only the master or a worker would find wrong, after sockets are bound and processes
 * run. The command refuses them first, by the names of the flags.
 */
import { allowClients } from '../address-list.ts'
import { ConfigurationError } from '../errors.ts'
import { controlError } from '../master/control.ts'
import { parseListen } from '../server/listen.ts'
import { parseId, parseMode } from '../server/unix-socket.ts'
import type { FlagValues } from './flags.ts'
import type { Listener } from './listeners.ts'
import { UsageError } from './usage-error.ts'

/** @throws {UsageError} for a value that the production server cannot work with. */
export function checkProduction(values: FlagValues, listeners: readonly Listener[]): void {
  const { user, group, metrics, idleExit } = values
  checkId('--user', user, '/etc/passwd')
  checkId('--group', group, '/etc/group')
  if (typeof metrics === 'string') checkMetrics(metrics)
  const own = listeners.find(({ listen }) => !/^(?:fd:|systemd)/.test(listen))
  if (typeof idleExit === 'number' && idleExit > 0 && own !== undefined) {
    throw new UsageError(
      `--idle-exit: ${own.listen} ends with this process, and no one would start it again. ` +
        'It needs a socket of systemd (--listen systemd) or another inherited one (--listen fd:N)',
    )
  }
}

/** @throws {UsageError} for a value that neither server can work with. */
export async function checkValues({
  allow,
  accessLog,
  socketMode,
  socketOwner,
  socketGroup,
}: FlagValues): Promise<void> {
  if (typeof allow === 'string') refusing(() => allowClients(allow, '--allow'))
  refusing(() => parseMode(socketMode as number | string | undefined, '--socket-mode'))
  checkId('--socket-owner', socketOwner, '/etc/passwd')
  checkId('--socket-group', socketGroup, '/etc/group')
  if (typeof accessLog === 'string') await checkFormat(accessLog)
}

/** @throws {UsageError} for a path that no socket can have. */
export function checkControl(path: string): void {
  try {
    parseListen(`unix:${path}`)
  } catch (error) {
    const message = controlError(error).message.replace('control:', '--control:')
    throw new UsageError(message, { cause: error })
  }
}

function checkId(flag: string, id: unknown, file: string): void {
  refusing(() => parseId(flag, id as string | number | undefined, file))
}

function refusing(check: () => unknown): void {
  try {
    check()
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error
    throw new UsageError(error.message, { cause: error })
  }
}

/** Names of `accessLog()`, which are no formats of Apache. */
const FORMATS: ReadonlySet<string> = new Set(['common', 'combined', 'json', 'off'])

async function checkFormat(format: string): Promise<void> {
  if (FORMATS.has(format)) return
  if (!format.includes('%')) {
    throw new UsageError(
      `--access-log: "${format}" is not common, combined, json or off, and has no directive such as ` +
        '%h. The lines go to stderr: for a file, add 2>>FILE',
    )
  }
  const { textLine } = await import('../middleware/log-formats.ts')
  refusing(() => textLine(format, '--access-log'))
}

function checkMetrics(address: string): void {
  let kind: string
  try {
    kind = parseListen(address).kind
  } catch {
    kind = 'unknown'
  }
  if (kind === 'tcp') return
  throw new UsageError(`--metrics: "${address}" is not HOST:PORT or :PORT`)
}
