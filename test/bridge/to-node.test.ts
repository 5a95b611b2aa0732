/** `toNode`: applications in a server of node:http. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import express from 'express'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { fromNode, toNode, type NodeListener } from '../../src/exports/node.ts'
import {
  httpRequest,
  openHttp,
  type HttpRequest,
  type HttpResponse,
} from '../../src/exports/testing.ts'
import type { Application } from '../../src/types.ts'
import { respond, turns } from './harness.ts'

let logged = ''
beforeEach(() => {
  logged = ''
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    logged += String(text)
    return true
  })
})
afterEach(() => vi.restoreAllMocks())

async function within<T>(
  listener: NodeListener,
  use: (bound: { port: number }) => Promise<T>,
): Promise<T> {
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  try {
    return await use({ port: (server.address() as AddressInfo).port })
  } finally {
    server.closeAllConnections()
    server.close()
  }
}

const ask = (listener: NodeListener, request: HttpRequest): Promise<HttpResponse> =>
  within(listener, (bound) => httpRequest(bound, request))

/** Responds with the variables that describe the path. */
const where: Application = (environ, startResponse) => {
  const { SCRIPT_NAME, PATH_INFO, QUERY_STRING } = environ
  startResponse('200 OK', [
    ['Content-Type', 'application/json'],
    ['Set-Cookie', 'a=1'],
    ['Set-Cookie', 'b=2'],
    ['X-Name', 'J\xfcrgen'],
  ])
  return [JSON.stringify([SCRIPT_NAME, PATH_INFO, QUERY_STRING, environ['REQUEST_URI']])]
}

const echo: Application = async (environ, startResponse) => {
  const body = await environ['wsgi.input'].read()
  startResponse('200 OK', [])
  return [body]
}

test.each([
  ['/app/x%20y?q', ['/app', '/x y', 'q', '/app/x%20y?q']],
  ['/app/', ['/app', '/', '', '/app/']],
  ['/app', ['/app', '', '', '/app']],
  ['/app?q', ['/app', '', 'q', '/app?q']],
  ['/deep/er/x', ['/deep/er', '/x', '', '/deep/er/x']],
])('toNode mounted in Express has SCRIPT_NAME and PATH_INFO for %s', async (target, result) => {
  const outer = express()
  const inner = express.Router()
  inner.use('/er', toNode(where))
  outer.use('/app', toNode(where))
  outer.use('/deep', inner)
  const response = await ask(outer, { target })
  expect(JSON.parse(String(response.body))).toEqual(result)
})

test('toNode keeps headers of the framework that the application does not set', async () => {
  const app = express()
  app.use((_: unknown, res: import('node:http').ServerResponse, next: () => void) => {
    res.setHeader('Content-Type', 'text/html')
    next()
  })
  app.use(toNode(where))
  const { headers } = await ask(app, { target: '/' })
  const own = headers.filter(([name]) => !/^(date|connection|keep-alive)$/i.test(name))
  expect(own).toEqual([
    ['X-Powered-By', 'Express'],
    ['Content-Type', 'application/json'],
    ['Set-Cookie', 'a=1'],
    ['Set-Cookie', 'b=2'],
    ['X-Name', 'J\xfcrgen'],
    ['Content-Length', '15'],
  ])
})

const varying: Application = (_, startResponse) => {
  startResponse('200 OK', [
    ['set-cookie', 'b=2'],
    ['Vary', 'Cookie, accept'],
  ])
  return []
}

test('toNode sends the cookies and the Vary of both the framework and the application', async () => {
  const app = express()
  app.use((_: unknown, res: express.Response, next: () => void) => {
    res.cookie('a', '1').vary('Origin').vary('Accept')
    next()
  })
  app.use(toNode(varying))
  const { headers } = await ask(app, { target: '/' })
  const own = headers.filter(([name]) => /^(?:set-cookie|vary)$/i.test(name))
  expect(own).toEqual([
    ['Set-Cookie', 'a=1; Path=/'],
    ['Set-Cookie', 'b=2'],
    ['Vary', 'Origin, Accept, Cookie'],
  ])
})

test('toNode takes the mount point from the option scriptName', async () => {
  const { body } = await ask(toNode(where, { scriptName: '/app' }), { target: '/app/x' })
  expect(JSON.parse(String(body))).toEqual(['/app', '/x', '', '/app/x'])
})

test('toNode passes on a body, and logs an error if a body parser has read it', async () => {
  const app = express()
  app.use('/first', toNode(echo))
  app.use(express.json())
  app.use('/later', toNode(echo))
  const request = {
    method: 'POST',
    headers: [['Content-Type', 'application/json']] as [string, string][],
    body: '{"a":1}',
  }
  expect(String((await ask(app, { ...request, target: '/first' })).body)).toBe('{"a":1}')
  expect((await ask(app, { ...request, target: '/later' })).status).toBe(500)
  expect(logged).toContain('toNode() has to come before body parsers')
  expect((await ask(app, { target: '/later' })).status).toBe(200)
})

const showEnviron: Application = (environ, startResponse) => {
  startResponse('200 OK', [])
  const names = ['REMOTE_USER', 'REMOTE_ADDR', 'SERVER_NAME', 'HTTPS', 'SCRIPT_NAME', 'HTTP_X_A']
  return [names.map((name) => String(environ[name])).join(' '), ` ${environ['wsgi.url_scheme']}`]
}

test('toNode below fromNode has the variables of the outer gateway', async () => {
  const app = express()
  app.use('/inner', toNode(showEnviron))
  const { out } = await respond(fromNode(app), {
    variables: {
      SCRIPT_NAME: '/outer',
      PATH_INFO: '/inner/x',
      REMOTE_USER: 'ada',
      REMOTE_ADDR: '192.0.2.7',
      SERVER_NAME: 'a.example',
      HTTPS: 'on',
      HTTP_X_A: '1',
    },
  })
  expect(out).toMatch(/\r\n\r\nada 192\.0\.2\.7 a\.example on \/outer\/inner 1 https$/)
})

test('toNode responds with the error page to each request that fails', async () => {
  const listener = toNode(() => {
    throw new Error('Boom')
  })
  await within(listener, async (bound) => {
    for (let i = 0; i < 2; i += 1) expect((await httpRequest(bound)).status).toBe(500)
  })
  expect(logged.match(/Error: Boom/g)).toHaveLength(2)
})

test('toNode closes the body when the client disconnects', async () => {
  const state = { closed: 0 }
  const endless: Application = (_, startResponse) => {
    startResponse('200 OK', [])
    return {
      async *[Symbol.asyncIterator]() {
        for (;;) {
          yield 'x'
          await turns(1)
        }
      },
      close: () => (state.closed += 1),
    }
  }
  await within(toNode(endless), async (bound) => {
    const connection = await openHttp(bound)
    await connection.stream()
    connection.close()
    while (state.closed === 0) await turns(1)
  })
  expect(state.closed).toBe(1)
})

test('toNode refuses null', () => {
  expect(() => toNode(null as never)).toThrow('An application is a function')
})

/** Breaks the contract: a body is not a string. */
const respondWithText: Application = (_, startResponse) => {
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  return 'text' as never
}

test.each([
  [true, 500],
  [false, 200],
])('toNode with validate: %s responds with %i to a broken contract', async (validate, status) => {
  const response = await ask(toNode(respondWithText, { validate }), { target: '/' })
  expect(response.status).toBe(status)
})
