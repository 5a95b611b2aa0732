/** `portico init --try`: the conformance suite through a temporary instance of the web server. */
import { chmod, rm, writeFile } from 'node:fs/promises'
import { execFileSync, spawn } from 'node:child_process'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { ConfigurationError } from '../errors.ts'
import { httpClient } from '../testing/client-http.ts'
import type { Row } from '../testing/row.ts'
import { runRow, suite } from '../testing/suite.ts'
import { type Exception, exceptionsOf } from './exceptions.ts'
import { findServer } from './find.ts'
import type { ServerDescription, Site } from './site.ts'
import { accepts, makeTrialDirectory, startTrial, stopChild } from './trial.ts'

/** Rows that run at a time. Most of them wait: for a script to start, or a connection to end. */
const AT_ONCE = 6

/**
 * Runs the suite through the server; writes a line for each row that has another result or fails,
 * and a verdict. Resolves to whether every row is as expected.
 *
 * @throws {ConfigurationError} if the server is not installed or does not start
 */
export async function tryServer(
  description: ServerDescription,
  site: Site,
  out: (text: string) => void,
): Promise<boolean> {
  const found = findServer(description)
  if (found === undefined || description.instance === undefined) {
    const packages = description.packages?.join(' ')
    throw new ConfigurationError(
      packages === undefined
        ? `${description.title}: --try is for web servers only`
        : `${description.title} is not installed: apt-get install ${packages}`,
    )
  }
  // Only root can give the web server another user; otherwise everything runs as one.
  const user = process.getuid?.() === 0 ? site.user : undefined
  const directory = await makeTrialDirectory(idOf(user, '-u'), idOf(user, '-g'))
  const closers: (() => Promise<unknown>)[] = [
    () => rm(directory, { recursive: true, force: true }),
  ]
  try {
    const tried = await startApplication(
      { ...site, hostname: '_', tls: undefined, auth: undefined },
      description,
      directory,
      closers,
    )
    const trial = await startTrial(description, tried, found, { directory, user })
    closers.push(() => trial.stop())
    out(
      `${description.title} ${found.version} on 127.0.0.1:${trial.port}, ${site.gateway} at ${site.mount || '/'}\n`,
    )
    return await runSuite(description, tried, trial.port, out)
  } finally {
    for (const close of closers.toReversed()) await close()
  }
}

function idOf(user: string | undefined, flag: '-u' | '-g'): number | undefined {
  return user === undefined
    ? undefined
    : Number(execFileSync('id', [flag, user], { encoding: 'utf8' }))
}

/** Starts the application of the suite in a process of its own, or lets the web server start it. */
async function startApplication(
  site: Site,
  description: ServerDescription,
  directory: string,
  closers: (() => Promise<unknown>)[],
): Promise<Site> {
  const program = join(directory, 'suite.mjs')
  const startedByServer = site.gateway === 'cgi' || description.name === 'apache-fcgid'
  const path = join(directory, 'app.sock')
  const options = {
    listen: `unix:${path}`,
    mode: 0o666,
    ...(description.needsScriptName?.includes(site.gateway) ? { scriptName: site.mount } : {}),
  }
  await writeFile(program, programOf(site.gateway, startedByServer ? {} : options))
  await chmod(program, 0o755)
  if (startedByServer) return { ...site, program }
  // Rows that fail on purpose would fill the terminal.
  const child = spawn(process.execPath, [program], { stdio: 'ignore' })
  closers.push(() => stopChild(child))
  if (await accepts(child, { path })) return { ...site, to: `unix:${path}` }
  throw new ConfigurationError('the application of the suite does not start')
}

/** A program that serves the suite with a handler of this package. */
function programOf(gateway: Site['gateway'], options: object): string {
  const name = { cgi: 'CGI', fastcgi: 'FastCGI', scgi: 'SCGI', http: 'HTTP' }[gateway]
  return `#!${process.execPath}
import { ${name}Handler } from '${url(`../exports/${gateway}.js`)}'
import { suiteApplication } from '${url('../exports/testing.js')}'
await new ${name}Handler(${JSON.stringify(options)}).run(suiteApplication)
`
}

function url(name: string): string {
  return pathToFileURL(join(import.meta.dirname, name)).href
}

async function runSuite(
  description: ServerDescription,
  { gateway, mount }: Site,
  port: number,
  out: (text: string) => void,
): Promise<boolean> {
  const client = httpClient({ port }, { mount })
  const where = { mount, gateway, serverName: '127.0.0.1', serverPort: port }
  const exceptions = exceptionsOf(description.name, gateway)
  let failed = 0
  let different = 0
  const left = suite.entries()
  const found: string[][] = []
  const exceptionOf = ({ name }: Row): Exception | undefined =>
    exceptions.find((each) => name.startsWith(each.row))
  const runOthers = async (): Promise<void> => {
    for (const [index, row] of left) {
      found[index] = await runRow(row, client, where, { expect: exceptionOf(row)?.expect })
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, runOthers))
  for (const [index, row] of suite.entries()) {
    const exception = exceptionOf(row)
    const complaints = found[index]!
    if (complaints.length > 0) {
      failed++
      out(`✗ ${row.name}\n${complaints.map((line) => `    ${line}\n`).join('')}`)
    } else if (exception !== undefined) {
      different++
      out(`! ${row.name}: ${exception.reason}\n`)
    }
  }
  out(
    `${failed === 0 ? '✓' : '✗'} ${suite.length - failed - different} of ${suite.length} rows pass, ${different} differ because of the server, ${failed} fail\n`,
  )
  return failed === 0
}
