/** Small applications, and ways to wait, for the tests of SCGI and of node-fastcgi. */
import { setTimeout as sleep } from 'node:timers/promises'
import { vi } from 'vitest'
import type { Application } from '../../src/types.ts'

export const PLAIN: [string, string][] = [['Content-Type', 'text/plain']]
/** The head of their responses, as far as they set it. */
export const HEAD = 'Status: 200 OK\r\nContent-Type: text/plain\r\n'

/** What is logged to stderr from now on. */
export function log(): string[] {
  const lines: string[] = []
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    lines.push(String(text))
    return true
  })
  return lines
}

export function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve!: () => void
  const promise = new Promise<void>((done) => (resolve = done))
  return { promise, resolve }
}

/** Tries again until `check` passes; vitest's own time limit ends it. */
export async function eventually(check: () => boolean): Promise<void> {
  while (!check()) await sleep(5)
}

/** Waits until `count` returns the same value twice. */
export async function settled(count: () => number): Promise<number> {
  let before = -1
  while (before !== count() || before === 0) {
    before = count()
    await sleep(100)
  }
  return before
}

export const hello: Application = (_environ, startResponse) => {
  startResponse('200 OK', PLAIN)
  return ['Hello\n']
}

export const echo: Application = async (environ, startResponse) => {
  const body = await environ['wsgi.input'].read()
  startResponse('200 OK', PLAIN)
  return [body]
}

export const streamEcho: Application = async function* (environ, startResponse) {
  startResponse('200 OK', PLAIN)
  yield* environ['wsgi.input'].chunks()
}
