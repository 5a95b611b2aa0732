/** The table in the header of `handlers/base.ts`, state by state. */
import { expect, test } from 'vitest'
import type { RequestState } from '../../handlers/base.ts'
import type { StartResponse, Write } from '../../src/types.ts'
import { CountingBody, deferred, RecordingHandler, turns } from '../support/handlers.ts'

type Event = 'startResponse' | 'startResponse again' | 'chunk' | 'end' | 'error' | 'abort'

const path: Record<RequestState, readonly Event[]> = {
  waiting: [],
  ready: ['startResponse'],
  sending: ['startResponse', 'chunk'],
  ended: ['startResponse', 'chunk', 'end'],
}

const table: [state: RequestState, event: Event, next: RequestState, calls: string[]][] = [
  ['waiting', 'startResponse', 'ready', []],
  ['waiting', 'error', 'ended', ['head', 'body', 'end']],
  ['waiting', 'abort', 'ended', ['broken']],
  ['ready', 'startResponse again', 'ready', []],
  ['ready', 'chunk', 'sending', ['head', 'body', 'flush']],
  ['ready', 'end', 'ended', ['head', 'end']],
  ['ready', 'error', 'ended', ['head', 'body', 'end']],
  ['ready', 'abort', 'ended', ['broken']],
  ['sending', 'chunk', 'sending', ['body', 'flush']],
  ['sending', 'end', 'ended', ['end']],
  ['sending', 'error', 'ended', ['broken']],
  ['sending', 'abort', 'ended', ['broken']],
  ['ended', 'chunk', 'ended', []],
  ['ended', 'error', 'ended', []],
  ['ended', 'abort', 'ended', []],
]

test.each(table)(
  'in state %s the event %s leads to %s and calls %j',
  async (state, event, next, calls) => {
    const handler = new RecordingHandler()
    const steps = await begin(handler)
    for (const step of path[state]) await steps[step]()
    expect(handler.state).toBe(state)
    const before = handler.calls.length
    await steps[event]()
    expect(handler.state).toBe(next)
    expect(handler.calls.slice(before)).toEqual(calls)
    handler.abort()
    handler.abort()
    await turns()
    expect(handler.ends).toBe(1)
    expect(steps.body.closed).toBeLessThanOrEqual(1)
  },
)

/** Starts a request whose application does what it is asked to. */
async function begin(handler: RecordingHandler) {
  const result = deferred<CountingBody>()
  const started = deferred<StartResponse>()
  const body = new CountingBody([])
  void handler.run((_, startResponse) => {
    started.resolve(startResponse)
    return result.promise
  })
  const startResponse = await started.promise
  let write: Write | undefined
  const call = (error?: Error): void => {
    write = startResponse('200 OK', [], error)
  }
  return {
    body,
    startResponse: async () => call(),
    'startResponse again': async () => call(new Error('again')),
    chunk: async () => write!('x'),
    async end() {
      result.resolve(body)
      await turns()
    },
    error: () => handler.fail(new Error('failed')),
    abort: async () => handler.abort(),
  }
}
