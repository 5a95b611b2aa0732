/**
 * The examples that use `portico/middleware`, or do the same by hand. They are bundled with the sources
 * instead of the package, and run over each gateway.
 */
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { rolldown } from 'rolldown'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { valuesOf } from '../../src/response/cgi-response.ts'
import type { TestResponse } from '../../src/testing/client.ts'
import type { Application } from '../../src/types.ts'
import { validator } from '../../src/validate/validator.ts'
import { type Ask, brief, GATEWAYS, runCgi, through, valueOf } from './gateways.ts'

const ROOT = join(import.meta.dirname, '../..')
let directory: string
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'portico-programs-'))
  symlinkSync(join(ROOT, 'node_modules'), join(directory, 'node_modules'))
  vi.stubEnv('VISITS', join(directory, 'visits.db'))
})
afterAll(() => {
  vi.unstubAllEnvs()
  rmSync(directory, { recursive: true })
})

let copies = 0

/** A fresh copy of an example: its state is empty. */
async function load<T = object>(name: string): Promise<T & { application: Application }> {
  const bundle = await rolldown({
    input: join(ROOT, 'examples', name),
    platform: 'node',
    // Only what runs an example as a program needs the first; the other finds its own files.
    external: ['portico', 'node-sqlite3-wasm'],
    resolve: {
      alias: {
        'portico/forms': join(ROOT, 'src/exports/forms.ts'),
        'portico/middleware': join(ROOT, 'src/exports/middleware.ts'),
      },
    },
  })
  copies += 1
  const built = join(directory, String(copies))
  await bundle.write({ dir: built, entryFileNames: 'example.mjs', chunkFileNames: '[name].mjs' })
  return import(pathToFileURL(join(built, 'example.mjs')).href)
}

/** Asks with the cookies that were set. */
class Browser {
  readonly #ask: Ask
  cookie = ''

  constructor(ask: Ask) {
    this.#ask = ask
  }

  async send(target: string, form?: string): Promise<TestResponse> {
    const response = await this.#ask({
      target,
      headers: [
        ...(this.cookie === '' ? [] : [['Cookie', this.cookie] as [string, string]]),
        ...(form === undefined
          ? []
          : [['Content-Type', 'application/x-www-form-urlencoded'] as [string, string]]),
      ],
      ...(form === undefined ? {} : { method: 'POST', body: form }),
    })
    for (const cookie of valuesOf(response.headers, 'Set-Cookie')) {
      this.cookie = cookie.includes('Max-Age=0;') ? '' : cookie.split(';')[0]!
    }
    return response
  }
}

describe.each(GATEWAYS)('Over %s,', (gateway) => {
  it('sign-in.mjs signs in and out', async () => {
    const { application } = await load('sign-in.mjs')
    await through(gateway, validator(application), async (ask) => {
      const browser = new Browser(ask)
      expect(String((await browser.send('/')).body)).toContain('<input name="user"')
      for (const wrong of [
        'user=ada&password=x',
        'user=bob&password=lovelace',
        'user=ada',
        '',
        'x',
      ]) {
        expect((await browser.send('/', wrong)).status).toBe('403 Forbidden')
      }
      expect(browser.cookie).toBe('')
      const response = await browser.send('/', 'user=ada&password=lovelace')
      expect([response.status, valueOf(response, 'Location')]).toEqual(['303 See Other', '/'])
      expect(String((await browser.send('/')).body)).toContain('<p>Hello, ada!</p>')
      expect((await browser.send('/', 'out=now')).status).toBe('303 See Other')
      expect(browser.cookie).toBe('')
      expect(String((await browser.send('/')).body)).toContain('<input name="user"')
      expect((await browser.send('/', 'x'.repeat(10_001))).status).toBe('413 Content Too Large')
    })
  })

  it('routes.mjs responds to its routes', async () => {
    const { application } = await load('routes.mjs')
    await through(gateway, validator(application, { warn: () => {} }), async (ask) => {
      expect(brief(await ask('/notes'))).toEqual(['200 OK', '1: Buy milk\n'])
      expect(brief(await ask({ method: 'POST', target: '/notes', body: 'Grüße' }))).toEqual([
        '201 Created',
        '/notes/2\n',
      ])
      expect(brief(await ask('/notes/2'))).toEqual(['200 OK', 'Grüße\n'])
      expect(brief(await ask('/notes/3'))).toEqual(['404 Not Found', 'There is nothing here.\n'])
      expect(brief(await ask('/'))).toEqual(['404 Not Found', 'There is nothing here.\n'])
      expect((await ask({ method: 'HEAD', target: '/notes' })).status).toBe('200 OK')
      const response = await ask({ method: 'PUT', target: '/notes', body: '' })
      expect([response.status, valueOf(response, 'Allow')]).toEqual([
        '405 Method Not Allowed',
        'GET, POST',
      ])
    })
  })
})

describe('The pool of sandwich.mjs', () => {
  interface Pool {
    free: number
    take(): Promise<unknown>
    give(connection: unknown): void
  }
  interface Sandwich {
    pool: Pool
    Pool: new (size: number, connect: () => unknown) => Pool
    withConnection(app: Application, pool: Pool): Application
  }

  it('queues further requests, and opens no more connections than its size', async () => {
    const { Pool } = await load<Sandwich>('sandwich.mjs')
    let made = 0
    const pool = new Pool(2, () => (made += 1))
    pool.give(await pool.take())
    const [one, two] = [await pool.take(), await pool.take()]
    const log: unknown[] = []
    const waiting = ['a', 'b'].map(async (name) => {
      const connection = await pool.take()
      log.push([name, connection])
      pool.give(connection)
    })
    expect([one, two, log]).toEqual([1, 2, []])
    pool.give(one)
    await Promise.all(waiting)
    pool.give(two)
    expect([log, pool.free, made]).toEqual([
      [
        ['a', 1],
        ['b', 1],
      ],
      2,
      2,
    ])
  })

  it('passes on an error of connect()', async () => {
    const { Pool } = await load<Sandwich>('sandwich.mjs')
    const pool = new Pool(1, () => {
      throw new Error('the disk is full')
    })
    for (const _ of 'ab') await expect(pool.take()).rejects.toThrow('the disk is full')
    expect(pool.free).toBe(1)
  })

  it('gets its connection back whatever the application does, and closes the body', async () => {
    const example = await load<Sandwich>('sandwich.mjs')
    const pool = new example.Pool(1, () => ({}))
    let closed = 0
    const apps: Application[] = [
      () => {
        throw new Error('broken')
      },
      () => Promise.reject(new Error('broken')),
      (_environ, startResponse) => {
        startResponse('200 OK', [])
        return Object.assign(['a', 'b'], { close: () => void (closed += 1) })
      },
    ]
    for (const app of apps) {
      await runCgi(example.withConnection(app, pool), '/')
      await runCgi(example.withConnection(app, pool), { method: 'HEAD', target: '/' })
      expect(pool.free).toBe(1)
    }
    expect(closed).toBe(2)
  })

  it.each(GATEWAYS)(
    'is complete again after requests over %s, and the validator reports nothing',
    async (gateway) => {
      const { application, pool } = await load<Sandwich>('sandwich.mjs')
      await through(gateway, validator(application), async (ask) => {
        for (let n = 1; n <= 2; n += 1) {
          expect(brief(await ask(`/${gateway}`))).toEqual([
            '200 OK',
            `You were here 1 times, everyone together ${n} times.\n`,
          ])
        }
      })
      expect(pool.free).toBe(4)
    },
  )
})
