/** Looks at the address of an application, and at the web servers that should pass requests there. */
import { dirname } from 'node:path'
import type { Gateway } from '../gateways.ts'
import { type Address, formatAddress } from './address.ts'
import { examineView } from './backend.ts'
import type { Backend } from './configurations/setup.ts'
import { type Finding, ok, warning } from './finding.ts'
import type { Front } from './front.ts'
import { listenerAt } from './processes.ts'
import { examineSocket } from './socket.ts'

/** @param given the web server's user, if the caller has named it */
export async function examineAddress(
  address: Address,
  given: string | undefined,
  expected: Gateway | undefined,
  fronts: readonly Front[],
): Promise<Finding[]> {
  const lines = fronts.flatMap((front) =>
    (front.setup?.backends ?? []).map((backend) => ({ front, backend })),
  )
  const own = lines.find(({ backend }) => isSame(backend.address, address))
  const front = own?.front ?? fronts[0]
  const user = given ?? (process.getuid?.() === 0 ? front?.user : undefined)
  const findings = await examineSocket(
    address,
    user,
    expected ?? own?.backend.gateway,
    own?.front.name,
  )
  if (own !== undefined) {
    const where = `${own.front.name} passes requests there: ${own.backend.text}`
    return [...findings, ok('configuration', where), ...examineView(address, own.front)]
  }
  const near = lines.find(({ backend }) => isNear(backend, address))
  if (near === undefined) return findings
  return [
    ...findings,
    warning(
      'configuration',
      `no web server here passes requests to ${formatAddress(address)}; ${near.front.name} has \`${near.backend.text}\``,
      `portico init ${near.front.name} --gateway ${near.backend.gateway} --listen ${formatAddress(address)} # shows the lines`,
    ),
  ]
}

const LOOPBACK = /^(?:localhost|127\.\d+\.\d+\.\d+|::1)$/

function isSame(one: Address | undefined, other: Address): boolean {
  if (one === undefined) return false
  if (one.path !== undefined || other.path !== undefined) return one.path === other.path
  const bothHere = LOOPBACK.test(one.host ?? '') && LOOPBACK.test(other.host ?? '')
  return one.port === other.port && (one.host === other.host || bothHere)
}

/** Addresses that differ in their name or their port only, if no other application has them. */
function isNear({ address }: Backend, { path, host }: Address): boolean {
  if (address === undefined || listenerAt(address) !== undefined) return false
  if (path === undefined) return address.path === undefined && address.host === host
  return address.path !== undefined && dirname(address.path) === dirname(path)
}
