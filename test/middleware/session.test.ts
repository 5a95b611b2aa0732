/** `session`: what it keeps, who can change it, when it is saved, and when it ends. */
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
import { valuesOf } from '../../src/response/cgi-response.ts'
import type { Application, Body, Environ, StartResponse } from '../../src/types.ts'
import { makeEnviron, OK } from '../validate/harness.ts'
import { GATEWAYS, runCgi, through } from './gateways.ts'

const secret = 'the first secret, of 32 characters'
const older = 'the one before, also of 32 characters'
const DAY = 24 * 60 * 60 * 1000

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'portico-session-'))
  vi.useFakeTimers({ toFake: ['Date'], now: new Date('2030-01-01T00:00:00Z') })
})
afterEach(() => {
  vi.useRealTimers()
  rmSync(directory, { recursive: true })
})

const of = (environ: Environ) => environ['portico.session']

/** An application that does something with the session, and responds with its data. */
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
  throw new Error('broken')
}

/** A browser with one cookie. It shows what was sent last. */
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
    const response = await runCgi(wrapped, { target: '/', headers }, this.#variables)
    const cookies = valuesOf(response.headers, 'Set-Cookie')
    expect(cookies.length).toBeLessThan(2)
    this.setCookie = cookies[0]
    this.errors = response.errors
    if (this.setCookie !== undefined) {
      const [pair = ''] = this.setCookie.split(';')
      this.cookie = /Max-Age=0;/.test(this.setCookie) ? '' : pair
    }
    return response.status === OK ? response.body.toString() : response.status
  }
}

const kinds: [kind: string, store: () => SessionStore | undefined][] = [
  ['in the cookie', () => undefined],
  ['in memory', () => new MemoryStore()],
  ['in files', () => new FileStore(join(directory, 'sessions'))],
]

describe.each(kinds)('session %s', (_kind, makeStore) => {
  it('remembers data, and saves it only if it has changed', async () => {
    const browser = new Browser({ store: makeStore() })
    expect([await browser.run(look), browser.setCookie]).toEqual(['{}', undefined])
    expect(await browser.run(count)).toBe('{"visits":1}')
    expect(await browser.run(count)).toBe('{"visits":2}')
    expect(browser.setCookie).toBeDefined()
    expect([await browser.run(look), browser.setCookie]).toEqual(['{"visits":2}', undefined])
  })

  it('holds what JSON can represent, under any name', async () => {
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

  it('notices a change inside a value', async () => {
    const browser = new Browser({ store: makeStore() })
    await browser.run(doing(({ data }) => void (data['list'] = [1])))
    await browser.run(doing(({ data }) => void (data['list'] as number[]).push(2)))
    expect(await browser.run(look)).toBe('{"list":[1,2]}')
  })

  it('ends by destroy(), and when all data is deleted', async () => {
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

  it('ends after maxAge', async () => {
    const browser = new Browser({ store: makeStore(), maxAge: 60 })
    await browser.run(count)
    expect(browser.setCookie).toContain('; Max-Age=60;')
    vi.advanceTimersByTime(60_000)
    expect(await browser.run(look)).toBe('{}')
  })

  it('is renewed after half of maxAge', async () => {
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

  it('is renewed before browsers drop the cookie, however long maxAge is', async () => {
    const browser = new Browser({ store: makeStore(), maxAge: (10 * 365 * DAY) / 1000 })
    await browser.run(count)
    vi.advanceTimersByTime(200 * DAY)
    await browser.run(look)
    expect(browser.setCookie).toBeUndefined()
    vi.advanceTimersByTime(1_000)
    expect(await browser.run(look)).toBe('{"visits":1}')
    expect(browser.setCookie).toContain('; Max-Age=315360000;')
  })

  it('accepts a cookie signed with an older secret, and signs it again', async () => {
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
    ['truncated', (cookie) => cookie.slice(0, -1)],
    ['longer', (cookie) => `${cookie}A`],
    ['without a signature', (cookie) => cookie.replace(/\.[^.]*$/, '')],
    ['signed differently', (cookie) => cookie.replace(/.{43}$/, 'A'.repeat(43))],
    ['changed', (cookie) => cookie.replace(/=(.)/, (_, c) => `=${c === 'A' ? 'B' : 'A'}`)],
    ['dated later', (cookie) => cookie.replace(/\.([\da-z]+)\./, '.zzzzzz.')],
    ['of another cookie', (cookie) => `other=x; ${cookie.replace('session', 'sessiom')}`],
    ['empty', () => 'session='],
    ['of spaces', () => 'session=   ;;;='],
  ])('starts a new session for a cookie that is %s', async (_what, change) => {
    const browser = new Browser({ store: makeStore() })
    await browser.run(count)
    browser.cookie = change(browser.cookie)
    expect(await browser.run(look)).toBe('{}')
  })

  it('finds its cookie among others of the same name', async () => {
    const browser = new Browser({ store: makeStore() })
    await browser.run(count)
    browser.cookie = `session=evil; a=b; ${browser.cookie}; session=evil`
    expect(await browser.run(look)).toBe('{"visits":1}')
  })

  it('is found if the cookie of a session that has ended comes first', async () => {
    const store = makeStore()
    const [ended, browser] = [new Browser({ store }), new Browser({ store })]
    await ended.run(count)
    const { cookie } = ended
    await ended.run(doing((current) => current.destroy()))
    await browser.run(count)
    const live = browser.cookie
    browser.cookie = `${cookie}; ${live}`
    // Without a store the server cannot know which one has ended.
    await browser.run(count)
    expect(browser.cookie === live || store === undefined).toBe(true)
    expect(await browser.run(look)).toBe('{"visits":2}')
    browser.cookie = `${cookie}; ${cookie}; ${cookie}; ${cookie}; ${live}`
    if (store) expect(await browser.run(look)).toBe('{"visits":2}')
  })

  it('rejects a cookie that was signed under another name', async () => {
    const store = makeStore()
    const browser = new Browser({ store, name: 'one' })
    await browser.run(count)
    browser.cookie = browser.cookie.replace('one=', 'two=')
    expect(await browser.run(look, { name: 'two' })).toBe('{}')
  })

  it.each(GATEWAYS)('works over %s for every kind of application', async (gateway) => {
    const applications: Application[] = [
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
    for (const [index, app] of applications.entries()) {
      await through(gateway, session(app, { secret, store }), async (ask) => {
        const response = await ask({ target: '/', headers: [['Cookie', cookie]] })
        expect(response.body.toString()).toBe(`{"visits":${index + 1}}`)
        cookie = valuesOf(response.headers, 'Set-Cookie')[0]?.split(';')[0] ?? ''
      })
    }
  })

  it('is not saved if the application fails', async () => {
    const browser = new Browser({ store: makeStore() })
    await browser.run(count)
    expect(await browser.run(fails)).toBe('500 Internal Server Error')
    expect(await browser.run(look)).toBe('{"visits":1}')
  })

  it('responds with a 500 to data that JSON cannot represent', async () => {
    const browser = new Browser({ store: makeStore() })
    expect(await browser.run(doing(({ data }) => void (data['big'] = { toJSON: () => 1n })))).toBe(
      '500 Internal Server Error',
    )
  })
})

describe.each(kinds.slice(1))('session %s', (_kind, makeStore) => {
  const signIn = doing((current) => {
    current.regenerate()
    current.data['user'] = 'ada'
  })

  it('gets another id by regenerate(), and the old id is invalid', async () => {
    const browser = new Browser({ store: makeStore() })
    await browser.run(count)
    const before = browser.cookie
    expect(await browser.run(signIn)).toBe('{"visits":1,"user":"ada"}')
    expect(browser.cookie).not.toBe(before)
    expect(await browser.run(look)).toBe('{"visits":1,"user":"ada"}')
    browser.cookie = before
    expect(await browser.run(look)).toBe('{}')
  })

  it('has ended for every copy of the cookie after destroy()', async () => {
    const browser = new Browser({ store: makeStore() })
    await browser.run(count)
    const copy = browser.cookie
    await browser.run(doing((current) => current.destroy()))
    browser.cookie = copy
    expect(await browser.run(look)).toBe('{}')
    // The old id stays invalid.
    await browser.run(count)
    expect(browser.cookie).not.toBe(copy)
  })

  it('starts a new session when data is set after destroy()', async () => {
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

  it('is saved again if it changes while the body is sent', async () => {
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

it('session loses late changes without a cookie or a store, and logs it', async () => {
  for (const store of [undefined, new MemoryStore()]) {
    const browser = new Browser({ store })
    expect(await browser.run(late)).toBe('a')
    expect(browser.errors).toBe(
      'session: what changed after the first chunk of the body was lost\n',
    )
  }
})

it('session saves before the head is sent', async () => {
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

it('session responds with a 500 if the store fails', async () => {
  const broken: SessionStore = {
    load: () => undefined,
    save: () => Promise.reject(new Error('the disk is full')),
    remove: () => undefined,
  }
  const browser = new Browser({ store: broken })
  expect(await browser.run(count)).toBe('500 Internal Server Error')
  expect(browser.errors).toContain('the disk is full')
})

it('session starts a new session if its data cannot be read', async () => {
  const directoryOf = join(directory, 'sessions')
  const browser = new Browser({ store: new FileStore(directoryOf) })
  expect(await browser.run(count)).toBe('{"visits":1}')
  const { cookie } = browser
  // In a cookie, whose data does not include the id of a session.
  expect(await browser.run(count, { store: undefined })).toBe('{"visits":1}')
  // In a file that a crash has emptied.
  browser.cookie = cookie
  const [name = ''] = readdirSync(directoryOf)
  const file = join(directoryOf, name, 'session.json')
  writeFileSync(file, '')
  utimesSync(file, new Date(), new Date(Date.now() + DAY))
  expect(await browser.run(count)).toBe('{"visits":1}')
  expect(browser.cookie).not.toBe(cookie)
  expect(await browser.run(count)).toBe('{"visits":2}')
})

const fill = (size: number) => doing(({ data }) => void (data['x'] = 'x'.repeat(size)))

it('session closes the body if it cannot be saved', async () => {
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

it('session responds with a 500 if the data does not fit into a cookie', async () => {
  const browser = new Browser()
  expect(await browser.run(fill(2900))).toContain('xxx')
  expect(await browser.run(fill(4000))).toBe('500 Internal Server Error')
  expect(browser.errors).toMatch(/the cookie has 5\d\d\d bytes/)
})

describe('The cookie of session', () => {
  it.each<
    [
      what: string,
      options: Partial<SessionOptions>,
      variables: Record<string, string>,
      attributes: string,
    ]
  >([
    ['for the whole host', {}, {}, 'Path=/; Max-Age=1209600; HttpOnly; SameSite=Lax'],
    [
      'below a mount point',
      {},
      { SCRIPT_NAME: '/~ada/x y.cgi' },
      'Path=/~ada/x%20y.cgi; Max-Age=1209600; HttpOnly; SameSite=Lax',
    ],
    ['over https', {}, { HTTPS: 'on' }, 'Path=/; Max-Age=1209600; HttpOnly; SameSite=Lax; Secure'],
    [
      'with options',
      { path: '/a', domain: 'example.com', sameSite: 'Strict', maxAge: 5 },
      { HTTPS: 'on' },
      'Path=/a; Domain=example.com; Max-Age=5; HttpOnly; SameSite=Strict; Secure',
    ],
  ])('%s', async (_what, options, variables, attributes) => {
    const browser = new Browser(options, variables)
    await browser.run(count)
    expect(browser.setCookie?.replace(/^[^;]*; /, '')).toBe(attributes)
  })

  it.each(['a', '.a.example', 'A.b-c.example', 'xn--bcher-kva.example', '127.0.0.1'])(
    'may have the Domain %s',
    async (domain) => {
      const browser = new Browser({ domain })
      await browser.run(count)
      expect(browser.setCookie).toContain(`; Domain=${domain}; `)
    },
  )

  it('has the path of the middleware, whatever is mounted below', async () => {
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
    { domain: '.' },
    { domain: 'a..example' },
    { domain: 'a.example.' },
    { domain: '..a.example' },
    { maxAge: 0 },
    { maxAge: Number.NaN },
    { maxAge: 100 * 365 * 24 * 60 * 60 + 1 },
  ])('refuses the options %j', (options) => {
    expect(() => session(look, { secret, ...options })).toThrow(ConfigurationError)
  })
})

describe('Signer', () => {
  it('Signer.read() accepts only what it has signed, and never throws', () => {
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

  it('Signer.read() accepts the four spellings of one signature, and no more', () => {
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
  ])('cookieValues(%j, %j) is %j', (header, name, values) => {
    expect(cookieValues(header, name)).toEqual(values)
  })
})

describe('MemoryStore', () => {
  it('MemoryStore drops the session that was saved longest ago when it is full', () => {
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

  it('MemoryStore drops expired sessions', () => {
    const store = new MemoryStore()
    store.save('a', 'a', Date.now() + 1000)
    vi.advanceTimersByTime(1000)
    expect([store.load('a'), store.size]).toEqual([undefined, 0])
  })

  it.each([0, 1.5, -1])('MemoryStore refuses a maximum of %d sessions', (max) => {
    expect(() => new MemoryStore(max)).toThrow(ConfigurationError)
  })
})

describe('FileStore', () => {
  const id = 'an-id_of_the_session'

  it('FileStore keeps files that only its user can read, under names that reveal no id', async () => {
    const store = new FileStore(join(directory, 'a/b'))
    await store.save(id, 'data', Date.now() + 1000)
    const [name, ...others] = readdirSync(join(directory, 'a/b'))
    expect([name, others]).toEqual([expect.stringMatching(/^[\da-f]{64}$/), []])
    expect(readdirSync(join(directory, 'a/b', name!))).toEqual(['session.json'])
    const path = join(directory, 'a/b', name!, 'session.json')
    expect(readFileSync(path, 'utf8')).toBe('data')
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(statSync(join(directory, 'a/b')).mode & 0o777).toBe(0o700)
    expect(await store.load(id)).toBe('data')
  })

  it('FileStore finds no session if there is no directory', async () => {
    const store = new FileStore(join(directory, 'none'))
    expect(await store.load(id)).toBeUndefined()
    await store.remove(id)
    await store.purge()
    expect(existsSync(join(directory, 'none'))).toBe(false)
  })

  it('FileStore opens no file by a name that a client chooses', async () => {
    writeFileSync(join(directory, 'x.json'), '{}')
    const store = new FileStore(directory)
    for (const name of ['x', '../x', '/etc/passwd', ''])
      expect(await store.load(name)).toBeUndefined()
  })

  it('FileStore.purge() removes expired sessions and no other files', async () => {
    const store = new FileStore(directory)
    writeFileSync(join(directory, 'other.json'), '')
    utimesSync(join(directory, 'other.json'), 0, 0)
    await store.save('old', 'x', Date.now() + 1000)
    await store.save('new', 'y', Date.now() + 5000)
    vi.advanceTimersByTime(1000)
    await store.purge()
    expect(readdirSync(directory)).toHaveLength(2)
    expect([await store.load('old'), await store.load('new')]).toEqual([undefined, 'y'])
    expect(existsSync(join(directory, 'other.json'))).toBe(true)
  })

  it('FileStore.purge() removes after a day what a killed process has left', async () => {
    const [day, now] = [24 * 60 * 60, Date.now() / 1000]
    // Removed half, and made without data: a day ago, and a second less.
    const removed = `${'a'.repeat(32)}.removed`
    const names = ['b', 'c'].map((letter) => letter.repeat(64))
    for (const [index, name] of [removed, ...names].entries()) {
      mkdirSync(join(directory, name))
      utimesSync(join(directory, name), now, now - day + Math.max(index - 1, 0))
    }
    await new FileStore(directory).purge()
    expect(readdirSync(directory)).toEqual([names[1]])
  })

  it('FileStore.load() removes an expired session', async () => {
    const store = new FileStore(directory)
    await store.save(id, 'x', Date.now() + 1000)
    vi.advanceTimersByTime(1000)
    expect([await store.load(id), readdirSync(directory)]).toEqual([undefined, []])
  })

  it('FileStore purges in one of a hundred calls of save()', async () => {
    const store = new FileStore(directory)
    const purge = vi.spyOn(store, 'purge')
    const random = vi.spyOn(Math, 'random').mockReturnValue(0.01)
    await store.save(id, 'x', Date.now() + 1000)
    expect(purge).not.toHaveBeenCalled()
    random.mockReturnValue(0.0099)
    await store.save(id, 'x', Date.now() + 1000)
    random.mockRestore()
    expect(purge).toHaveBeenCalledOnce()
  })

  it('FileStore leaves no temporary file when it cannot save', async () => {
    const store = new FileStore(directory)
    await store.save(id, 'x', Date.now() + 1000)
    const [name = ''] = readdirSync(directory)
    const file = join(directory, name, 'session.json')
    rmSync(file)
    mkdirSync(file)
    await expect(store.save(id, 'x', Date.now() + 1000)).rejects.toThrow(Error)
    expect(readdirSync(join(directory, name))).toEqual(['session.json'])
  })
})

/** A MemoryStore, one method of which does its work and returns `value`. */
function returning(method: 'load' | 'update', value: unknown): SessionStore {
  const store = new MemoryStore()
  const original = store[method].bind(store) as (...args: unknown[]) => unknown
  Object.assign(store, { [method]: (...args: unknown[]) => (original(...args), value) })
  return store
}

describe('A store in JavaScript whose', () => {
  const TEXT = 'session: load() of the store must return the text that was saved, or undefined'
  const ALIVE = 'session: update() of the store must return true or false'
  it.each<[method: 'load' | 'update', value: unknown, message: string]>([
    ['load', { visits: 1 }, `${TEXT} (got an object)`],
    ['load', Promise.resolve({ visits: 1 }), `${TEXT} (got an object)`],
    ['load', [1], `${TEXT} (got an array)`],
    ['load', 5, `${TEXT} (got 5)`],
    ['load', false, `${TEXT} (got false)`],
    ['update', undefined, `${ALIVE} (got undefined)`],
    ['update', Promise.resolve(), `${ALIVE} (got undefined)`],
  ])('%s() returns %o makes an error that names the method', async (method, value, message) => {
    const browser = new Browser({ store: returning(method, value) })
    expect(await browser.run(count)).toBe('{"visits":1}')
    expect(await browser.run(count)).toMatch(/^500/)
    expect(browser.errors).toContain(message)
  })
})
