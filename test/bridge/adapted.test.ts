/** Conversions by `fromNode`, `toNode`, `fromFetch` and `toFetch`, and back to the original. */
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, test } from 'vitest'
import { nodeOriginOf } from '../../src/application/adapted.ts'
import { fromFetch, toFetch } from '../../src/exports/fetch.ts'
import { fromNode, toNode } from '../../src/exports/node.ts'
import type { Application } from '../../src/types.ts'
import { respond } from './harness.ts'

const application: Application = (_environ, startResponse) => {
  startResponse('200 OK', [])
  return ['application']
}
const listener: RequestListener = (_request, response) => void response.end('listener')
const handler = () => new Response('handler')

describe('A conversion back returns the original:', () => {
  test('toNode(fromNode(listener)) is the listener', () => {
    expect(toNode(fromNode(listener))).toBe(listener)
  })

  test('fromNode(toNode(application)) is the application', () => {
    expect(fromNode(toNode(application))).toBe(application)
  })

  test('toFetch(fromFetch(handler)) is the handler', () => {
    expect(toFetch(fromFetch(handler))).toBe(handler)
  })

  test('fromFetch(toFetch(application)) is the application', () => {
    expect(fromFetch(toFetch(application))).toBe(application)
  })
})

/** All adapted applications by name, each with the text that it must respond with. */
const made = {
  'fromNode(listener)': [fromNode(listener), 'listener'],
  'fromFetch(handler)': [fromFetch(handler), 'handler'],
  'toNode(application)': [toNode(application), 'application'],
  'toFetch(application)': [toFetch(application), 'application'],
  'toNode(fromFetch(handler))': [toNode(fromFetch(handler)), 'handler'],
  'toFetch(fromNode(listener))': [toFetch(fromNode(listener)), 'listener'],
} as const

async function overHttp(listen: RequestListener): Promise<string> {
  const server = createServer(listen)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  try {
    const { port } = server.address() as AddressInfo
    const response = await fetch(`http://127.0.0.1:${port}/`, {
      signal: AbortSignal.timeout(2_000),
    })
    return await response.text()
  } finally {
    server.close()
  }
}

describe.each(Object.entries(made))('%s', (name, [source, expected]) => {
  test(`toNode(${name}) is a listener that responds`, async () => {
    expect(await overHttp(toNode(source as Application))).toBe(expected)
  })

  test(`toFetch(${name}) is a handler that responds`, async () => {
    const response = await toFetch(source as Application)(new Request('http://localhost/'))
    expect(await response.text()).toBe(expected)
  })

  test.each([
    ['fromNode', fromNode],
    ['fromFetch', fromFetch],
  ])(`%s(${name}) is an application that responds`, async (_, bridge) => {
    const { out } = await respond(bridge(source as never))
    expect(out).toMatch(new RegExp(`\r\n\r\n${expected}$`))
  })
})

describe('nodeOriginOf()', () => {
  test('returns the listener inside fromNode(listener)', () => {
    expect(nodeOriginOf(fromNode(listener))).toEqual({ listener, server: null })
  })

  test('returns the server inside fromNode(server)', () => {
    const server = createServer(listener)
    expect(nodeOriginOf(fromNode(server))?.server).toBe(server)
  })

  test('returns undefined for an application, for fromFetch(handler) and for an object that inherits a link', () => {
    expect(nodeOriginOf(application)).toBeUndefined()
    expect(nodeOriginOf(fromFetch(handler))).toBeUndefined()
    const heir = Object.setPrototypeOf(() => [], fromNode(listener)) as Application
    expect(nodeOriginOf(heir)).toBeUndefined()
  })

  test('reads a link that another copy of Portico has made', () => {
    const origin = { listener, server: null }
    const other = Object.defineProperties(() => [], {
      [Symbol.for('portico.application')]: { value: application },
      [Symbol.for('portico.node')]: { value: origin },
    })
    expect(nodeOriginOf(other)).toBe(origin)
  })
})
