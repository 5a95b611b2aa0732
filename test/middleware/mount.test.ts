/** `mount` and `cascade`: which application responds, and what it and the middleware outside see. */
import { describe, expect, it } from 'vitest'
import { ConfigurationError } from '../../src/errors.ts'
import { accessLog, cascade, mount } from '../../src/exports/middleware.ts'
import type { Application, Environ, StartResponse } from '../../src/types.ts'
import { OK, PLAIN } from '../validate/harness.ts'
import { brief, GATEWAYS, runCgi, through } from './gateways.ts'

/** Responds with its name and the two paths. */
const naming =
  (name: string): Application =>
  ({ SCRIPT_NAME, PATH_INFO }, startResponse) => {
    startResponse(OK, PLAIN)
    return [`${name} ${SCRIPT_NAME}|${PATH_INFO}`]
  }

const map = mount({
  '/': naming('root'),
  '/foo': naming('foo'),
  '/foobar/': naming('foobar'),
  'http://bar.example.com/': naming('bar'),
  'https://bar.example.com/foo': naming('bar-foo'),
  'http://bar.example.com:8080/': naming('bar-8080'),
  '/grün': naming('green'),
})

describe('mount', () => {
  it.each<[host: string, path: string, expected: string]>([
    ['localhost', '/', 'root |/'],
    ['localhost', '/foo', 'foo /foo|'],
    ['localhost', '/foo/', 'foo /foo|/'],
    ['localhost', '/foo/bar', 'foo /foo|/bar'],
    ['localhost', '/foox', 'root |/foox'],
    ['localhost', '/foobar/baz', 'foobar /foobar|/baz'],
    ['localhost', '/foobar', 'foobar /foobar|'],
    ['localhost', '/FOO', 'root |/FOO'],
    ['localhost', '/gr%C3%BCn/x', 'green /gr\xc3\xbcn|/x'],
    ['bar.example.com', '/', 'bar |/'],
    ['BAR.example.com', '/x', 'bar |/x'],
    ['bar.example.com', '/foo/x', 'bar-foo /foo|/x'],
    ['bar.example.com:81', '/', 'bar |/'],
    ['bar.example.com:8080', '/foo', 'bar-8080 |/foo'],
    ['xbar.example.com', '/', 'root |/'],
  ])('runs for %s%s the application %s', async (host, target, expected) => {
    const { body } = await runCgi(map, { target, headers: [['Host', host]] })
    expect(body.toString('utf8')).toBe(Buffer.from(expected).toString())
  })

  it.each(GATEWAYS)('adds to its own mount point, over %s', async (gateway) => {
    const nested = mount({ '/a': mount({ '/b': naming('b') }) })
    await through(gateway, nested, async (ask) => {
      expect(brief(await ask('/a/b/c'))).toEqual([OK, 'b /a/b|/c'])
      expect(brief(await ask('/a/x'))).toEqual(['404 Not Found', 'Not Found\n'])
      expect(brief(await ask('/'))).toEqual(['404 Not Found', 'Not Found\n'])
    })
  })

  it.each<[host: string | undefined, server: string, application: string]>([
    ['blog.example', 'bar.example.com', 'root |/x'],
    ['other.example', 'bar.example.com', 'root |/x'],
    ['bar.example.com', 'other.example', 'bar |/x'],
    ['bar.example.com.', 'other.example', 'bar |/x'],
    ['BAR.example.com.:8080', 'other.example', 'bar-8080 |/x'],
    ['', 'bar.example.com', 'bar |/x'],
    [undefined, 'bar.example.com', 'bar |/x'],
  ])(
    'uses Host %j, and SERVER_NAME %j only if that is empty or absent',
    async (HTTP_HOST, SERVER_NAME, application) => {
      expect(brief(await runCgi(map, '/x', { HTTP_HOST, SERVER_NAME }))).toEqual([OK, application])
    },
  )

  it.each<[key: string, host: string]>([
    ['http://bücher.example/', 'xn--bcher-kva.example'],
    ['https://BÜCHER.example:8443/', 'xn--bcher-kva.example:8443'],
    ['http://[0:0:0:0:0:0:0:1]/', '[::1]:8080'],
    ['http://[::FFFF:7F00:1]:80/', '[::ffff:7f00:1]'],
  ])('finds the host of the key %s by Host: %s', async (key, HTTP_HOST) => {
    const app = mount({ [key]: naming('it'), '/': naming('root') })
    expect(brief(await runCgi(app, '/', { HTTP_HOST }))[1]).toBe('it |/')
  })

  it('uses the default port of the scheme for a Host without a port', async () => {
    const app = mount({
      'http://a.example:80/': naming('80'),
      'http://a.example:443/': naming('443'),
    })
    const ask = async (HTTP_HOST: string, variables: object) =>
      brief(await runCgi(app, '/', { HTTP_HOST, ...variables }))[1]
    for (const host of ['a.example', 'a.example:', 'A.example.:']) {
      const both = [await ask(host, {}), await ask(host, { HTTPS: 'on' })]
      expect(both).toEqual(['80 |/', '443 |/'])
    }
  })

  it('uses SERVER_NAME if there is no Host', async () => {
    const variables = { HTTP_HOST: undefined, SERVER_NAME: 'bar.example.com' }
    expect(brief(await runCgi(map, '/x', variables))).toEqual([OK, 'bar |/x'])
  })

  it.each<[what: string, app: Application]>([
    ['an array', (_environ, startResponse) => (startResponse(OK, PLAIN), ['x'])],
    [
      'a generator',
      function* (_environ, startResponse) {
        startResponse(OK, PLAIN)
        yield 'x'
      },
    ],
    ['a promise', async (_environ, startResponse) => (startResponse(OK, PLAIN), ['x'])],
    [
      'an application that throws',
      () => {
        throw new Error('broken')
      },
    ],
    ['an application that rejects', () => Promise.reject(new Error('broken'))],
    [
      'a body that fails to close',
      (_environ, startResponse) => {
        startResponse(OK, PLAIN)
        return Object.assign(['x'], { close: () => Promise.reject(new Error('broken')) })
      },
    ],
  ])('restores the paths, and nothing else, after %s', async (_what, app) => {
    const lines: string[] = []
    const inner: Application = (environ, startResponse) => {
      expect([environ.SCRIPT_NAME, environ.PATH_INFO]).toEqual(['/app', '/x'])
      environ['REMOTE_USER'] = 'ada'
      return app(environ, startResponse)
    }
    const logged = accessLog(mount({ '/app': inner }), {
      format: '%u %{SCRIPT_NAME}e|%{PATH_INFO}e',
      write: (line) => lines.push(line),
    })
    await runCgi(asFastcgi(logged), '/app/x')
    expect(lines).toEqual(['ada -|/app/x\n'])
  })

  it('keeps the paths shifted while the body is sent', async () => {
    const paths: string[] = []
    const app = async function* (environ: Environ, startResponse: StartResponse) {
      startResponse(OK, PLAIN)
      yield 'a'
      paths.push(environ.SCRIPT_NAME)
      yield 'b'
    }
    await runCgi(mount({ '/app': app }), '/app')
    expect(paths).toEqual(['/app'])
  })

  it.each([
    '',
    'foo',
    'http://',
    'http:///x',
    'ftp://host/',
    '/x?y',
    'http://a b/',
    '/x#y',
    'http://[::x]/',
    'http://a%zz/',
  ])('refuses the key %j', (key) => {
    expect(() => mount({ [key]: naming('x') })).toThrow(ConfigurationError)
  })

  it('takes linear time for a path of slashes', async () => {
    const target = `/${'/'.repeat(60_000)}`
    const many = mount(
      Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`/${i}`, naming('')])),
    )
    const variables = { PATH_INFO: target, REQUEST_URI: undefined }
    expect((await runCgi(many, '/', variables)).status).toBe('404 Not Found')
  })
})

/** The access log is silent under CGI. */
function asFastcgi(app: Application): Application {
  return (environ, startResponse) => {
    environ['portico.gateway'] = 'fastcgi'
    return app(environ, startResponse)
  }
}

const expected =
  (status: string, text: string, log: string[] = []): Application =>
  (_environ, startResponse) => {
    log.push(text)
    startResponse(status, [['X-From', text]])
    return Object.assign([text], { close: () => void log.push(`${text} closed`) })
  }

describe('cascade', () => {
  it.each<[statuses: string[], options: object | undefined, outcome: string]>([
    [['200 OK', '200 OK'], undefined, '200 OK 0'],
    [['404 Not Found', '200 OK'], undefined, '200 OK 1'],
    [['405 No', '404 Not Found', '403 Forbidden', '200 OK'], undefined, '403 Forbidden 2'],
    [['404 Not Found', '404 Gone too'], undefined, '404 Gone too 1'],
    [['500 Oops', '200 OK'], undefined, '500 Oops 0'],
    [['500 Oops', '404 Not Found', '200 OK'], { catch: [500] }, '404 Not Found 1'],
    [[], undefined, '404 Not Found Not Found\n'],
  ])('of %j with %j responds with %s', async (statuses, options, outcome) => {
    const apps = statuses.map((status, index) => expected(status, String(index)))
    const { status, body } = await runCgi(cascade(apps, options), '/')
    expect(`${status} ${String(body)}`).toBe(outcome)
  })

  it('closes an unused body before it calls the next application', async () => {
    const log: string[] = []
    const apps = [
      expected('404 Not Found', 'a', log),
      expected('404 No', 'b', log),
      expected(OK, 'c', log),
    ]
    await runCgi(cascade(apps), '/')
    expect(log).toEqual(['a', 'a closed', 'b', 'b closed', 'c', 'c closed'])
  })

  const missing: [what: string, app: Application][] = [
    [
      'a generator',
      function* (_environ, startResponse) {
        startResponse('404 Not Found', PLAIN)
        yield 'lost'
      },
    ],
    [
      'an async generator',
      async function* (_environ, startResponse) {
        startResponse('404 Not Found', PLAIN)
        yield 'lost'
      },
    ],
    [
      'write()',
      async (_environ, startResponse) => {
        await startResponse('404 Not Found', PLAIN)('lost')
        return ['lost']
      },
    ],
    [
      'a promise',
      async (_environ, startResponse) => {
        startResponse('404 Not Found', PLAIN)
        return ['lost']
      },
    ],
  ]
  describe.each(GATEWAYS)('over %s', (gateway) => {
    it.each(missing)(
      'calls the next application after a 404 from %s, whatever kind that is',
      async (_what, app) => {
        for (const next of [
          expected(OK, 'found'),
          async (...request: Parameters<Application>) => expected(OK, 'found')(...request),
        ] as Application[]) {
          const response = await through(gateway, cascade([app, next]), (ask) => ask('/'))
          expect(brief(response)).toEqual([OK, 'found'])
          expect(response.headers.filter(([name]) => /x-from|content-type/i.test(name))).toEqual([
            ['X-From', 'found'],
          ])
        }
      },
    )
  })

  it('gives each application the same paths', async () => {
    const paths: string[] = []
    const look: Application = ({ SCRIPT_NAME, PATH_INFO }, startResponse) => {
      paths.push(`${SCRIPT_NAME}|${PATH_INFO}`)
      startResponse('404 Not Found', PLAIN)
      return []
    }
    await runCgi(cascade([mount({ '/a': look }), look]), '/a/b')
    expect(paths).toEqual(['/a|/b', '|/a/b'])
  })
})
