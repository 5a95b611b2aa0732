/** php-fpm, the FastCGI application that web servers are tested with most: for comparisons. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { accepts, findProgram, makeDirectory, openSocket, workerUser } from './process.ts'

/** A running php-fpm; SCRIPT_FILENAME is 'index.php'. */
export interface PhpFpm {
  /** The Unix socket. */
  readonly path: string
  stop(): Promise<void>
}

/** How long it may take to listen, or to end after SIGTERM. */
const TIMEOUT = 20_000

/** Debian has the version in the name: php-fpm8.2. */
export function phpFpmProgram(): string {
  let names: string[] = []
  try {
    names = readdirSync('/usr/sbin').filter((name) => /^php-fpm\d/.test(name))
  } catch {
    // Another system.
  }
  return names.at(-1) ?? 'php-fpm'
}

/** Starts it with `source`, a PHP program, and resolves when it accepts connections. */
export async function startPhpFpm(source: string): Promise<PhpFpm> {
  const program = findProgram(phpFpmProgram())
  if (program === undefined)
    throw new Error('php-fpm is not installed: run scripts/install-servers.sh')
  const directory = await makeDirectory('portico-php-fpm')
  const [path, script, configuration, log] = ['socket', 'index.php', 'php-fpm.conf', 'log'].map(
    (name) => join(directory, name),
  ) as [string, string, string, string]
  await writeFile(script, source)
  await writeFile(
    configuration,
    `[global]
daemonize = no
error_log = ${log}
[www]
${workerUser === undefined ? '' : `user = ${workerUser}\ngroup = ${workerUser}`}
listen = ${path}
chdir = ${directory}
pm = static
pm.max_children = 2
`,
  )
  // -n: no php.ini, whatever the machine has.
  const child = spawn(program, ['-n', '-F', '-y', configuration], { stdio: 'ignore' })
  const ended = once(child, 'close')
  const stop = async () => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGTERM')
      const timer = setTimeout(() => child.kill('SIGKILL'), TIMEOUT)
      await ended
      clearTimeout(timer)
    }
    await rm(directory, { recursive: true, force: true })
  }
  for (const deadline = Date.now() + TIMEOUT; !(await accepts(path)); await sleep(20)) {
    if (child.exitCode === null && Date.now() < deadline) continue
    const output = await readFile(log, 'utf8').catch(() => '')
    await stop()
    throw new Error(`php-fpm did not start: ${output}`)
  }
  await openSocket(path)
  return { path, stop }
}
