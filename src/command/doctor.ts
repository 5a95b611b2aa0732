/** `portico doctor`: finds out why a web server and an application do not work together. */
import { existsSync, statSync } from 'node:fs'
import type { Gateway } from '../gateways.ts'
import type { Finding } from '../doctor/finding.ts'
import type { Front } from '../doctor/front.ts'
import type { Call, Command } from './commands.ts'
import { EXIT } from './exit-codes.ts'
import { noSuchFile, UsageError } from './usage-error.ts'

export const command: Command = {
  operands: 'URL|SOCKET|FILE|cgi',
  count: [1, 1],
  completes: ['cgi'],
  flags: {
    user: {
      kind: 'text',
      value: 'NAME',
      help: "the web server's user",
      default: 'the user of its workers',
    },
    gateway: {
      kind: 'choice',
      choices: ['fastcgi', 'scgi', 'http'],
      help: 'the protocol that the web server expects',
    },
    run: { kind: 'switch', negative: true, help: 'examine FILE without running it' },
    json: { kind: 'switch', help: 'print the findings as JSON' },
    verbose: { kind: 'switch', short: 'v', help: 'also print the checks that passed' },
  },
  notes: [
    'URL: where the application of portico/doctor is mounted, such as',
    '  http://localhost/doctor. SOCKET: unix:PATH or HOST:PORT. FILE: a CGI script, a',
    '  FastCGI program, or the module of an application. cgi: whether this host runs',
    '  CGI scripts. Exit code 1: something does not work.',
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
      const isNews = finding.level !== 'ok' || finding.fix !== undefined
      if (isNews || values['verbose'] === true) out(lineOf(finding))
    }
    out(verdict(failures, warnings, findings.length))
  }
  return failures > 0 ? EXIT.failed : EXIT.done
}

async function examine(target: string, values: Call['values']): Promise<Finding[]> {
  const given = values['user'] as string | undefined
  if (/^https?:\/\//.test(target)) {
    if (!URL.canParse(target)) throw new UsageError(`doctor: ${target} is not a URL`)
    const { examineUrl } = await import('../doctor/url.ts')
    return examineUrl(target)
  }
  if (/^\w+:\/\//.test(target))
    throw new UsageError(`doctor: ${target} is not an http or https URL`)
  if (target === 'cgi' && !isFile(target)) {
    const { examineHost } = await import('../doctor/cgi.ts')
    return examineHost(given)
  }
  const { frontsHere } = await import('../doctor/front.ts')
  const fronts = frontsHere()
  const [, path, host, port] = /^unix:(.+)$|^(\[[^\]]+\]|[^:/]*):(\d+)$/.exec(target) ?? []
  if (path !== undefined || port !== undefined) {
    const { examineAddress } = await import('../doctor/socket-and-servers.ts')
    const address =
      path === undefined
        ? { host: host?.replace(/^\[|\]$/g, '') || '127.0.0.1', port: Number(port) }
        : { path }
    return examineAddress(address, given, values['gateway'] as Gateway | undefined, fronts)
  }
  if (!existsSync(target) && !/[./]/.test(target)) {
    throw new UsageError(`doctor: ${target} is not a URL, unix:PATH, HOST:PORT, a file or cgi`)
  }
  return examineFile(target, given, fronts, values['run'] !== false)
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false
}

/** Looks at a script or the module of an application; runs it if nothing else is wrong. */
async function examineFile(
  target: string,
  given: string | undefined,
  fronts: readonly Front[],
  runs: boolean,
): Promise<Finding[]> {
  if (!existsSync(target)) throw noSuchFile(`no such file: ${target}`)
  const { examineScript, isScript, pathOf } = await import('../doctor/script.ts')
  if (!isScript(target)) {
    const { loadModule } = await import('../doctor/load-module.ts')
    return runs ? loadModule(target) : []
  }
  const front = fronts.find(({ name }) => name === 'apache' || name === 'lighttpd')
  const user = given ?? (process.getuid?.() === 0 ? front?.user : undefined)
  const findings = examineScript(target, user, front)
  const failed = findings.some(({ level }) => level === 'failure')
  if (failed || !runs || target.endsWith('.fcgi')) return findings
  const { runScript } = await import('../doctor/run-script.ts')
  return [...findings, ...(await runScript(target, user, pathOf(front)))]
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
    return `✗ ${number(failures, 'failure')}, ${number(warnings, 'warning')} of ${number(count, 'check')}\n`
  return `✓ ${number(count, 'check')} without a failure, ${number(warnings, 'warning')}\n`
}
