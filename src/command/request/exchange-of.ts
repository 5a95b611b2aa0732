/** The client for a target: those of `portico/testing`. */
import { Buffer } from 'node:buffer'
import { basename, dirname } from 'node:path'
import { cgiExchange } from '../../testing/client-cgi.ts'
import { fastcgiExchange } from '../../testing/client-fastcgi.ts'
import { httpExchange } from '../../testing/client-http.ts'
import { scgiExchange } from '../../testing/client-scgi.ts'
import type { TestRequest } from '../../testing/client.ts'
import type { Exchange } from '../../testing/exchange.ts'
import { variablesFor, type VariableOptions } from '../../testing/variables.ts'
import type { ServerName, VariableGateway } from '../../testing/web-servers/servers.ts'
import type { FlagValues } from '../flags.ts'
import { UsageError } from '../usage-error.ts'
import { loadInProcess } from './in-process.ts'
import type { SocketAddress, RequestedTarget } from './target.ts'

export interface Chosen {
  readonly exchange: Exchange
  readonly destination: string
  readonly mount: string
  readonly statusLine: 'HTTP/1.1 ' | 'Status: '
  readonly gateway: 'fastcgi' | 'scgi' | null
  /** The lines that -v shows of a request. */
  sent(request: TestRequest): readonly string[]
}

/** The time limits are the command's own. */
const NO_TIMEOUT = { timeout: Infinity }

/**
 * @throws {UsageError} for flags that mean nothing for this target.
 * @throws {TransferError} 7, if the file of an application cannot be loaded.
 */
export async function exchangeOf(
  target: RequestedTarget,
  values: FlagValues,
  host: string,
): Promise<Chosen> {
  refuseMisplaced(target, values)
  const usualMount = target.kind === 'cgi' ? `/cgi-bin/${basename(target.file)}` : ''
  const mount = (values['mount'] as string | undefined) ?? usualMount
  const options = { ...variableOptions(values, host, mount), ...NO_TIMEOUT }
  const variables = (gateway: VariableGateway, address?: SocketAddress, more = {}) => ({
    sent: (request: TestRequest) =>
      variablesFor(request, { ...options, ...more }, { gateway, address }).map(
        ([name, value]) => `${name}=${value}`,
      ),
  })
  switch (target.kind) {
    case 'http': {
      const { address } = target
      return {
        exchange: httpExchange(address, NO_TIMEOUT),
        destination: destinationOf(address),
        mount,
        statusLine: 'HTTP/1.1 ',
        gateway: null,
        sent: ({ method = 'GET', target: path, headers = [] }) => [
          `${method} ${path} HTTP/1.1`,
          ...headers.map(([name, value]) => `${name}: ${value}`),
        ],
      }
    }
    case 'fastcgi': {
      const { address } = target
      const role = values['role'] as 'authorizer' | 'responder' | undefined
      return {
        exchange: fastcgiExchange(address, { ...options, role }, false),
        destination: `${destinationOf(address)} (FastCGI)`,
        mount,
        statusLine: 'Status: ',
        gateway: 'fastcgi',
        ...variables('fastcgi', address),
      }
    }
    case 'scgi': {
      const { address } = target
      return {
        exchange: scgiExchange(address, options),
        destination: `${destinationOf(address)} (SCGI)`,
        mount,
        statusLine: 'Status: ',
        gateway: 'scgi',
        ...variables('scgi', address),
      }
    }
    case 'cgi': {
      const { file } = target
      const own = { scriptFilename: file }
      const path = process.env['PATH'] ?? '/usr/local/bin:/usr/bin:/bin'
      const cgi = { ...options, ...own, variables: { PATH: path, ...options.variables } }
      return {
        exchange: cgiExchange({ ...cgi, command: [file], cwd: dirname(file) }),
        destination: `${file} (CGI)`,
        mount,
        statusLine: 'Status: ',
        gateway: null,
        ...variables('cgi', undefined, own),
      }
    }
    case 'app': {
      const exchange = await loadInProcess(target.file, values, {
        ...options,
        validate: values['validate'] === true,
      })
      return {
        exchange,
        destination: `${target.file} (in process)`,
        mount,
        statusLine: 'Status: ',
        gateway: null,
        ...variables('fastcgi'),
      }
    }
  }
}

function wrong(flag: string, needs: string): never {
  throw new UsageError(`request: ${flag} is for ${needs}`)
}

function refuseMisplaced({ kind }: RequestedTarget, values: FlagValues): void {
  if (values['role'] && kind !== 'fastcgi') wrong('--role', 'fastcgi://')
  if (values['validate'] && kind !== 'app') wrong('--validate', 'the file of an application')
  if (values['recordDump'] && kind !== 'fastcgi' && kind !== 'scgi') {
    wrong('--record-dump', 'fastcgi:// and scgi://; -v shows HTTP and CGI')
  }
  if (kind !== 'http') return
  for (const flag of ['as', 'param', 'mount']) {
    if (values[flag]) wrong(`--${flag}`, 'gateways with variables, not for http://')
  }
}

function destinationOf(address: SocketAddress): string {
  return 'path' in address ? `unix:${address.path}` : `${address.host}:${address.port}`
}

function variableOptions(values: FlagValues, host: string, mount: string): VariableOptions {
  if (!/^(?:\/[^?#\s]*[^/?#\s])?$/.test(mount)) {
    throw new UsageError(`request: --mount takes a path such as /app (got '${mount}')`)
  }
  const variables: Record<string, string | undefined> = {}
  for (const text of (values['param'] as string[] | undefined) ?? []) {
    const mark = text.indexOf('=')
    const name = mark < 0 ? text : text.slice(0, mark)
    if (!/^[^\s=]+$/.test(name)) {
      throw new UsageError(`request: --param takes NAME=VALUE or NAME (got '${text}')`)
    }
    variables[name] = mark < 0 ? undefined : Buffer.from(text.slice(mark + 1)).toString('latin1')
  }
  const [, serverName = 'localhost', port = '80'] = /^(.*?)(?::(\d+))?$/.exec(host) ?? []
  return {
    mount,
    variables,
    serverName,
    serverPort: Number(port),
    as: values['as'] as ServerName | undefined,
  }
}
