/** Looks at the applications that a web server's configuration names. */
import { parseValue } from '../options/check-row.ts'
import { flagOf, variableOf } from '../options/row.ts'
import { OPTIONS, rowOf, type OptionName } from '../options/table.ts'
import type { Address } from './address.ts'
import type { Backend } from './configurations/setup.ts'
import { failure, type Finding, warning } from './finding.ts'
import type { Front } from './front.ts'
import {
  environmentOf,
  existsFor,
  hasOtherFiles,
  listenerAt,
  listenerOnPath,
  textOf,
} from './processes.ts'
import { examineSocket } from './socket.ts'

/** The directories that systemd's PrivateTmp replaces. */
const PRIVATE = /^\/(?:tmp|var\/tmp)\//

/** What is wrong with the applications of a web server; each finding names the line. */
export async function examineBackends(front: Front): Promise<Finding[]> {
  const findings: Finding[] = []
  for (const backend of front.setup?.backends ?? []) {
    if (backend.address === undefined) continue
    const found = await examineSocket(backend.address, front.user, backend.gateway, front.name)
    const failed = found.filter(({ level }) => level !== 'ok')
    findings.push(...failed.map((each) => exactly(each, backend)))
    findings.push(...examineView(backend.address, front), ...examineTimes(backend.address, front))
  }
  return findings
}

/** Adds the line of the configuration that names the address. */
function exactly(finding: Finding, { text }: Backend): Finding {
  return { ...finding, message: `${finding.message} (${text})` }
}

/** A socket that exists here, and not for the web server; and what else may refuse it. */
export function examineView({ path }: Address, { process, name }: Front): Finding[] {
  if (path === undefined || process === undefined) return []
  const findings: Finding[] = []
  if (hasOtherFiles(process.pid) && listenerOnPath(path) && !existsFor(process.pid, path)) {
    const reason = PRIVATE.test(path)
      ? 'PrivateTmp gives it a /tmp of its own'
      : 'it has file systems of its own (a container or a chroot)'
    findings.push(
      failure(
        'socket',
        `${path} does not exist for ${name}: ${reason}`,
        'portico serve … --listen unix:/run/portico/app.sock # and the same path in the web server',
      ),
    )
  }
  const confined = textOf(`/proc/${process.pid}/attr/current`).replace(/\0/g, '').trim()
  if (confined.endsWith('(enforce)')) {
    findings.push(
      warning(
        'AppArmor',
        `${name} is confined by ${confined}; a profile without ${path} refuses the connection`,
        `journalctl -k | grep 'apparmor="DENIED"'`,
      ),
    )
  }
  if (textOf('/sys/fs/selinux/enforce').trim() === '1') {
    findings.push(
      warning(
        'SELinux',
        'SELinux is enforcing; it may refuse the connection, whatever the modes are',
        'ausearch -m avc -ts recent',
      ),
    )
  }
  return findings
}

/** Times of the web server, beside those of the application, which are in its command line. */
function examineTimes(address: Address, { setup }: Front): Finding[] {
  const owner = listenerAt(address)
  if (owner === undefined) return []
  const settings = { args: owner.args, environment: environmentOf(owner.pid) }
  const findings: Finding[] = []
  const { waits, keepsIdle } = setup ?? {}
  const response = timeIn(settings, 'responseTimeout')
  if (waits !== undefined && response !== undefined && response > waits.time) {
    findings.push(
      warning(
        'timeout',
        `the web server waits ${seconds(waits.time)}, and the application may take ${seconds(response)}`,
        waits.line.replace(/TIME|SECONDS|MILLISECONDS/, String(Math.ceil(response / 1000) + 1)),
      ),
    )
  }
  const idle = timeIn(settings, 'idleTimeout') ?? OPTIONS.idleTimeout.default
  if (keepsIdle !== undefined && keepsIdle.time > idle) {
    findings.push(
      warning(
        'keep-alive',
        `the web server keeps idle connections ${seconds(keepsIdle.time)}, and the application closes them after ${seconds(idle)}: a request may meet a closed connection`,
        keepsIdle.time === Number.POSITIVE_INFINITY
          ? keepsIdle.line
          : `portico serve … --idle-timeout ${Math.ceil(keepsIdle.time / 1000) + 5}s`,
      ),
    )
  }
  return findings
}

/** A time that a process has got as a flag or a variable, in ms. */
function timeIn(
  { args, environment }: { args: readonly string[]; environment: Record<string, string> },
  name: OptionName,
): number | undefined {
  const row = rowOf(name)
  const flag = flagOf(name, row)!
  const joined = args.find((each) => each.startsWith(`${flag}=`))?.slice(flag.length + 1)
  const at = args.indexOf(flag)
  const text =
    joined ?? (at < 0 ? undefined : args[at + 1]) ?? environment[variableOf(name, row)!] ?? ''
  const parsed = parseValue(row, text)
  return 'refused' in parsed ? undefined : (parsed.value as number)
}

function seconds(time: number): string {
  return time === Number.POSITIVE_INFINITY ? 'forever' : `${time / 1000} s`
}
