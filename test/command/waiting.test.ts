import { afterEach, expect, test, vi } from 'vitest'
import { logWaiting } from '../../src/development/waiting.ts'
import type { HeldRequest, WaitReason } from '../../src/server/held-request.ts'

afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

const request = (path: string, waitsFor: WaitReason, responding = false): HeldRequest => ({
  key: { path },
  method: 'GET',
  path,
  waitsFor,
  responding,
})

test('In development, a request without a response is logged once, after 10 s', () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'performance'] })
  let log = ''
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    log += String(text)
    return true
  })
  const forgotten = request('/forgotten', 'the application')
  const held = [forgotten, request('/stream', 'the application', true)]
  logWaiting([{ open: [{ held: () => held }, {}] }])
  vi.advanceTimersByTime(10_000)
  expect(log).toBe('')
  vi.advanceTimersByTime(1_000)
  expect(log).toBe('GET /forgotten has had no response for 10 s, and waits for the application\n')
  held.push(request('/upload\u001b', 'the client to send the request body'))
  vi.advanceTimersByTime(60_000)
  expect(log.split('\n').slice(1)).toEqual([
    'GET /upload\\x1b has had no response for 10 s, and waits for the client to send the request body',
    '',
  ])
})
