/** Whether web servers that do not run accept their configuration. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { findProgram } from '../servers/find.ts'
import { failure, type Finding, shownLine } from './finding.ts'
import { envvars, type Front, type ServerName } from './front.ts'

/** How long a web server may take to read its configuration, in ms. */
const CHECK_TIMEOUT = 10_000

const CHECKS: Readonly<Record<ServerName, (file: string) => string[]>> = {
  nginx: (file) => ['nginx', '-t', '-c', file],
  apache: (file) => ['apache2', '-t', '-f', file],
  lighttpd: (file) => ['lighttpd', '-tt', '-f', file],
  caddy: (file) => ['caddy', 'validate', '--config', file, '--adapter', 'caddyfile'],
  haproxy: (file) => ['haproxy', '-c', '-f', file],
  h2o: (file) => ['h2o', '-t', '-c', file],
}

/**
 * The errors that installed web servers which do not run find in their configuration.
 *
 * @param variables those that Apache's configuration uses.
 */
export function examineConfigurations(
  fronts: readonly Front[],
  variables: Readonly<Record<string, string>> = envvars(),
): Finding[] {
  return fronts.flatMap(({ name, file, process: running }) => {
    if (file === undefined || running !== undefined) return []
    const [program = '', ...args] = CHECKS[name](file)
    const path = findProgram(program)
    if (path === undefined) return []
    const { status, stdout, stderr } = spawnSync(path, args, {
      encoding: 'utf8',
      timeout: CHECK_TIMEOUT,
      env: { ...process.env, ...(name === 'apache' ? withRunDirectory(variables) : {}) },
    })
    if (status === 0 || status === null) return []
    const message = `${name} refuses ${file}: ${reasonIn(`${stderr}\n${stdout}`)}`
    // By hand, apache2 lacks the variables of envvars.
    const command = [program === 'apache2' ? 'apachectl' : program, ...args].join(' ')
    return [failure('configuration', message, command)]
  })
}

/** Debian's apachectl makes APACHE_RUN_DIR at each start; without it, apache2 refuses every file. */
function withRunDirectory(variables: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
  const { APACHE_RUN_DIR: directory } = variables
  if (directory === undefined || existsSync(directory)) return variables
  return { ...variables, APACHE_RUN_DIR: tmpdir() }
}

function reasonIn(text: string): string {
  const lines = text
    .split('\n')
    .map((line) => line.trim())
    .filter(Boolean)
  const at = lines.findIndex((line) => /error|emerg|alert|invalid|unknown|parser/i.test(line))
  // Apache says on the next line what is wrong.
  const found =
    at < 0 ? lines.slice(-1) : lines.slice(at, /line \d+ of/.test(lines[at]!) ? at + 2 : at + 1)
  return shownLine(found.join(' '))
}
