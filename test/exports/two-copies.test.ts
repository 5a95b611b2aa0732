// oxlint-disable unicorn/consistent-function-scoping -- a test shows its whole case in one place
/**
 * Two installed copies of the package in one process, as npm makes them if two packages need
 * different versions: what one copy makes, the other one recognises.
 */
import { cp, mkdir, open, readFile, symlink } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { temporaryDirectory } from '../server/child.ts'
import type * as Forms from '../../src/exports/forms.ts'
import type * as Node from '../../src/exports/node.ts'
import type * as Fetch from '../../src/exports/fetch.ts'
import type * as Middleware from '../../src/exports/middleware.ts'
import type * as Portico from '../../src/exports/index.ts'
import type * as Testing from '../../src/exports/testing.ts'
import type * as Validate from '../../src/exports/validate.ts'
import type { Application, Environ } from '../../src/types.ts'

interface Copy {
  readonly portico: typeof Portico
  readonly forms: typeof Forms
  readonly node: typeof Node
  readonly fetch: typeof Fetch
  readonly middleware: typeof Middleware
  readonly testing: typeof Testing
  readonly validate: typeof Validate
}

const directory = temporaryDirectory()
let inner: Copy
let outer: Copy

async function install(name: string): Promise<Copy> {
  const modules = join(directory.path, name, 'node_modules')
  const home = join(modules, 'portico')
  await mkdir(home, { recursive: true })
  await cp('dist/', join(home, 'dist'), { recursive: true })
  await cp('package.json', join(home, 'package.json'))
  const manifest = JSON.parse(await readFile('package.json', 'utf8')) as {
    dependencies: Record<string, string>
  }
  for (const dependency of Object.keys(manifest.dependencies)) {
    await symlink(resolve('node_modules', dependency), join(modules, dependency))
  }
  const load = (path: string): Promise<unknown> =>
    import(/* @vite-ignore */ pathToFileURL(join(home, `dist/src/exports/${path}.js`)).href)
  const names = ['portico', 'forms', 'node', 'fetch', 'middleware', 'testing', 'validate']
  const loaded = await Promise.all(names.map((each) => load(each === 'portico' ? 'index' : each)))
  return Object.fromEntries(names.map((each, index) => [each, loaded[index]])) as unknown as Copy
}

beforeAll(async () => {
  inner = await install('a')
  outer = await install('b')
  vi.spyOn(process.stderr, 'write').mockReturnValue(true)
})

afterAll(() => {
  vi.restoreAllMocks()
  directory.remove()
})

const TEXT: [string, string][] = [['Content-Type', 'text/plain']]
const FORM = { 'Content-Type': 'application/x-www-form-urlencoded' }

/** The status and body of `application` of one copy, served over HTTP by the other one. */
async function served(application: unknown, body?: string, path = '/'): Promise<[number, string]> {
  const handler = new outer.portico.HTTPHandler({ listen: 0 })
  const server = await handler.run(application as Application)
  try {
    const form = body === undefined ? {} : { method: 'POST', body, headers: FORM }
    const response = await fetch(new URL(path, server.url), form)
    return [response.status, await response.text()]
  } finally {
    await server.close({ timeout: 100 })
  }
}

describe('Of two copies of the package', () => {
  test('no class of one is a class of the other', () => {
    expect(inner.portico.PeerError).not.toBe(outer.portico.PeerError)
    expect(inner.forms.FieldStorage).not.toBe(outer.forms.FieldStorage)
  })

  test.each(['ApplicationError', 'PeerError', 'ConfigurationError', 'PorticoError'] as const)(
    'each recognises the errors of the other by %s, with their code',
    (name) => {
      const made = [
        new inner.portico.ApplicationError('x', 'PORTICO_INVALID_STATUS'),
        new inner.portico.PeerError('PORTICO_TOO_LARGE', 'x', '413 Content Too Large'),
        new inner.portico.ConfigurationError('x'),
      ]
      const expected = made.map((error) => error instanceof inner.portico[name])
      expect(made.map((error) => error instanceof outer.portico[name])).toEqual(expected)
      expect(made.map(({ code }) => code)).toEqual([
        'PORTICO_INVALID_STATUS',
        'PORTICO_TOO_LARGE',
        'PORTICO_CONFIGURATION',
      ])
    },
  )

  test('a form over the limit of one is a 413 where the other serves it', async () => {
    const application: Application = async (environ, startResponse) => {
      await inner.forms.FieldStorage.parse(environ, { maxTotalSize: 3 })
      startResponse('200 OK', TEXT)
      return ['ok']
    }
    expect(await served(application, 'a=12345678')).toEqual([413, 'Content Too Large\n'])
  })

  test('a form that one has parsed is the form that the other gets', async () => {
    const application: Application = async (environ, startResponse) => {
      const first = await inner.forms.FieldStorage.parse(environ)
      const second = await outer.forms.FieldStorage.parse(environ)
      startResponse('200 OK', TEXT)
      return [JSON.stringify([first.getfirst('a'), second.getfirst('a')])]
    }
    expect(await served(application, 'a=1')).toEqual([200, '["1","1"]'])
  })

  test('a listener and a fetch handler that one has adapted run in the other', async () => {
    const listener = inner.node.fromNode((request, response) => {
      const { environ } = request as { environ?: Environ }
      response.end(`${environ?.PATH_INFO} ${String(environ?.['portico.gateway'])}`)
    })
    expect(await served(listener, undefined, '/x')).toEqual([200, '/x http'])
    const handler = inner.fetch.fromFetch((request: Request) => new Response(request.url))
    expect((await served(handler, undefined, '/y'))[1]).toMatch(/\/y$/)
  })

  test('the same listener comes back out of toNode of the other', () => {
    const listener: Node.NodeListener = (_, response) => void response.end()
    expect(outer.node.toNode(inner.node.fromNode(listener))).toBe(listener)
    const handler = () => new Response('x')
    expect(outer.fetch.toFetch(inner.fetch.fromFetch(handler))).toBe(handler)
  })

  test('a file of one is sent by the other with its length', async () => {
    const application: Application = async (_, startResponse) => {
      startResponse('200 OK', TEXT)
      return new inner.portico.FileWrapper(await open('LICENSE'))
    }
    const middleware = outer.middleware.ranges(application)
    const text = await readFile('LICENSE', 'utf8')
    expect(await served(application)).toEqual([200, text])
    expect(await served(middleware)).toEqual([200, text])
  })

  test('a session of one is seen below the other, and its middleware runs', async () => {
    const secret = 'a secret of at least 32 characters!!'
    const application = inner.middleware.session(
      (environ, startResponse) => {
        const { data } = environ['portico.session'] as { data: Record<string, unknown> }
        data['n'] = 1
        startResponse('200 OK', TEXT)
        return [JSON.stringify(data)]
      },
      { secret },
    )
    expect(await served(outer.middleware.accessLog(application, { write: () => {} }))).toEqual([
      200,
      '{"n":1}',
    ])
  })

  test("one's validator accepts the environ of the other", async () => {
    const application: Application = (environ, startResponse) => {
      startResponse('200 OK', TEXT)
      return [environ.PATH_INFO]
    }
    const checked = inner.validate.validator(outer.validate.validator(application))
    expect(await served(checked, undefined, '/v')).toEqual([200, '/v'])
    const response = await new outer.testing.TestApp(checked).get('/v')
    expect(response.status).toBe('200 OK')
  })

  test('an Express-like listener of node:http below middleware of one has the environ of the other', async () => {
    const application = inner.middleware.mount({
      '/m': outer.node.fromNode((request, response) => {
        const { environ } = request as unknown as { environ: Environ }
        response.end(`${environ.SCRIPT_NAME} ${environ.PATH_INFO}`)
      }),
    })
    expect(await served(application, undefined, '/m/x')).toEqual([200, '/m /x'])
  })
})
