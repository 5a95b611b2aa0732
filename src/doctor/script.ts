/** Looks at a CGI script or a FastCGI program: what makes a web server refuse it. */
import { execFileSync, spawnSync } from 'node:child_process'
import { closeSync, openSync, readFileSync, readSync, statSync, type Stats } from 'node:fs'
import { basename, dirname, extname, resolve } from 'node:path'
import { SHEBANG_BYTES } from '../cgi-bin/shebang.ts'
import { findProgram, groupOf } from '../servers/find.ts'
import { closedDirectory, identityOf, permits } from './access.ts'
import { LEAST_ADDRESS_SPACE } from './configurations/apache-scripts.ts'
import { failure, type Finding, ok, warning } from './finding.ts'
import type { Front } from './front.ts'
import { environmentOf, textOf } from './processes.ts'
import { SUEXEC_PATH } from '../cgi-bin/variables.ts'
import { examineModule, examineShebang } from './shebang.ts'

/** Where Debian has suEXEC, which no PATH contains. */
const SUEXEC = '/usr/lib/apache2/suexec'

/** @param front the web server that runs it, with its user, limits and suEXEC, if it is known */
export function examineScript(file: string, user: string | undefined, front?: Front): Finding[] {
  const path = resolve(file)
  let stats: Stats
  try {
    stats = statSync(path)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    return [failure('file', `${path}: ${code === 'ENOENT' ? 'no such file' : message}`)]
  }
  if (!stats.isFile()) return [failure('file', `${path} is not a file`)]
  const suexec = front?.setup?.suexec
  return [
    ...examineMode(path, stats),
    ...(suexec === undefined
      ? examineAccess(path, stats, user)
      : examineSuexec(path, stats, suexec)),
    ...examineShebang(path, headOf(path), pathOf(front)),
    ...examineModule(path),
    ...examineMount(path),
    ...examineLimits(front),
  ]
}

/** The PATH that the web server gives scripts, as far as it is known. */
export function pathOf(front: Front | undefined): string {
  if (front?.process === undefined || front.setup?.suexec !== undefined) return SUEXEC_PATH
  return environmentOf(front.process.pid)['PATH'] ?? SUEXEC_PATH
}

function headOf(path: string): Buffer {
  const descriptor = openSync(path, 'r')
  try {
    const buffer = Buffer.alloc(SHEBANG_BYTES)
    return buffer.subarray(0, readSync(descriptor, buffer, 0, SHEBANG_BYTES, 0))
  } finally {
    closeSync(descriptor)
  }
}

function octal(mode: number): string {
  return `0${(mode & 0o777).toString(8)}`
}

function examineMode(path: string, { mode }: Stats): Finding[] {
  const findings: Finding[] = []
  if ((mode & 0o111) === 0) {
    const message = `${path} is not executable (mode ${octal(mode)})`
    findings.push(failure('mode', message, `chmod 755 ${path}`))
  } else findings.push(ok('mode', `${path} is executable`))
  if ((mode & 0o022) !== 0) {
    const message = `others may write to ${path}: suEXEC refuses it`
    findings.push(failure('mode', message, `chmod go-w ${path}`))
  }
  const directory = dirname(path)
  if ((statSync(directory).mode & 0o022) !== 0 && directory !== '/tmp') {
    const message = `others may write to ${directory}: suEXEC refuses its scripts`
    findings.push(warning('mode', message, `chmod go-w ${directory}`))
  }
  return findings
}

/** Whether the web server's user may reach, read and run the script. */
function examineAccess(path: string, stats: Stats, user: string | undefined): Finding[] {
  const identity = user === undefined ? undefined : identityOf(user)
  if (user === undefined || identity === undefined || identity.uid === 0) return []
  const closed = closedDirectory(path, identity)
  if (closed !== undefined) {
    return [failure('access', `${user} cannot enter ${closed}`, `chmod o+x ${closed}`)]
  }
  if ((stats.mode & 0o111) === 0) return []
  if (permits(stats, identity, 1) && permits(stats, identity, 4)) {
    return [ok('access', `${user} may run ${path}`)]
  }
  return [
    failure(
      'access',
      `${user} may not read and run ${path} (mode ${octal(stats.mode)})`,
      `chgrp ${groupOf(user)} ${path} && chmod 750 ${path}`,
    ),
  ]
}

/** What suEXEC wants: the owner of SuexecUserGroup, below its document root. */
function examineSuexec(
  path: string,
  stats: Stats,
  suexec: { user: string; group: string },
): Finding[] {
  const identity = identityOf(suexec.user.replace(/^#/, ''))
  if (identity === undefined) {
    return [failure('suexec', `SuexecUserGroup names ${suexec.user}, an unknown user`)]
  }
  const findings: Finding[] = []
  const directory = dirname(path)
  for (const [name, { uid }] of [
    [path, stats],
    [directory, statSync(directory)],
  ] as const) {
    if (uid === identity.uid) continue
    const message = `suEXEC refuses ${name}: it belongs to another user than ${suexec.user}, which SuexecUserGroup names`
    findings.push(failure('suexec', message, `chown ${suexec.user}:${suexec.group} ${name}`))
  }
  const root = suexecRoot()
  if (root !== undefined && !path.startsWith(`${root}/`)) {
    const message = `suEXEC refuses ${path}: it is outside of ${root}, its document root`
    findings.push(failure('suexec', message, `move the script below ${root}`))
  }
  return findings
}

/** The directory that was compiled into suEXEC, or that Debian's variant reads from a file. */
function suexecRoot(): string | undefined {
  const program = findProgram('suexec') ?? findProgram(SUEXEC)
  if (program === undefined) return undefined
  const { stderr, stdout } = spawnSync(program, ['-V'], { encoding: 'utf8' })
  return /AP_DOC_ROOT="([^"]+)"/.exec(`${stdout}${stderr}`)?.[1]
}

/** A file system that is mounted noexec refuses every script (Linux). */
export function examineMount(path: string): Finding[] {
  const [best] = textOf('/proc/self/mounts')
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, at = '']) => at !== '' && `${path}/`.startsWith(at === '/' ? '/' : `${at}/`))
    .toSorted(([, a = ''], [, b = '']) => b.length - a.length)
  if (best === undefined || !best[3]?.split(',').includes('noexec')) return []
  const message = `${best[1]} is mounted noexec, so nothing there can be run`
  return [failure('mount point', message, `mount -o remount,exec ${best[1]}`)]
}

/** The address space of the web server's process, or of this one. */
export function examineLimits(front: Front | undefined): Finding[] {
  const kib = front?.process === undefined ? ownLimit() : limitOf(front.process.pid)
  if (kib === undefined || kib >= LEAST_ADDRESS_SPACE) return []
  const message = `ulimit -v ${kib} is below the ${LEAST_ADDRESS_SPACE} KiB that Node needs`
  return [failure('limits', message, 'ask the host to raise the limit of address space (PMEM)')]
}

function ownLimit(): number | undefined {
  try {
    const limit = execFileSync('sh', ['-c', 'ulimit -v'], { encoding: 'utf8' }).trim()
    return limit === 'unlimited' ? undefined : Number(limit)
  } catch {
    return undefined
  }
}

function limitOf(pid: number): number | undefined {
  const [, limit] = /^Max address space\s+(\d+)/m.exec(textOf(`/proc/${pid}/limits`)) ?? []
  return limit === undefined ? undefined : Number(limit) / 1024
}

/** Whether a file is a script or a FastCGI program, and not the module of an application. */
export function isScript(file: string): boolean {
  if (!/^\.(?:[cm]?js|[cm]?ts)$/.test(extname(basename(file)))) return true
  try {
    return (statSync(file).mode & 0o111) !== 0 || readFileSync(file, 'latin1').startsWith('#!')
  } catch {
    return true
  }
}
