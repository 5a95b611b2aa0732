/** `portico doctor`: finds out why a web server and an application do not work together. */
import { existsSync } from 'node:fs'
import type { Gateway } from '../gateways.ts'
import type { Finding } from '../doctor/finding.ts'
import type { Call, Command } from './commands.ts'
import { EXIT } from './exit-codes.ts'
import { UsageError } from './usage-error.ts'

export const command: Command = {
  operands: 'URL|SOCKET|FILE',
  count: [1, 1],
  flags: {
    user: { kind: 'text', value: 'NAME', help: "the web server's user (default: found out)" },
    gateway: {
      kind: 'choice',
      choices: ['fastcgi', 'scgi', 'http'],
      help: 'the protocol that the web server expects',
    },
    json: { kind: 'switch', help: 'print the findings as JSON' },
    verbose: { kind: 'switch', short: 'v', help: 'print what is right, too' },
  },
  notes: [
    'URL: where the application of portico/doctor is mounted, such as',
    '  http://localhost/doctor. SOCKET: unix:PATH or HOST:PORT. FILE: a CGI script or',
    '  FastCGI program. Exit code 1: something does not work.',
  ],
  run,
}

async function run({ operands, values, out }: Call): Promise<number> {
  const findings = await examine(operands[0]!, values)
  const failures = findings.filter(({ level }) => level === 'failure').length
  const warnings = findings.filter(({ level }) => level === 'warning').length
  if (values['json'] === true) {
    out(`${JSON.stringify({ target: operands[0], failures, warnings, findings }, null, 2)}\n`)
  } else {
    for (const finding of findings) {
      if (finding.level !== 'ok' || values['verbose'] === true) out(lineOf(finding))
    }
    out(verdict(failures, warnings, findings.length))
  }
  return failures > 0 ? EXIT.failed : EXIT.done
}

async function examine(target: string, values: Call['values']): Promise<Finding[]> {
  if (/^https?:\/\//.test(target)) {
    if (!URL.canParse(target)) throw new UsageError(`doctor: ${target} is not a URL`)
    const { examineUrl } = await import('../doctor/url.ts')
    return examineUrl(target)
  }
  const { findUser } = await import('../servers/find.ts')
  const user =
    (values['user'] as string | undefined) ??
    (process.getuid?.() === 0 ? findUser('nginx') : undefined)
  const [, path, host, port] = /^unix:(.+)$|^(\[[^\]]+\]|[^:/]*):(\d+)$/.exec(target) ?? []
  if (path !== undefined || port !== undefined) {
    const { examineSocket } = await import('../doctor/socket.ts')
    const address =
      path === undefined
        ? { host: host?.replace(/^\[|\]$/g, '') || '127.0.0.1', port: Number(port) }
        : { path }
    return examineSocket(address, user, values['gateway'] as Gateway | undefined)
  }
  if (!existsSync(target) && !/[./]/.test(target)) {
    throw new UsageError(`doctor: ${target} is not a URL, unix:PATH, HOST:PORT or a file`)
  }
  const { examineScript } = await import('../doctor/script.ts')
  return examineScript(target, user)
}

const MARKS = { ok: '✓', warning: '!', failure: '✗' }

function lineOf({ level, check, message, fix }: Finding): string {
  return `${MARKS[level]} ${check}: ${message}\n${fix === undefined ? '' : `    ${fix}\n`}`
}

function number(n: number, word: string): string {
  return `${n} ${word}${n === 1 ? '' : 's'}`
}

function verdict(failures: number, warnings: number, count: number): string {
  if (failures > 0)
    return `✗ ${number(failures, 'failure')}, ${number(warnings, 'warning')} of ${count} checks\n`
  return `✓ ${number(count, 'check')} without a failure, ${number(warnings, 'warning')}\n`
}
