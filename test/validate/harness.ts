/** Applications that keep the contract and gateways that are led by hand, for the validator's tests. */
import type {
  Application,
  ApplicationClass,
  Body,
  Chunk,
  Environ,
  HeaderList,
  StartResponse,
} from '../../src/types.ts'
import { ApplicationError } from '../../src/errors.ts'
import { setupTestingDefaults } from '../../src/wsgiref/util.ts'
import { validator } from '../../src/validate/validator.ts'

export const OK = '200 OK'
export const PLAIN: HeaderList = [['Content-Type', 'text/plain']]

export function makeEnviron(variables: Partial<Environ> = {}): Environ {
  return setupTestingDefaults(Object.assign(Object.create(null), variables))
}

/** What a test's application gets: it may do things that the types forbid. */
export type Loose = (environ: Environ, startResponse: (...args: unknown[]) => Write) => unknown
type Write = (...args: unknown[]) => Promise<void>

export const app = (loose: Loose) => loose as unknown as Application

export interface Outcome {
  status?: string
  headers?: HeaderList
  written: Chunk[]
  items: Chunk[]
  body: Body
  warnings: string[]
}

/** Runs an application under the validator for one request, and closes its body. */
export async function answer(
  application: Application | ApplicationClass,
  environ = makeEnviron(),
): Promise<Outcome> {
  const warnings: string[] = []
  const outcome: Omit<Outcome, 'body'> = { written: [], items: [], warnings }
  const startResponse: StartResponse = (status, headers) => {
    Object.assign(outcome, { status, headers })
    return async (chunk) => {
      await Promise.resolve()
      outcome.written.push(chunk)
    }
  }
  const wrapped = validator(application, { warn: (message) => warnings.push(message) })
  const body = await wrapped(environ, startResponse)
  try {
    for await (const chunk of body) outcome.items.push(chunk)
  } finally {
    await body.close?.()
  }
  return { ...outcome, body }
}

export const hello: Application = (_environ, startResponse) => (
  startResponse(OK, PLAIN),
  ['a', 'b']
)
export const helloLater: Application = async function* (_environ, startResponse) {
  startResponse(OK, PLAIN)
  yield 'a'
  yield 'b'
}
export const startResponse = () => async () => {}
export const silent = { warn: () => {} }

/** Calls the application as a gateway without types would. */
export function call(application: Application, ...args: unknown[]): unknown {
  return Reflect.apply(application, undefined, args)
}

/** The iterable side of a body, whichever it has, as one that can be asked for each step. */
export interface Stepper {
  next(): IteratorResult<Chunk> | Promise<IteratorResult<Chunk>>
  close(): unknown
}
export async function open(application: Application, environ = makeEnviron()): Promise<Stepper> {
  const body: unknown = await validator(application, silent)(environ, startResponse)
  return body as Stepper
}

/**
 * A check: its numbers among those of the validators that there are (see validate-checks.test.ts),
 * empty for one that only we make; what is crafted to break it; and what the validator says.
 */
export type Row = readonly [
  checks: string,
  what: string,
  judged: () => Promise<string>,
  verdict: string,
]

/** What the validator says: the message of an ApplicationError, or the warnings, or ''. */
export async function judge(act: () => Promise<{ warnings: string[] }>): Promise<string> {
  try {
    const { warnings } = await act()
    return warnings.map((warning) => `warning: ${warning}`).join('\n')
  } catch (error) {
    return error instanceof ApplicationError ? error.message : String(error)
  }
}

/** The same for what warns of nothing. */
export function refusal(act: () => unknown): Promise<string> {
  return judge(async () => {
    await act()
    return { warnings: [] }
  })
}

type Table<T> = readonly (readonly [checks: string, what: string, subject: T, verdict: string])[]

export const applications = (table: Table<Application>): Row[] =>
  table.map(([checks, what, crafted, verdict]) => [
    checks,
    what,
    () => judge(() => answer(crafted)),
    verdict,
  ])

export const environs = (table: Table<unknown>): Row[] =>
  table.map(([checks, what, crafted, verdict]) => [
    checks,
    what,
    () => judge(() => answer(hello, crafted as Environ)),
    verdict,
  ])

/** An application that calls `startResponse` as it should, and gives this body. */
export const returning = (body: unknown, status = OK, headers = PLAIN): Application =>
  app((_environ, respond) => {
    respond(status, headers)
    return body
  })
