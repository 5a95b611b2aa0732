/**
 * The conformance suite: what an application can rely on with every gateway.
 *
 * Serve `suiteApplication` through a gateway, make a client for it, and run each row:
 *
 *     for (const row of suite) test(row.name, async () => {
 *       assert.deepEqual(await runRow(row, client, mountPoint), [])
 *     })
 */
import { existsSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { asApplication } from '../application/detect.ts'
import { checkNames } from '../options/names.ts'
import type { Application } from '../types.ts'
import type { Client } from './client.ts'
import { complaints, text, type Expectation, type MountPoint, type Row } from './row.ts'
import { responseRows } from './rows/response.ts'
import { environRows } from './rows/environ.ts'
import { errorRows } from './rows/errors.ts'
import { inputRows } from './rows/input.ts'
import { applicationRows } from './rows/applications.ts'

/** All rows. They are independent, and can run in any order. */
export const suite: readonly Row[] = [
  ...environRows,
  ...inputRows,
  ...applicationRows,
  ...responseRows,
  ...errorRows,
]

const applications = suite.map(({ application }) => asApplication(application))

/** Runs the application of the row whose number is in the header X-Portico-Test. */
export const suiteApplication: Application = (environ, startResponse) => {
  const number = environ['HTTP_X_PORTICO_TEST']
  const application = /^\d+$/.test(number ?? '') ? applications[Number(number)] : undefined
  if (application !== undefined) return application(environ, startResponse)
  startResponse('404 Not Found', text())
  return ['There is no such row']
}

/** Options of `runRow`. */
export interface RowOptions {
  /**
   * The file that the variable PORTICO_TEST_REPORT of the application names. Without it, closing of
   * bodies is not checked.
   */
  readonly report?: string | undefined
  /** Replaces parts of the expectation, if a web server in between changes them. */
  readonly expect?: Expectation | undefined
}

/** Milliseconds: how long to wait for a report, and how often to look for it. */
const CLOSE_TIMEOUT = 5_000
const CLOSE_INTERVAL = 5

/** Runs a row of `suite`. Resolves to the differences from what it expects: none if it passes. */
export async function runRow(
  row: Row,
  client: Client,
  mountPoint: MountPoint,
  options: RowOptions = {},
): Promise<string[]> {
  checkNames('runRow', options, ['report', 'expect'])
  const id = crypto.randomUUID()
  const response = await client.request({
    ...row.request,
    headers: [
      ...(row.request.headers ?? []),
      ['X-Portico-Test', String(suite.indexOf(row))],
      ['X-Portico-Id', id],
    ],
  })
  const expect = { ...row.expect, ...options.expect }
  const found = complaints({ ...row, expect }, response, mountPoint)
  const { report } = options
  const { closed } = expect
  if (report === undefined || closed === undefined) return found
  for (let waited = 0; waited < CLOSE_TIMEOUT && closes(report, id) < closed;) {
    await sleep(CLOSE_INTERVAL)
    waited += CLOSE_INTERVAL
  }
  const count = closes(report, id)
  if (count !== closed) found.push(`the body was closed ${count} times, not ${closed}`)
  return found
}

/** The ids of bodies that were closed more than once. Call it after all rows have run. */
export function closedAgain(report: string): string[] {
  const seen = new Set<string>()
  return linesOf(report).filter((id) => seen.size === seen.add(id).size)
}

function closes(report: string, id: string): number {
  return linesOf(report).filter((line) => line === id).length
}

function linesOf(file: string): string[] {
  return existsSync(file) ? readFileSync(file, 'utf8').split('\n').filter(Boolean) : []
}
