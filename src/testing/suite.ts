/**
 * The conformance suite: what an application may rely on behind any gateway, row by row, and the
 * one application that is all of theirs.
 *
 * Serve `suiteApplication` through a gateway, make a client for it, and run each row:
 *
 *     for (const row of suite) test(row.name, async () => {
 *       assert.deepEqual(await runRow(row, client, place), [])
 *     })
 */
import { randomUUID } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { asApplication } from '../application/detect.ts'
import type { Application } from '../types.ts'
import type { Client } from './client.ts'
import { complaints, text, type Expectation, type Place, type Row } from './row.ts'
import { answerRows } from './rows/response.ts'
import { environRows } from './rows/environ.ts'
import { errorRows } from './rows/errors.ts'
import { inputRows } from './rows/input.ts'
import { shapeRows } from './rows/shapes.ts'

/** All rows. They do not depend on each other, nor on their order. */
export const suite: readonly Row[] = [
  ...environRows,
  ...inputRows,
  ...shapeRows,
  ...answerRows,
  ...errorRows,
]

const applications = suite.map(({ application }) => asApplication(application))

/** Answers a request as the row does whose number is in its header X-Portico-Test. */
export const suiteApplication: Application = (environ, startResponse) => {
  const number = environ['HTTP_X_PORTICO_TEST']
  const application = /^\d+$/.test(number ?? '') ? applications[Number(number)] : undefined
  if (application !== undefined) return application(environ, startResponse)
  startResponse('404 Not Found', text())
  return ['There is no such row']
}

/** How a row is run. */
export interface RunOptions {
  /**
   * The file that the application's variable PORTICO_TEST_REPORT names. Without it nobody checks
   * that bodies are closed.
   */
  readonly report?: string | undefined
  /** What a web server in between makes of this row by its own policy. */
  readonly expect?: Expectation | undefined
}

/** How long the end of a body may take to be reported, in ms, and how often it is looked for. */
const CLOSE_TIMEOUT = 5_000
const CLOSE_INTERVAL = 5

/** Runs a row of `suite`. Resolves to what is wrong with the answer: nothing, if all is well. */
export async function runRow(
  row: Row,
  client: Client,
  place: Place,
  options: RunOptions = {},
): Promise<string[]> {
  const id = randomUUID()
  const response = await client.request({
    ...row.request,
    headers: [
      ...(row.request.headers ?? []),
      ['X-Portico-Test', String(suite.indexOf(row))],
      ['X-Portico-Id', id],
    ],
  })
  const expect = { ...row.expect, ...options.expect }
  const found = complaints({ ...row, expect }, response, place)
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

/** The ids of bodies that were closed more than once: for when all rows have run. */
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
