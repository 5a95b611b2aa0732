/**
 * The scripts of cgi-bin/ as users run them: the directory is copied into Apache's cgi-bin, and each
 * feature of each script gets a request. The same table then runs over HTTP and behind nginx.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { cp, mkdir, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import { HTTPHandler } from '../../handlers/http.ts'
import { toApplication, type Runnable } from '../../src/application/to-application.ts'
import type { GatewayServer } from '../../src/server/gateway-server.ts'
import { valuesOf } from '../../src/response/cgi-response.ts'
import { httpRequest } from '../../src/testing/raw-http-client.ts'
import type { Application } from '../../src/types.ts'
import { startApache } from '../servers/apache.ts'
import { startNginx } from '../servers/nginx.ts'
import { installed, makeDirectory, openSocket, type WebServer } from '../servers/process.ts'

const require = createRequire(import.meta.url)

const FORM = 'application/x-www-form-urlencoded'

interface Question {
  name: string
  script: string
  target?: string
  method?: string
  body?: string
  chunks?: string[]
  type?: string
  status: number
  contains?: string | RegExp
  /** Where it sends the browser, below the script. */
  location?: string
  length?: number
}

const nodeSize = (await stat(process.execPath)).size

const QUESTIONS: Question[] = [
  { name: 'hello.cgi says hello', script: 'hello', status: 200, contains: 'Hello, world!' },
  {
    name: 'environ.cgi shows the environ as an escaped table',
    script: 'environ',
    target: '/a%20b?x=%3Cb%3E&y=<i>',
    status: 200,
    contains: /PATH_INFO[^]*\/a b[^]*QUERY_STRING[^]*x=%3Cb%3E&amp;y=&lt;i&gt;/,
  },
  { name: 'the form asks for a name', script: 'form', status: 200, contains: '<form' },
  {
    name: 'the form greets by POST',
    script: 'form',
    method: 'POST',
    type: FORM,
    body: 'name=Zo%C3%AB+%3Cb%3E',
    status: 200,
    contains: 'Zoë &lt;b&gt;',
  },
  {
    name: 'the form accepts a body in chunks',
    script: 'form',
    method: 'POST',
    type: FORM,
    chunks: ['name=Zo', '%C3%AB'],
    status: 200,
    contains: 'Zoë',
  },
  { name: 'the form refuses PUT', script: 'form', method: 'PUT', body: 'x', status: 405 },
  {
    name: 'the form refuses JSON',
    script: 'form',
    method: 'POST',
    type: 'application/json',
    body: '{}',
    status: 415,
  },
  {
    name: 'the form refuses a body that is too long',
    script: 'form',
    method: 'POST',
    type: FORM,
    body: `name=${'x'.repeat(10_000)}`,
    status: 413,
  },
  {
    name: 'base64 has a front page',
    script: 'base64',
    target: '/',
    status: 200,
    contains: '<form',
  },
  {
    name: 'base64 encodes UTF-8',
    script: 'base64',
    target: '/encode?mystring=Zo%C3%AB',
    status: 200,
    contains: 'Wm/Dqw==',
  },
  { name: 'base64 requires a string', script: 'base64', target: '/encode', status: 400 },
  {
    name: 'base64 ignores additional parameters such as utm_source',
    script: 'base64',
    target: '/?a=b',
    status: 200,
    contains: '<form',
  },
  {
    name: 'base64 refuses POST',
    script: 'base64',
    target: '/',
    method: 'POST',
    body: 'x',
    status: 400,
  },
  {
    name: 'base64 responds with a 404 to an unknown path',
    script: 'base64',
    target: '/other',
    status: 404,
  },
  ...['express', 'hono'].flatMap((script): Question[] => [
    {
      name: `${script} sends its form to itself`,
      script,
      target: '/',
      status: 200,
      contains: new RegExp(`action="(/cgi-bin)?/${script}(\\.cgi)?/greet"`),
    },
    {
      name: `${script} redirects by the path that the browser knows`,
      script,
      target: '/greet',
      method: 'POST',
      type: FORM,
      body: 'name=Zo%C3%AB+%3Cb%3E/c',
      status: 303,
      location: '/hello/Zo%C3%AB%20%3Cb%3E%2Fc',
    },
    {
      name: `${script} sees its path without the mount point`,
      script,
      target: '/hello/Zo%C3%AB?x=1',
      status: 200,
      // Hono decodes its paths.
      contains: new RegExp(
        `^{"hello":"Zoë","path":"/hello/Zo${script === 'hono' ? 'ë' : '%C3%AB'}","mount":"(/cgi-bin)?/${script}(\\.cgi)?","user":null}$`,
      ),
    },
    {
      name: `${script} requires a name`,
      script,
      target: '/greet',
      method: 'POST',
      type: FORM,
      body: 'nam=x',
      status: 400,
      contains: /^{"error":"The name is missing"}$/,
    },
    {
      name: `${script} responds with a 404 to an unknown path`,
      script,
      target: '/other',
      status: 404,
    },
  ]),
  {
    name: 'bigfile.cgi sends a large file completely',
    script: 'bigfile',
    status: 200,
    length: nodeSize,
  },
]

async function ask(port: number, base: string, question: Question): Promise<void> {
  const { target = '', method = 'GET', type, location } = question
  const body = question.body ?? question.chunks
  const response = await httpRequest(
    { host: '127.0.0.1', port },
    {
      method,
      target: base + target,
      headers: type === undefined ? [] : [['Content-Type', type]],
      ...(body === undefined ? {} : { body }),
    },
    { maxBody: 256 * 1024 * 1024 },
  )
  expect(response.status).toBe(question.status)
  if (location !== undefined) {
    expect(valuesOf(response.headers, 'Location')).toEqual([base + location])
  }
  if (question.length !== undefined) expect(response.body.length).toBe(question.length)
  if (typeof question.contains === 'string')
    expect(response.body.toString()).toContain(question.contains)
  else if (question.contains) expect(response.body.toString()).toMatch(question.contains)
}

/** One application that has each script's below its name, so that one server has them all. */
const everything: Application = async (environ, startResponse) => {
  const [, name = ''] = environ.PATH_INFO.split('/', 2)
  const { application } = await toApplication(require(`../../cgi-bin/${name}.cgi`) as Runnable)
  environ.SCRIPT_NAME += `/${name}`
  environ.PATH_INFO = environ.PATH_INFO.slice(name.length + 1)
  return application(environ, startResponse)
}

const apache = installed('apache2')

describe.skipIf(!apache.available)(`cgi-bin/ copied into Apache's cgi-bin${apache.hint}`, () => {
  let directory: string
  let server: WebServer

  beforeAll(async () => {
    directory = await makeDirectory()
    await cp('cgi-bin', directory, { recursive: true })
    // As npm would install them; links, since a copy would bring all that they need.
    await mkdir(join(directory, 'node_modules'))
    await symlink(resolve('.'), join(directory, 'node_modules/portico'))
    for (const name of ['express', 'hono']) {
      await symlink(resolve('node_modules', name), join(directory, 'node_modules', name))
    }
    server = await startApache({ cgiBin: directory })
  })
  afterAll(async () => {
    await server?.stop()
    await rm(directory, { recursive: true, force: true })
  })

  test.each(QUESTIONS)('$name', async (question) => {
    await ask(server.port, `/cgi-bin/${question.script}.cgi`, question)
  })

  test('writes nothing to the error log', async () => {
    expect(await server.errorLog()).not.toMatch(/cgid:|AH01215/)
  })
})

describe('The applications of cgi-bin/ over HTTP', () => {
  let server: GatewayServer
  beforeAll(async () => {
    server = await new HTTPHandler({ listen: 0 }).run(everything)
  })
  afterAll(() => server.close())

  test.each(QUESTIONS)('$name', async (question) => {
    if (server.address.kind !== 'tcp') throw new Error('no port')
    await ask(server.address.port, `/${question.script}`, question)
  })
})

const nginx = installed('nginx')

describe.skipIf(!nginx.available)(`The applications of cgi-bin/ behind nginx${nginx.hint}`, () => {
  let directory: string
  let server: GatewayServer
  let web: WebServer
  beforeAll(async () => {
    directory = await makeDirectory()
    const listen = `unix:${join(directory, 'app.sock')}`
    server = await new FastCGIHandler({ listen }).run(everything)
    await openSocket(join(directory, 'app.sock'))
    web = await startNginx({ mounts: [{ at: '/', to: listen, streaming: false }] })
  })
  afterAll(async () => {
    await web?.stop()
    await server?.close()
    await rm(directory, { recursive: true, force: true })
  })

  test.each(QUESTIONS)('$name', async (question) => {
    await ask(web.port, `/${question.script}`, question)
  })
})

test('The scripts of cgi-bin/ are complete, executable and CommonJS', async () => {
  const scripts = (await readdir('cgi-bin')).filter((name) => name.endsWith('.cgi')).toSorted()
  const all = ['base64', 'bigfile', 'environ', 'express', 'form', 'hello', 'hono']
  expect(scripts).toEqual(expect.arrayContaining(all.map((name) => `${name}.cgi`)))
  for (const script of scripts) {
    expect((await stat(join('cgi-bin', script))).mode & 0o111).toBe(0o111)
  }
  expect(require('../../cgi-bin/package.json')).toEqual({ type: 'commonjs' })
})

test('A script of cgi-bin/ run by hand prints the response that a web server would get', () => {
  const output = execFileSync(process.execPath, ['cgi-bin/hello.cgi'], { encoding: 'latin1' })
  expect(output).toBe(
    'Status: 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 14\r\n\r\n' +
      'Hello, world!\n',
  )
})

describe('In a copy of cgi-bin/', () => {
  let directory: string
  beforeAll(async () => {
    directory = await makeDirectory()
    await cp('cgi-bin', directory, { recursive: true })
  })
  afterAll(() => rm(directory, { recursive: true, force: true }))

  function runScript(name: string): { status: number | null; stdout: string; stderr: string } {
    const env = { PATH: process.env['PATH'] }
    return spawnSync(process.execPath, [join(directory, name)], { encoding: 'latin1', env })
  }

  test('a .cgi file beside "type": "commonjs" runs', () => {
    expect(runScript('hello.cgi')).toMatchObject({ status: 0, stderr: '' })
  })

  test('a .cgi file in a package of ES modules does not start', async () => {
    await writeFile(join(directory, 'package.json'), '{ "type": "module" }')
    const { status, stderr } = runScript('hello.cgi')
    expect(status).toBe(1)
    expect(stderr).toContain('ERR_UNKNOWN_FILE_EXTENSION')
  })

  test('an .mjs file is an ES module wherever it is, and may import portico/auto', async () => {
    await mkdir(join(directory, 'node_modules'))
    await symlink(resolve('.'), join(directory, 'node_modules/portico'))
    const source = (await readFile('examples/hello.mjs', 'utf8')).replace(
      "'portico'",
      "'portico/auto'",
    )
    await writeFile(join(directory, 'hello.mjs'), source)
    const { status, stdout } = spawnSync(process.execPath, [join(directory, 'hello.mjs')], {
      encoding: 'latin1',
      env: {
        PATH: process.env['PATH'],
        GATEWAY_INTERFACE: 'CGI/1.1',
        REQUEST_METHOD: 'GET',
      },
    })
    expect(status).toBe(0)
    expect(stdout).toMatch(/^Status: 200 OK\r\n/)
  })
})
