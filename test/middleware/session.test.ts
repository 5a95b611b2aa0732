/** `session`: what is remembered, by whom it can be changed, and when it is saved. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { assert, property, string } from 'fast-check'
import { ConfigurationError } from '../../src/errors.ts'
import {
  FileStore,
  MemoryStore,
  mount,
  type Session,
  session,
  type SessionOptions,
  type SessionStore,
} from '../../src/exports/middleware.ts'
import { cookieValues, Signer } from '../../src/middleware/signed-cookie.ts'
import { valuesOf } from '../../src/testing/client.ts'
import type { Application, Body, Environ, StartResponse } from '../../src/types.ts'
import { makeEnviron, OK } from '../validate/harness.ts'
import { GATEWAYS, runCgi, through } from './gateways.ts'

const secret = 'the first secret, of 32 characters'
const older = 'the one before, also of 32 characters'
const DAY = 24 * 60 * 60 * 1000

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'portico-session-'))
  vi.useFakeTimers({ toFake: ['Date'], now: new Date('2030-01-01T00:00:00Z') })
})
afterEach(() => {
  vi.useRealTimers()
  rmSync(folder, { recursive: true })
})

const of = (environ: Environ) => environ['portico.session'] as Session

/** An application that does something with the session, and tells its data. */
const doing =
  (action: (current: Session) => void): Application =>
  (environ, startResponse) => {
    const current = of(environ)
    action(current)
    startResponse(OK, [])
    return [JSON.stringify(current.data)]
  }
const look = doing(() => {})
const count = doing(({ data }) => {
  data['visits'] = Number(data['visits'] ?? 0) + 1
})

const add = (environ: Environ) => {
  const { data } = of(environ)
  data['visits'] = Number(data['visits'] ?? 0) + 1
  return JSON.stringify(data)
}

const fails: Application = (environ) => {
  of(environ).data['visits'] = 100
  throw new Error('so it is')
}

/** A browser: it keeps the one cookie, and shows what was sent last. */
class Browser {
  cookie = ''
  setCookie: string | undefined
  errors = ''
  readonly #options: SessionOptions
  readonly #variables: Record<string, string>

  constructor(options: Partial<SessionOptions> = {}, variables: Record<string, string> = {}) {
    this.#options = { secret, ...options }
    this.#variables = variables
  }

  async run(app: Application, options: Partial<SessionOptions> = {}): Promise<string> {
    const headers: [string, string][] = this.cookie === '' ? [] : [['Cookie', this.cookie]]
    const wrapped = session(app, { ...this.#options, ...options })
    const answer = await runCgi(wrapped, { target: '/', headers }, this.#variables)
    const cookies = valuesOf(answer.headers, 'Set-Cookie')
    expect(cookies.length).toBeLessThan(2)
    this.setCookie = cookies[0]
    this.errors = answer.errors
    if (this.setCookie !== undefined) {
      const [pair = ''] = this.setCookie.split(';')
      this.cookie = /Max-Age=0;/.test(this.setCookie) ? '' : pair
    }
    return answer.status === OK ? answer.body.toString() : answer.status
  }
}

const kinds: [kind: string, store: () => SessionStore | undefined][] = [
  ['in the cookie', () => undefined],
  ['in memory', () => new MemoryStore()],
  ['in files', () => new FileStore(join(folder, 'sessions'))],
]

describe.each(kinds)('a session %s', (_kind, makeStore) => {
  it('is remembered, and saved only if it has changed', async () => {
    const browser = new Browser({ store: makeStore() })
    expect([await browser.run(look), browser.setCookie]).toEqual(['{}', undefined])
    expect(await browser.run(count)).toBe('{"visits":1}')
    expect(await browser.run(count)).toBe('{"visits":2}')
    expect(browser.setCookie).toBeDefined()
    expect([await browser.run(look), browser.setCookie]).toEqual(['{"visits":2}', undefined])
  })

  it('holds what JSON can, and names like any other', async () => {
    const browser = new Browser({ store: makeStore() })
    const data = { list: [1, { a: null }], text: 'Grüße 🦀', ['__proto__']: 'x', constructor: 'y' }
    await browser.run(
      doing(
        (current) =>
          void Object.assign(current.data, JSON.parse(JSON.stringify(data)), { constructor: 'y' }),
      ),
    )
    const seen: unknown[] = []
    await browser.run(
      doing(
        (current) =>
          void seen.push(
            current.data['list'],
            current.data['text'],
            current.data['constructor'],
            current.data['toString'],
          ),
      ),
    )
    expect(seen).toEqual([data.list, data.text, 'y', undefined])
  })

  it('notices a change inside', async () => {
    const browser = new Browser({ store: makeStore() })
    await browser.run(doing(({ data }) => void (data['list'] = [1])))
    await browser.run(doing(({ data }) => void (data['list'] as number[]).push(2)))
    expect(await browser.run(look)).toBe('{"list":[1,2]}')
  })

  it('ends by destroy(), and when all of it is deleted', async () => {
    for (const end of [
      (current: Session) => current.destroy(),
      ({ data }: Session) => void delete data['visits'],
    ]) {
      const browser = new Browser({ store: makeStore() })
      await browser.run(count)
      await browser.run(doing(end))
      expect(browser.setCookie).toBe('session=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax')
      expect(await browser.run(look)).toBe('{}')
    }
  })

  it('ends when its time is over', async () => {
    const browser = new Browser({ store: makeStore(), maxAge: 60 })
    await browser.run(count)
    expect(browser.setCookie).toContain('; Max-Age=60;')
    vi.advanceTimersByTime(60_000)
    expect(await browser.run(look)).toBe('{}')
  })

  it('is renewed when half of its time is over', async () => {
    const browser = new Browser({ store: makeStore() })
    await browser.run(count)
    vi.advanceTimersByTime(7 * DAY)
    await browser.run(look)
    expect(browser.setCookie).toBeUndefined()
    vi.advanceTimersByTime(1_000)
    await browser.run(look)
    expect(browser.setCookie).toBeDefined()
    vi.advanceTimersByTime(13 * DAY)
    expect(await browser.run(look)).toBe('{"visits":1}')
  })

  it('signed with an older secret is believed, and signed anew', async () => {
    const store = makeStore()
    const browser = new Browser({ store, secret: older })
    await browser.run(count)
    expect(await browser.run(look, { secret: [secret, older] })).toBe('{"visits":1}')
    expect(browser.setCookie).toBeDefined()
    expect([await browser.run(look, { secret }), browser.setCookie]).toEqual([
      '{"visits":1}',
      undefined,
    ])
    expect(await browser.run(look, { secret: older })).toBe('{}')
  })

  it.each<[what: string, change: (cookie: string) => string]>([
    ['cut off', (cookie) => cookie.slice(0, -1)],
    ['longer', (cookie) => `${cookie}A`],
    ['without a signature', (cookie) => cookie.replace(/\.[^.]*$/, '')],
    ['of another signature', (cookie) => cookie.replace(/.{43}$/, 'A'.repeat(43))],
    ['of another value', (cookie) => cookie.replace(/=(.)/, (_, c) => (c === 'A' ? '=B' : '=A'))],
    ['of a later date', (cookie) => cookie.replace(/\.([\da-z]+)\./, '.zzzzzz.')],
    ['of another name', (cookie) => `other=x; ${cookie.replace('session', 'sessiom')}`],
    ['empty', () => 'session='],
    ['of blanks', () => 'session=   ;;;='],
  ])('is none with a cookie that is %s', async (_what, change) => {
    const browser = new Browser({ store: makeStore() })
    await browser.run(count)
    browser.cookie = change(browser.cookie)
    expect(await browser.run(look)).toBe('{}')
  })

  it('is found behind cookies of its name that are not ours', async () => {
    const browser = new Browser({ store: makeStore() })
    await browser.run(count)
    browser.cookie = `session=evil; a=b; ${browser.cookie}; session=evil`
    expect(await browser.run(look)).toBe('{"visits":1}')
  })

  it('is worth nothing under another name', async () => {
    const store = makeStore()
    const browser = new Browser({ store, name: 'one' })
    await browser.run(count)
    browser.cookie = browser.cookie.replace('one=', 'two=')
    expect(await browser.run(look, { name: 'two' })).toBe('{}')
  })

  it.each(GATEWAYS)('is there behind %s, for every shape of application', async (gateway) => {
    const shapes: Application[] = [
      (environ, startResponse) => {
        startResponse(OK, [])
        return [add(environ)]
      },
      function* (environ, startResponse) {
        startResponse(OK, [])
        yield add(environ)
      },
      async function* (environ, startResponse) {
        startResponse(OK, [])
        yield await Promise.resolve(add(environ))
      },
      async (environ, startResponse) => {
        await startResponse(OK, [])(add(environ))
        return []
      },
    ]
    const store = makeStore()
    let cookie = ''
    for (const [index, app] of shapes.entries()) {
      await through(gateway, session(app, { secret, store }), async (ask) => {
        const answer = await ask({ target: '/', headers: [['Cookie', cookie]] })
        expect(answer.body.toString()).toBe(`{"visits":${index + 1}}`)
        cookie = valuesOf(answer.headers, 'Set-Cookie')[0]?.split(';')[0] ?? ''
      })
    }
  })

  it('is not saved by an application that fails', async () => {
    const browser = new Browser({ store: makeStore() })
    await browser.run(count)
    expect(await browser.run(fails)).toBe('500 Internal Server Error')
    expect(await browser.run(look)).toBe('{"visits":1}')
  })

  it('cannot hold what JSON cannot', async () => {
    const browser = new Browser({ store: makeStore() })
    expect(await browser.run(doing(({ data }) => void (data['big'] = { toJSON: () => 1n })))).toBe(
      '500 Internal Server Error',
    )
  })
})

describe.each(kinds.slice(1))('a session %s', (_kind, makeStore) => {
  const signIn = doing((current) => {
    current.regenerate()
    current.data['user'] = 'ada'
  })

  it('gets another id by regenerate(), and the old one is worth nothing', async () => {
    const browser = new Browser({ store: makeStore() })
    await browser.run(count)
    const before = browser.cookie
    expect(await browser.run(signIn)).toBe('{"visits":1,"user":"ada"}')
    expect(browser.cookie).not.toBe(before)
    expect(await browser.run(look)).toBe('{"visits":1,"user":"ada"}')
    browser.cookie = before
    expect(await browser.run(look)).toBe('{}')
  })

  it('is gone for every copy of the cookie after destroy()', async () => {
    const browser = new Browser({ store: makeStore() })
    await browser.run(count)
    const copy = browser.cookie
    await browser.run(doing((current) => current.destroy()))
    browser.cookie = copy
    expect(await browser.run(look)).toBe('{}')
    // Nor does the old id come back to life.
    await browser.run(count)
    expect(browser.cookie).not.toBe(copy)
  })

  it('starts anew when data is set behind destroy()', async () => {
    const browser = new Browser({ store: makeStore() })
    await browser.run(count)
    const before = browser.cookie
    await browser.run(
      doing((current) => {
        current.destroy()
        current.data['user'] = 'bob'
      }),
    )
    expect(browser.cookie.split('.')[0]).not.toBe(before.split('.')[0])
    expect(await browser.run(look)).toBe('{"user":"bob"}')
  })

  it('is saved once more if it changes while the body is sent', async () => {
    const browser = new Browser({ store: makeStore() })
    await browser.run(count)
    await browser.run(async function* (environ: Environ, startResponse: StartResponse) {
      startResponse(OK, [])
      yield 'a'
      of(environ).data['late'] = true
      yield await Promise.resolve('b')
    })
    expect(browser.errors).toBe('')
    expect(await browser.run(look)).toBe('{"visits":1,"late":true}')
  })
})

const late = function* (environ: Environ, startResponse: StartResponse) {
  startResponse(OK, [])
  yield 'a'
  of(environ).data['late'] = true
}

it('without a cookie loses what changes late, and says so', async () => {
  for (const store of [undefined, new MemoryStore()]) {
    const browser = new Browser({ store })
    expect(await browser.run(late)).toBe('a')
    expect(browser.errors).toBe(
      'session: what changed after the first chunk of the body was lost\n',
    )
  }
})

it('is saved before the head goes', async () => {
  const log: string[] = []
  const store: SessionStore = {
    load: () => undefined,
    async save() {
      await new Promise((resolve) => setImmediate(resolve))
      log.push('saved')
    },
    remove: () => undefined,
  }
  const bodies: Application[] = [
    count,
    function* (environ, startResponse) {
      of(environ).data['a'] = 1
      startResponse(OK, [])
      yield 'a'
    },
    (environ, startResponse) => {
      of(environ).data['a'] = 1
      const write = startResponse(OK, [])
      void write('a')
      void write('b')
      return ['c']
    },
  ]
  for (const app of bodies) {
    log.length = 0
    const sent: unknown[] = []
    const body: Body = await session(app, { secret, store })(makeEnviron(), () => {
      log.push('head')
      return async (chunk) => void sent.push(chunk)
    })
    for await (const chunk of body) sent.push(chunk)
    await body.close?.()
    expect(log).toEqual(['saved', 'head'])
    expect(sent.join('')).toMatch(/^(?:\{"visits":1\}|a|abc)$/)
  }
})

it('in a store that fails is an error, not an answer', async () => {
  const broken: SessionStore = {
    load: () => undefined,
    save: () => Promise.reject(new Error('the disk is full')),
    remove: () => undefined,
  }
  const browser = new Browser({ store: broken })
  expect(await browser.run(count)).toBe('500 Internal Server Error')
  expect(browser.errors).toContain('the disk is full')
})

it('that cannot be read is a new one', async () => {
  const folderOf = join(folder, 'sessions')
  const browser = new Browser({ store: new FileStore(folderOf) })
  expect(await browser.run(count)).toBe('{"visits":1}')
  const { cookie } = browser
  // In a cookie, where the id of a session is no data.
  expect(await browser.run(count, { store: undefined })).toBe('{"visits":1}')
  // In a file that a crash has emptied.
  browser.cookie = cookie
  const [name = ''] = readdirSync(folderOf)
  writeFileSync(join(folderOf, name), '')
  utimesSync(join(folderOf, name), new Date(), new Date(Date.now() + DAY))
  expect(await browser.run(count)).toBe('{"visits":1}')
  expect(browser.cookie).not.toBe(cookie)
  expect(await browser.run(count)).toBe('{"visits":2}')
})

const fill = (size: number) => doing(({ data }) => void (data['x'] = 'x'.repeat(size)))

it('that cannot be saved leaves no body open', async () => {
  let closed = 0
  const close = async () => {
    await Promise.resolve()
    closed += 1
  }
  const broken: SessionStore = {
    load: () => undefined,
    save: () => Promise.reject(new Error('the disk is full')),
    remove: () => undefined,
  }
  const large: Application = (environ, startResponse) => {
    of(environ).data['x'] = 'x'.repeat(5000)
    startResponse(OK, [])
    return Object.assign(['x'], { close })
  }
  for (const store of [undefined, broken]) {
    expect(await new Browser({ store }).run(large)).toBe('500 Internal Server Error')
  }
  expect(closed).toBe(2)
})

it('in a cookie must fit into one', async () => {
  const browser = new Browser()
  expect(await browser.run(fill(2900))).toContain('xxx')
  expect(await browser.run(fill(4000))).toBe('500 Internal Server Error')
  expect(browser.errors).toMatch(/the cookie has 5\d\d\d bytes/)
})

describe('the cookie', () => {
  it.each<
    [
      what: string,
      options: Partial<SessionOptions>,
      variables: Record<string, string>,
      attributes: string,
    ]
  >([
    ['of the whole host', {}, {}, 'Path=/; Max-Age=1209600; HttpOnly; SameSite=Lax'],
    [
      'below a mount point',
      {},
      { SCRIPT_NAME: '/~ada/x y.cgi' },
      'Path=/~ada/x%20y.cgi; Max-Age=1209600; HttpOnly; SameSite=Lax',
    ],
    ['by https', {}, { HTTPS: 'on' }, 'Path=/; Max-Age=1209600; HttpOnly; SameSite=Lax; Secure'],
    [
      'as told',
      { path: '/a', domain: 'example.com', sameSite: 'Strict', maxAge: 5 },
      { HTTPS: 'on' },
      'Path=/a; Domain=example.com; Max-Age=5; HttpOnly; SameSite=Strict; Secure',
    ],
  ])('%s', async (_what, options, variables, attributes) => {
    const browser = new Browser(options, variables)
    await browser.run(count)
    expect(browser.setCookie?.replace(/^[^;]*; /, '')).toBe(attributes)
  })

  it('is that of the place where the layer is, whatever is mounted below', async () => {
    const browser = new Browser()
    await browser.run(mount({ '/': mount({ '/': count }) }))
    const inner = new Browser({}, { PATH_INFO: '/a/b', REQUEST_URI: '/a/b' })
    await inner.run(mount({ '/a': count }))
    expect(inner.setCookie).toContain('; Path=/; ')
  })

  it.each<Partial<SessionOptions>>([
    { secret: 'short' },
    { secret: [] },
    { secret: [secret, 'short'] },
    { name: 'a b' },
    { name: '' },
    { path: 'a' },
    { path: '/a;b' },
    { path: '/a\r\n' },
    { domain: 'a;b' },
    { maxAge: 0 },
    { maxAge: Number.NaN },
  ])('refuses %j', (options) => {
    expect(() => session(look, { secret, ...options })).toThrow(ConfigurationError)
  })
})

describe('Signer', () => {
  it('reads nothing that it has not signed, and never throws', () => {
    const signer = new Signer('s', [secret])
    const signed = signer.sign('value', Date.now() + 1000)
    expect(signer.read(signed)).toMatchObject({ value: 'value', old: false })
    assert(
      property(string({ unit: 'binary' }), string(), (one, other) => {
        expect(signer.read(one)).toBeUndefined()
        expect(signer.read(`${one}.${other}`)).toBeUndefined()
        expect(signer.read(`${signed}${one}`)).toEqual(one === '' ? signer.read(signed) : undefined)
      }),
    )
  })

  it('reads no cookie whose last characters are another spelling of the signature', () => {
    const signer = new Signer('s', [secret])
    const signed = signer.sign('value', Date.now() + 1000)
    const accepted = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
      .split('')
      .map((last) => signed.slice(0, -1) + last)
      .filter((cookie) => signer.read(cookie))
    // The last of 43 characters has two bits to spare: four spellings, all of one signature.
    expect(accepted).toHaveLength(4)
  })

  it.each([
    ['a=b; c=d', 'c', ['d']],
    ['a=1;a=2 ; b=3; a=4', 'a', ['1', '2', '4']],
    ['a', 'a', []],
    ['=x', 'a', []],
    ['a=b=c', 'a', ['b=c']],
  ])('finds in %s of %s %j', (header, name, values) => {
    expect(cookieValues(header, name)).toEqual(values)
  })
})

describe('MemoryStore', () => {
  it('holds no more than it may, and forgets what was saved longest ago', () => {
    const store = new MemoryStore(2)
    const later = Date.now() + 1000
    for (const id of ['a', 'b', 'a', 'c']) store.save(id, id, later)
    expect([store.size, store.load('a'), store.load('b'), store.load('c')]).toEqual([
      2,
      'a',
      undefined,
      'c',
    ])
    store.remove('a')
    expect([store.size, store.load('a')]).toEqual([1, undefined])
  })

  it('forgets what has expired', () => {
    const store = new MemoryStore()
    store.save('a', 'a', Date.now() + 1000)
    vi.advanceTimersByTime(1000)
    expect([store.load('a'), store.size]).toEqual([undefined, 0])
  })

  it.each([0, 1.5, -1])('refuses room for %d', (max) => {
    expect(() => new MemoryStore(max)).toThrow(ConfigurationError)
  })
})

describe('FileStore', () => {
  const id = 'an-id_of_the_session'

  it('keeps files that nobody else can read, and whose names tell nothing', async () => {
    const store = new FileStore(join(folder, 'a/b'))
    await store.save(id, 'data', Date.now() + 1000)
    const [name, ...others] = readdirSync(join(folder, 'a/b'))
    expect([name, others]).toEqual([expect.stringMatching(/^[\da-f]{64}\.json$/), []])
    const path = join(folder, 'a/b', name!)
    expect(readFileSync(path, 'utf8')).toBe('data')
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(statSync(join(folder, 'a/b')).mode & 0o777).toBe(0o700)
    expect(await store.load(id)).toBe('data')
  })

  it('finds nothing where there is nothing', async () => {
    const store = new FileStore(join(folder, 'none'))
    expect(await store.load(id)).toBeUndefined()
    await store.remove(id)
    await store.purge()
    expect(existsSync(join(folder, 'none'))).toBe(false)
  })

  it('looks for no file of a name that a client chooses', async () => {
    writeFileSync(join(folder, 'x.json'), '{}')
    const store = new FileStore(folder)
    for (const name of ['x', '../x', '/etc/passwd', ''])
      expect(await store.load(name)).toBeUndefined()
  })

  it('removes what has expired, and nothing that is not its own', async () => {
    const store = new FileStore(folder)
    writeFileSync(join(folder, 'other.json'), '')
    utimesSync(join(folder, 'other.json'), 0, 0)
    await store.save('old', 'x', Date.now() + 1000)
    await store.save('new', 'y', Date.now() + 5000)
    vi.advanceTimersByTime(1000)
    await store.purge()
    expect(readdirSync(folder)).toHaveLength(2)
    expect([await store.load('old'), await store.load('new')]).toEqual([undefined, 'y'])
    expect(existsSync(join(folder, 'other.json'))).toBe(true)
  })

  it('removes what a process that is gone was writing a day ago', async () => {
    const day = 24 * 60 * 60
    const now = Date.now() / 1000
    const names = ['a', 'b'].map((letter) => `${letter.repeat(32)}.tmp`)
    for (const [index, name] of names.entries()) {
      writeFileSync(join(folder, name), '')
      utimesSync(join(folder, name), now, now - day + index)
    }
    await new FileStore(folder).purge()
    expect(readdirSync(folder)).toEqual([names[1]])
  })

  it('removes an expired session that is asked for', async () => {
    const store = new FileStore(folder)
    await store.save(id, 'x', Date.now() + 1000)
    vi.advanceTimersByTime(1000)
    expect([await store.load(id), readdirSync(folder)]).toEqual([undefined, []])
  })

  it('purges with one save in a hundred', async () => {
    const store = new FileStore(folder)
    const purge = vi.spyOn(store, 'purge')
    const random = vi.spyOn(Math, 'random').mockReturnValue(0.01)
    await store.save(id, 'x', Date.now() + 1000)
    expect(purge).not.toHaveBeenCalled()
    random.mockReturnValue(0.0099)
    await store.save(id, 'x', Date.now() + 1000)
    random.mockRestore()
    expect(purge).toHaveBeenCalledOnce()
  })

  it('leaves nothing behind when it cannot save', async () => {
    const store = new FileStore(folder)
    await store.save(id, 'x', Date.now() + 1000)
    const names = readdirSync(folder)
    rmSync(join(folder, names[0]!))
    mkdirSync(join(folder, names[0]!))
    await expect(store.save(id, 'x', Date.now() + 1000)).rejects.toThrow(Error)
    expect(readdirSync(folder)).toEqual(names)
  })
})
