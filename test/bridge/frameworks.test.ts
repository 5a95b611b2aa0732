/** The framework examples give the same response at every gateway and mount point. */
import { rm } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import type { Runnable } from '../../src/application/to-application.ts'
import { makeDirectory } from '../servers/process.ts'
import { valuesOf } from '../../src/response/cgi-response.ts'
import type { TestResponse } from '../../src/exports/testing.ts'
import {
  comparable,
  frameworks,
  loadExample,
  rows,
  serveBare,
  settings,
  type Served,
} from './frameworks.ts'

let directory: string

beforeAll(async () => {
  directory = await makeDirectory()
  vi.spyOn(console, 'error').mockReturnValue()
})
afterAll(async () => {
  vi.restoreAllMocks()
  await rm(directory, { recursive: true, force: true })
})

describe.each(frameworks)('$name', ({ name, file }) => {
  let app: Runnable
  let bare: Served
  const bareResponses = new Map<string, Promise<TestResponse>>()

  beforeAll(async () => {
    app = await loadExample(file)
    bare = await serveBare(app)
  })
  afterAll(() => bare?.close())

  const mounted = settings.flatMap((setting) =>
    (setting.mounts ?? ['', '/mnt']).map((mount) => ({
      setting,
      mount,
      where: `${setting.name} at '${mount}'`,
    })),
  )

  describe.each(mounted)('through $where', ({ setting, mount }) => {
    let served: Served
    beforeAll(async () => {
      served = await setting.serve(app, mount, directory, file)
    })
    afterAll(() => served?.close())

    const asked = rows.filter(
      ({ only = name, not, untyped }) =>
        only === name && not !== name && !(setting.strict && untyped?.includes(name)),
    )

    it.each(asked.map((row) => [row.name, row] as const))(
      'responds as listed: %s',
      async (title, { request, status, type, body, headers }) => {
        const response = await served.client.request(request)
        expect(response.broken).toBe(false)
        expect([response.status.slice(0, 3), String(response.body)]).toEqual([
          String(status),
          body(name, mount),
        ])
        if (type)
          expect(valuesOf(response.headers, 'Content-Type')).toEqual([expect.stringMatching(type)])
        for (const [header, values] of headers?.(mount) ?? []) {
          const expected = values.map((value) => expect.stringMatching(value) as string)
          expect(valuesOf(response.headers, header)).toEqual(expected)
        }
        if (mount === '') {
          if (!bareResponses.has(title)) bareResponses.set(title, bare.client.request(request))
          const expected = await bareResponses.get(title)!
          expect(comparable(response, name)).toEqual(comparable(expected, name))
        }
      },
    )
  })
})
