/** `recognise`: which framework an application belongs to, and what is refused. */
import { rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { runInThisContext } from 'node:vm'
import { expect, test } from 'vitest'
import { NodeFastCGIHandler } from '../../handlers/node-fastcgi.ts'
import { asApplication } from '../../src/application/detect.ts'
import { ConfigurationError } from '../../src/errors.ts'
import { toApplication, type Runnable } from '../../src/application/to-application.ts'
import { fastcgiClient } from '../../src/exports/testing.ts'
import type { Application } from '../../src/types.ts'
import { addressOf } from '../fixtures/gateways.ts'
import { runCgi } from '../middleware/gateways.ts'
import { makeDirectory } from '../servers/process.ts'
import { frameworks, loadExample } from './frameworks.ts'
import { respond } from './harness.ts'

const ours: Application = (_, startResponse) => {
  startResponse('200 OK', [])
  return ['ours']
}

class Ours {
  *[Symbol.iterator]() {
    yield 'ours'
  }
}

/** Connect, from which Express was derived, has no `set`. */
const connect = Object.assign(
  (_: unknown, res: { end(text: string): void }) => res.end('connect'),
  {
    handle: () => {},
    use: () => {},
    listen: () => {},
  },
)

const fetch = () => new Response('fetched')

/** itty-router's object returns a route for any property. */
const itty = new Proxy({ fetch }, { get: (it, name) => (name === 'fetch' ? it.fetch : () => {}) })

test.each<[string, unknown]>([
  ['itty-router', itty],
  ['Elysia', { fetch, handle: fetch, use: () => {}, listen: () => {} }],
])('recognise() detects a Fetch API application: %s', async (_, candidate) => {
  const { application, description } = await toApplication(candidate as Runnable)
  expect(description).toBe('an application of the Fetch API')
  expect((await respond(application)).out).toMatch(/\r\n\r\nfetched$/)
})

test.each<[string, unknown]>([
  ['an application', ours],
  ['an application', Ours],
  ['a Connect application', connect],
  ['an http.Server', createServer((_, res) => res.end())],
  ['an application of the Fetch API', { fetch: () => new Response() }],
])('recognise() describes %s and runs it', async (description, candidate) => {
  expect(await toApplication(candidate as Runnable)).toMatchObject({ description })
})

const KINDS = {
  Express: 'an Express application',
  Koa: 'a Koa application',
  Fastify: 'a Fastify instance',
  Hono: 'an application of the Fetch API',
}

test.each(frameworks)('recognise() adapts the $name example', async ({ name, file }) => {
  const app = await loadExample(file)
  const { application, description } = await toApplication(app)
  expect(description).toBe(KINDS[name])
  expect((await respond(application)).out).toContain(`Hello from ${name}!`)
  // The CGI script's one file has no bridge in it, and says which is missing.
  const [bridge, module] = name === 'Hono' ? ['fromFetch', 'fetch'] : ['fromNode', 'node']
  expect(() => asApplication(app as Application)).toThrow(
    `This is ${description}: run ${bridge}(it), with ${bridge} from 'portico/${module}', or use run()`,
  )
})

test.each(frameworks)('SimpleHandler runs the adapted $name example', async ({ name, file }) => {
  const { body, errors } = await runCgi((await loadExample(file)) as Application, '/')
  expect(errors).toBe('')
  expect(String(body)).toContain(`Hello from ${name}!`)
})

test('NodeFastCGIHandler runs an application of a framework', async () => {
  const directory = await makeDirectory()
  const handler = new NodeFastCGIHandler({ listen: `unix:${join(directory, 'app.sock')}` })
  const server = await handler.run(await loadExample('express.mjs'))
  const client = fastcgiClient(addressOf(server))
  expect(String((await client.request({ target: '/' })).body)).toContain('Hello from Express!')
  await client.close()
  await server.close()
  await rm(directory, { recursive: true })
})

test.each([[null], [undefined], [42], ['text'], [{}], [{ fetch: 1 }], [[]]])(
  'recognise() refuses %j',
  async (candidate) => {
    await expect(toApplication(candidate as never)).rejects.toThrow(
      /^An application is a function .*, a generator function, a class, .* of Express, Connect, Koa or Fastify, an http\.Server, or an object with fetch\(\); this is /,
    )
  },
)

// As text, because a build may rename parameters, by whose names a listener is recognised.
const evaluate = (source: string) => runInThisContext(`(${source})`) as Runnable

test.each([
  "(req, res) => res.end('hello')",
  '(request, response) => response.writeHead(200).end()',
  'async (req, res) => { res.statusCode = 204; res.end() }',
  '(_req, res) => { res.end() }',
  '{ handler(req, res) { res.end() } }.handler',
])('recognise() takes a listener of node:http that uses its response: %s', async (source) => {
  expect(await toApplication(evaluate(source))).toMatchObject({
    description: 'a listener of node:http',
  })
})

test.each([
  'function (req, res, next) { next() }',
  'async function handler( req , res ) { await other(req, res) }',
  '(req, res) => other.call(null, req, res)',
  '(req, res) => other(req, res.bind(null))',
])('recognise() refuses what may be a listener and names fromNode: %s', async (source) => {
  await expect(toApplication(evaluate(source))).rejects.toThrow(
    new ConfigurationError(
      'This looks like a listener (req, res) of node:http: run fromNode(it), with fromNode from ' +
        "'portico/node'. An application has parameters (environ, startResponse) and calls the second",
    ),
  )
})

test.each([
  "(environ, startResponse) => { startResponse('200 OK', []); return [] }",
  '(environ, startResponse) => other(environ, startResponse)',
  "(req, res) => { res('200 OK', []); return [] }",
  "function* (request, response) { response ('200 OK', []); yield '' }",
  '(environ, res) => other(environ, res)',
  '() => (req, res) => res.end()',
  'class { constructor(req, res) { this.start = res } }',
  '((req, res) => res.end()).bind(null)',
])('recognise() accepts what may be an application: %s', async (source) => {
  expect(await toApplication(evaluate(source))).toMatchObject({ description: 'an application' })
})

test('recognise() returns an application unchanged', async () => {
  expect((await toApplication(ours)).application).toBe(ours)
})
