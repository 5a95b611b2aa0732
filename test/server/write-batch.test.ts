/** The responses of one event-loop turn are sent together, unless that would delay them for long. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { WriteBatch } from '../../src/server/write-batch.ts'

/** A batch, and the names of what it has sent. */
function batchOf(): { add: (name: string) => void; sent: string[] } {
  const batch = new WriteBatch()
  const sent: string[] = []
  return { add: (name) => batch.add({ sendBatched: () => void sent.push(name) }), sent }
}

let now: number

beforeEach(() => {
  now = 0
  vi.spyOn(performance, 'now').mockImplementation(() => now)
})
afterEach(() => {
  vi.restoreAllMocks()
})

describe('WriteBatch', () => {
  it('sends nothing before the end of the turn, and then everything in order', async () => {
    const { add, sent } = batchOf()
    add('a')
    expect(sent).toEqual([])
    await new Promise(setImmediate)
    expect(sent).toEqual(['a'])
    add('b')
    await new Promise(setImmediate)
    expect(sent).toEqual(['a', 'b'])
  })

  it('sends at once when sixteen responses wait', () => {
    const { add, sent } = batchOf()
    const names = Array.from({ length: 16 }, (_, i) => `${i}`)
    for (const name of names.slice(0, 15)) add(name)
    expect(sent).toEqual([])
    add(names[15]!)
    expect(sent).toEqual(names)
  })

  it('sends as soon as an application that has computed for long responds', () => {
    const { add, sent } = batchOf()
    add('a')
    now = 1
    add('b')
    expect(sent).toEqual([])
    now = 1.1
    add('c')
    expect(sent).toEqual(['a', 'b', 'c'])
  })
})
