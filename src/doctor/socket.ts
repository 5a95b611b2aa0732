/** Looks at the address of an application: the file, its permissions, who listens, the protocol. */
import { lstatSync, type Stats } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { dirname } from 'node:path'
import type { Gateway } from '../gateways.ts'
import { groupOf } from '../servers/find.ts'
import { closedDirectory, identityOf, permits } from './access.ts'
import { type Address, formatAddress } from './address.ts'
import { failure, type Finding, ok, warning } from './finding.ts'
import { fixFor } from './fixes.ts'
import type { ServerName } from './front.ts'
import { listenerAt } from './processes.ts'

/** How long an application may take to accept, and then to respond to a probe. */
const PROBE_TIMEOUT = 2_000

/** FastCGI 1.0, section 4.1: GET_VALUES for FCGI_MPXS_CONNS, version 1, request 0. */
const FASTCGI_PROBE = Buffer.concat([
  Buffer.from([1, 9, 0, 0, 0, 17, 0, 0, 15, 0]),
  Buffer.from('FCGI_MPXS_CONNS'),
])

const HTTP_PROBE = Buffer.from('OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')

const SCGI_HEADERS =
  'CONTENT_LENGTH\x000\x00SCGI\x001\x00REQUEST_METHOD\0OPTIONS\0REQUEST_URI\0*\0SCRIPT_NAME\0\0'
const SCGI_PROBE = Buffer.from(`${SCGI_HEADERS.length}:${SCGI_HEADERS},`)

/** Each protocol's first message, and how its response begins. */
const PROBES: readonly (readonly [Gateway, Buffer, (reply: Buffer) => boolean])[] = [
  ['fastcgi', FASTCGI_PROBE, (reply) => reply[0] === 1 && reply[1] === 10],
  ['http', HTTP_PROBE, (reply) => reply.toString('latin1', 0, 5) === 'HTTP/'],
  ['scgi', SCGI_PROBE, (reply) => /^(?:Status|Content-)/i.test(reply.toString('latin1'))],
]

/**
 * @param user the user of the web server's workers; undefined to look only at the application
 * @param expected the protocol that the web server speaks, if it is known
 * @param server the web server in front, for which the fixes are
 */
export async function examineSocket(
  address: Address,
  user: string | undefined,
  expected: Gateway | undefined,
  server?: ServerName,
): Promise<Finding[]> {
  const findings: Finding[] = []
  if (address.path !== undefined) {
    findings.push(...examineFile(address.path, startFor(address, expected)))
    if (findings.some(({ level }) => level === 'failure')) return findings
    if (user !== undefined) findings.push(examineAccess(address.path, user))
  }
  const refused = await knock(address, startFor(address, expected))
  if (refused !== undefined) return [...findings, refused]
  findings.push(ok('listening', 'a process accepts connections'))
  return [...findings, await examineProtocol(address, expected, server)]
}

/** The command that starts an application at an address. */
function startFor(address: Address, gateway: Gateway = 'fastcgi'): string {
  return `portico serve app.mjs --gateway ${gateway} --listen ${formatAddress(address)}`
}

function examineFile(path: string, start: string): Finding[] {
  let stats: Stats
  try {
    stats = lstatSync(path)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EACCES') {
      return [
        failure(
          'socket',
          `${path} cannot be reached by this user`,
          `sudo portico doctor unix:${path}`,
        ),
      ]
    }
    const directory = firstMissing(path)
    return directory === path
      ? [
          failure(
            'socket',
            `${path} does not exist: the application is not running, or listens elsewhere`,
            start,
          ),
        ]
      : [failure('socket', `the directory ${directory} does not exist`, `install -d ${directory}`)]
  }
  if (stats.isSymbolicLink()) {
    return [warning('socket', `${path} is a symbolic link; its target counts`)]
  }
  if (!stats.isSocket()) {
    return [failure('socket', `${path} is not a socket`, 'give --listen another path')]
  }
  return [ok('socket', `${path} is a socket, mode 0${(stats.mode & 0o777).toString(8)}`)]
}

/** The topmost part of a path that does not exist. */
function firstMissing(path: string): string {
  const parent = dirname(path)
  if (parent === path) return path
  try {
    lstatSync(parent)
    return path
  } catch {
    return firstMissing(parent)
  }
}

/** Whether a user may pass each directory of the path, and write to the socket. */
function examineAccess(path: string, user: string): Finding {
  const identity = identityOf(user)
  if (identity === undefined) return warning('access', `there is no user ${user} here`)
  if (identity.uid === 0) return ok('access', 'root may connect')
  const closed = closedDirectory(path, identity)
  if (closed !== undefined) {
    return failure(
      'access',
      `${user} cannot enter ${closed}, so the web server cannot reach the socket`,
      `chmod o+x ${closed}`,
    )
  }
  if (permits(lstatSync(path), identity, 2)) return ok('access', `${user} may connect`)
  return failure(
    'access',
    `${user} has no write permission on ${path}, so the web server responds with a 502`,
    `portico serve … --socket-group ${groupOf(user)} --socket-mode 0660`,
  )
}

async function knock(address: Address, start: string): Promise<Finding | undefined> {
  const where = address.path ?? `${address.host}:${address.port}`
  const error = await new Promise<NodeJS.ErrnoException | undefined>((resolve) => {
    const socket = connect(address as { port: number })
    const timer = setTimeout(() => {
      socket.destroy()
      resolve(Object.assign(new Error('no response'), { code: 'ETIMEDOUT' }))
    }, PROBE_TIMEOUT)
    socket.once('connect', () => {
      clearTimeout(timer)
      socket.destroy()
      resolve(undefined)
    })
    socket.once('error', (caught) => {
      clearTimeout(timer)
      resolve(caught)
    })
  })
  if (error === undefined) return undefined
  const reasons: Readonly<Record<string, string>> = {
    ECONNREFUSED: `nothing listens on ${where}: the process has ended`,
    EACCES: `this user may not connect to ${where}`,
    ETIMEDOUT: `nothing accepts on ${where} within ${PROBE_TIMEOUT} ms: the process is blocked or a firewall drops packets`,
    ENOTFOUND: `the name ${address.host} is not known`,
  }
  const message = reasons[error.code ?? ''] ?? `${where}: ${error.message}`
  const isStarted = error.code === 'ETIMEDOUT' || error.code === 'EACCES'
  return failure('listening', message, isStarted ? 'look at the log of the application' : start)
}

async function examineProtocol(
  address: Address,
  expected: Gateway | undefined,
  server: ServerName | undefined,
): Promise<Finding> {
  const found = await protocolOf(address, expected)
  const owner = ownerOf(address)
  const process = owner === undefined ? 'the process' : `the process (${owner})`
  if (found === undefined) {
    return failure(
      'protocol',
      `${process} speaks neither FastCGI nor HTTP nor SCGI, or does not respond`,
      'portico status CONTROL shows whether its workers are blocked',
    )
  }
  if (expected !== undefined && found !== expected) {
    return failure(
      'protocol',
      `${process} speaks ${found}, and the web server expects ${expected}`,
      server !== undefined && found !== 'scgi'
        ? fixFor(found === 'http' ? 'speak HTTP' : 'speak FastCGI', server)
            .replace('ADDRESS', formatAddress(address))
            .replace(/(?<=instead of )(?:fastcgi|fcgi|proxy|http)/, (other) =>
              expected === 'scgi' ? 'scgi' : other,
            )
        : `portico serve … --gateway ${expected}`,
    )
  }
  return ok('protocol', `the process speaks ${found}`)
}

/** The name and number of the process that listens, where it is not this one. */
function ownerOf(address: Address): string | undefined {
  const owner = listenerAt(address)
  return owner && `${owner.name}, pid ${owner.pid}`
}

/**
 * Which protocol the process speaks. Each probe has a connection of its own. The most probable one is
 * first, and the rest only follow if it fails, because an application logs a wrong protocol.
 */
async function protocolOf(
  address: Address,
  expected: Gateway | undefined,
): Promise<Gateway | undefined> {
  const args = listenerAt(address)?.args.join(' ') ?? ''
  const withText = (rest: string): Gateway | undefined =>
    PROBES.find(([name]) => args.includes(name + rest))?.[0]
  const likely = withText(`://${formatAddress(address)}`) ?? expected ?? withText('')
  const inOrder = PROBES.toSorted(([a], [b]) => Number(b === likely) - Number(a === likely))
  for (const [name, probe, matches] of inOrder) {
    const reply = await ask(address, probe)
    if (reply.length > 0 && matches(reply)) return name
  }
  return undefined
}

/** The first bytes of the response; none if the connection ends or nothing comes. */
async function ask(address: Address, bytes: Buffer): Promise<Buffer> {
  return new Promise((resolve) => {
    const socket: Socket = connect(address as { port: number })
    const finish = (reply: Buffer): void => {
      clearTimeout(timer)
      socket.destroy()
      resolve(reply)
    }
    const timer = setTimeout(() => finish(Buffer.alloc(0)), PROBE_TIMEOUT)
    socket.once('connect', () => socket.write(bytes))
    socket.once('data', finish)
    socket.once('error', () => finish(Buffer.alloc(0)))
    socket.once('close', () => finish(Buffer.alloc(0)))
  })
}
