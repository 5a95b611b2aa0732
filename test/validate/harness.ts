/** Applications that follow the contract, and hand-driven gateways, for tests of the validator. */
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

/** An application that may do what the types forbid. */
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
export async function runApplication(
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

/** Calls an application as untyped code can. */
export function call(application: Application, ...args: unknown[]): unknown {
  return Reflect.apply(application, undefined, args)
}

/** A body that is iterated step by step. */
export interface Stepper {
  next(): IteratorResult<Chunk> | Promise<IteratorResult<Chunk>>
  close(): unknown
}
export async function open(application: Application, environ = makeEnviron()): Promise<Stepper> {
  const body: unknown = await validator(application, silent)(environ, startResponse)
  return body as Stepper
}

/** A violation, what shows it to the validator, and the message that the validator must report. */
export type Row = readonly [violation: string, judged: () => Promise<string>, message: string]

/** The message of the ApplicationError, or the warnings, or ''. */
export async function judge(act: () => Promise<{ warnings: string[] }>): Promise<string> {
  try {
    const { warnings } = await act()
    return warnings.map((warning) => `warning: ${warning}`).join('\n')
  } catch (error) {
    return error instanceof ApplicationError ? error.message : String(error)
  }
}

/** The message of the ApplicationError, or ''. */
export function refusal(act: () => unknown): Promise<string> {
  return judge(async () => {
    await act()
    return { warnings: [] }
  })
}

type Table<T> = readonly (readonly [violation: string, subject: T, message: string])[]

export const applications = (table: Table<Application>): Row[] =>
  table.map(([violation, crafted, message]) => [
    violation,
    () => judge(() => runApplication(crafted)),
    message,
  ])

export const environs = (table: Table<unknown>): Row[] =>
  table.map(([violation, crafted, message]) => [
    violation,
    () => judge(() => runApplication(hello, crafted as Environ)),
    message,
  ])

/** An application that calls `startResponse` correctly and returns this body. */
export const returning = (body: unknown, status = OK, headers = PLAIN): Application =>
  app((_environ, respond) => {
    respond(status, headers)
    return body
  })
