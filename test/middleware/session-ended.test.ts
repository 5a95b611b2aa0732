/** A session that has ended stays ended, whatever requests with its id are still running. */
import { EventEmitter, once } from 'node:events'
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { Keyv } from 'keyv'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ConfigurationError } from '../../src/errors.ts'
import {
  FileStore,
  KeyvStore,
  MemoryStore,
  type Session,
  session,
  type SessionStore,
} from '../../src/exports/middleware.ts'
import { valuesOf } from '../../src/response/cgi-response.ts'
import type { Application } from '../../src/types.ts'
import { OK } from '../validate/harness.ts'
import { runCgi, valueOf } from './gateways.ts'

const secret = 'a secret of 32 characters at least'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'portico-ended-'))
})
afterEach(() => rmSync(directory, { recursive: true }))

/** A store without `update`. */
function withoutUpdate(): SessionStore {
  const store = new MemoryStore()
  return {
    load: (id) => store.load(id),
    save: (id, data, expires) => store.save(id, data, expires),
    remove: (id) => store.remove(id),
  }
}

const stores: [name: string, make: () => SessionStore][] = [
  ['MemoryStore', () => new MemoryStore()],
  ['FileStore', () => new FileStore(join(directory, 'sessions'))],
  ['KeyvStore over an adapter without atomic commands', () => new KeyvStore(new Keyv())],
  ['a store without update()', withoutUpdate],
  ['a store that returns null and 0', withNumbers],
]

type Action = (current: Session) => void

const show: Action = () => {}
const ends: [name: string, end: Action][] = [
  ['destroy()', (current) => current.destroy()],
  ['regenerate()', (current) => current.regenerate()],
  ['deleting all data', ({ data }) => void delete data['user']],
]
/** What a late request does to the session: before its head, or after. */
const lates: [name: string, before: Action, after: Action][] = [
  ['changes data', ({ data }) => void (data['seen'] = 1), show],
  ['changes data after the head', show, ({ data }) => void (data['seen'] = 1)],
  ['calls regenerate()', (current) => current.regenerate(), show],
  ['deletes all data', ({ data }) => void delete data['user'], show],
]

/** As clients of Redis and of SQL respond: null for nothing, and the number of rows. */
function withNumbers(): SessionStore {
  const store = new MemoryStore()
  return {
    load: (id) => store.load(id) ?? (null as unknown as undefined),
    save: (id, data, expires) => store.save(id, data, expires),
    remove: (id) => Number(store.remove(id)) as unknown as boolean,
  }
}

describe.each(stores)('%s', (_store, make) => {
  let store: SessionStore
  beforeEach(() => {
    store = make()
  })

  async function ask(cookie: string, before: Action, after = show, wait?: () => Promise<unknown>) {
    const app: Application = async function* (environ, startResponse) {
      const current = environ['portico.session']
      await wait?.()
      before(current)
      startResponse(OK, [])
      yield JSON.stringify(current.data)
      after(current)
    }
    const headers: [string, string][] = cookie === '' ? [] : [['Cookie', cookie]]
    const response = await runCgi(session(app, { secret, store }), { target: '/', headers })
    const [set] = valuesOf(response.headers, 'Set-Cookie')
    return { body: String(response.body), set, cookie: set?.split(';')[0], errors: response.errors }
  }

  const matrix = ends.flatMap(([end, endIt]) =>
    lates.map(([late, ...actions]) => ({ end, late, endIt, actions })),
  )

  it.each(matrix)(
    'does not restore a session that ended by $end while a request $late',
    async ({ endIt, actions: [before, after] }) => {
      const { cookie = '' } = await ask('', ({ data }) => void (data['user'] = 'ada'))
      const gate = new EventEmitter()
      const loaded = once(gate, 'wait')
      const late = ask(cookie, before, after, () => {
        gate.emit('wait')
        return once(gate, 'open')
      })
      await loaded
      await ask(cookie, endIt)
      gate.emit('open')
      const { set, errors } = await late
      expect(set).toBeUndefined()
      expect(errors).toContain('session: the session was ended while this request was running')
      expect((await ask(cookie, show)).body).toBe('{}')
    },
  )

  it('lets destroy() end a session that has been saved with the head', async () => {
    const { cookie = '' } = await ask('', ({ data }) => void (data['user'] = 'ada'))
    await ask(
      cookie,
      ({ data }) => void (data['n'] = 1),
      (current) => current.destroy(),
    )
    expect((await ask(cookie, show)).body).toBe('{}')
  })

  it('aborts a response whose body calls regenerate()', async () => {
    const { cookie = '' } = await ask('', ({ data }) => void (data['user'] = 'ada'))
    const { errors } = await ask(cookie, show, (current) => current.regenerate())
    expect(errors).toContain('regenerate() was called after the head')
  })

  it('reports from update() and remove() whether there was a session', async () => {
    const later = Date.now() + 60_000
    expect(await store.update?.('a', '{}', later)).toBeFalsy()
    expect(await store.remove('a')).toBeOneOf([false, 0])
    expect(await store.load('a')).toBeOneOf([undefined, null])
    await store.save('a', '{}', later)
    expect(await store.update?.('a', '{"x":1}', later)).not.toBe(false)
    const removals = await Promise.all([store.remove('a'), store.remove('a')])
    expect(removals.filter(Boolean)).toHaveLength(1)
  })
})

it('MemoryStore drops sessions without a second request before others', () => {
  const store = new MemoryStore(3)
  const later = Date.now() + 60_000
  store.save('user', '{}', later)
  store.load('user')
  for (let i = 0; i < 100; i += 1) store.save(`bot${i}`, '{}', later)
  expect([store.size, store.load('user'), store.load('bot99')]).toEqual([3, '{}', '{}'])
})

const root = process.getuid?.() === 0
it.each<[what: string, prepare: (path: string) => void, isOwn: boolean]>([
  ['of mode 0777', (path) => chmodSync(path, 0o777), false],
  ['of mode 0770', (path) => chmodSync(path, 0o770), false],
  [
    'that is a link to one of mode 0777',
    (path) => {
      renameSync(path, `${path}.real`)
      chmodSync(`${path}.real`, 0o777)
      symlinkSync(`${path}.real`, path)
    },
    false,
  ],
  ['of mode 0755', (path) => chmodSync(path, 0o755), true],
  ...(root
    ? ([['of another user', (path) => chownSync(path, 65_534, 65_534), false]] as [
        string,
        (path: string) => void,
        boolean,
      ][])
    : []),
])('FileStore decides whether to use a directory %s', async (_what, prepare, isOwn) => {
  const path = join(directory, 'own')
  mkdirSync(path, { mode: 0o700 })
  prepare(path)
  const store = new FileStore(path)
  for (const use of [
    () => store.load('a'),
    () => store.save('a', '{}', Date.now() + 1000),
    () => store.update('a', '{}', Date.now() + 1000),
    () => store.remove('a'),
    () => store.purge(),
  ]) {
    if (isOwn) await use()
    else await expect(use()).rejects.toThrow(ConfigurationError)
  }
})

const set: Application = ({ 'portico.session': { data } }, startResponse) => {
  data['user'] = 'ada'
  startResponse(OK, [['Vary', 'Accept']])
  return []
}

describe('The cookie of session', () => {
  it.each([
    ['/@admin', '/@admin'],
    ['/a+b', '/a+b'],
    ['/v1:beta', '/v1:beta'],
    ['/x(1)', '/x(1)'],
    ["/o'k,a=b&c$d*e!", "/o'k,a=b&c$d*e!"],
    ['/[a]|b', '/[a]|b'],
    ['/~u', '/~u'],
    ['/caf\xc3\xa9', '/caf%C3%A9'],
    ['/a b%"<>`{}', '/a%20b%25%22%3C%3E%60%7B%7D'],
    ['/a;b', '/'],
    ['/a/b;c/d', '/a'],
  ])('has for SCRIPT_NAME %s the path %s, as browsers spell it', async (SCRIPT_NAME, path) => {
    const response = await runCgi(session(set, { secret }), '/', { SCRIPT_NAME })
    expect(valueOf(response, 'Set-Cookie')).toContain(`; Path=${path};`)
  })

  it.each([
    ['/%40admin/x', '/@admin', '/x', '/%40admin'],
    ['/%7Eu?q', '/~u', '', '/%7Eu'],
    ['/%5ba%5D|b/', '/[a]|b', '/', '/%5ba%5D|b'],
    ['/a%3Bb/', '/a;b', '/', '/a%3Bb'],
    ['/a;b/', '/a;b', '/', '/'],
    ['/%78/', '/a b/x', '/', '/a%20b/%78'],
    ['/rewritten', '/[a]', '/', '/[a]'],
  ])(
    'has for the request target %s, with SCRIPT_NAME %s and PATH_INFO %s, the path %s',
    async (REQUEST_URI, SCRIPT_NAME, PATH_INFO, path) => {
      const variables = { REQUEST_URI, SCRIPT_NAME, PATH_INFO }
      const response = await runCgi(session(set, { secret }), '/', variables)
      expect(valueOf(response, 'Set-Cookie')).toContain(`; Path=${path};`)
    },
  )

  it.each<[options: object, attributes: string]>([
    [{ sameSite: 'None' }, 'SameSite=None; Secure'],
    [{ secure: true }, 'SameSite=Lax; Secure'],
    [{ sameSite: 'Strict' }, 'SameSite=Strict'],
    [{ name: '__Secure-id' }, 'SameSite=Lax; Secure'],
    [{ name: '__Host-id' }, 'SameSite=Lax; Secure'],
  ])('has with %j the attributes %s over http', async (options, attributes) => {
    const response = await runCgi(session(set, { secret, ...options }), '/', { SCRIPT_NAME: '/a' })
    expect(valueOf(response, 'Set-Cookie')).toMatch(new RegExp(`HttpOnly; ${attributes}$`))
    if ('name' in options && options.name === '__Host-id') {
      expect(valueOf(response, 'Set-Cookie')).toContain('; Path=/;')
    }
  })

  it('is Secure over https, unless secure is false', async () => {
    const https = { HTTPS: 'on' }
    const get = async (options: object) =>
      valueOf(await runCgi(session(set, { secret, ...options }), '/', https), 'Set-Cookie')
    expect(await get({})).toMatch(/; Secure$/)
    expect(await get({ secure: false })).not.toContain('Secure')
  })

  it.each([
    { sameSite: 'lax' },
    { sameSite: 'bogus; Domain=evil' },
    { sameSite: 'None', secure: false },
    { secure: 1 },
    { name: '__Host-id', path: '/a' },
    { name: '__Host-id', domain: 'a.example' },
    { name: '__Secure-id', secure: false },
    { store: {} },
    { maxage: 5 },
  ])('refuses the options %j', (options) => {
    expect(() => session(set, { secret, ...(options as object) })).toThrow(ConfigurationError)
  })
})

const using =
  (use: Action): Application =>
  (environ, startResponse) => {
    use(environ['portico.session'])
    startResponse(OK, [])
    return []
  }

describe('The Vary header of session', () => {
  it.each<[what: string, app: Application, vary: string | undefined]>([
    ['that is changed', set, 'Accept, Cookie'],
    ['that is read', using(({ data }) => void data['user']), 'Cookie'],
    ['that is searched', using(({ data }) => void Object.keys(data)), 'Cookie'],
    ['that is destroyed', using((current) => current.destroy()), 'Cookie'],
    ['that is not used', using(show), undefined],
  ])('is right for a session %s', async (_what, app, vary) => {
    expect(valueOf(await runCgi(session(app, { secret }), '/'), 'Vary')).toBe(vary)
  })
})
