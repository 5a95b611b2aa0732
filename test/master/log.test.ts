/** `portico serve --log json`: every line is one JSON object. */
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { httpClient } from '../../src/testing/client-http.ts'
import { client, inDirectory, portico, statusOf, type Served } from './portico.ts'

const here = inDirectory()

const SOURCE = `
  process.once('exit', () => process.stderr.write('without an end'))
  export default async (environ, startResponse) => {
    const path = environ.PATH_INFO
    if (path === '/throw') throw new Error('thrown')
    if (path === '/block') while (true);
    if (path === '/late') setTimeout(() => { throw new Error('outside a request') })
    if (path === '/wait') await new Promise((resolve) => setTimeout(resolve, 600))
    if (path === '/write') {
      console.error('a line of the application')
      console.error('two lines\\n  the second is indented')
      console.error('{"level":30,"time":1,"msg":"of another logger"}')
      console.error(new Error('an inspected error', { cause: { code: 1 } }))
      environ['wsgi.errors'].write('to wsgi.errors\\n')
    }
    startResponse('200 OK', [['Content-Type', 'text/plain'], ['Content-Length', '2']])
    return ['ok']
  }`

type Entry = Readonly<Record<string, unknown>>

/** All lines so far. A line that is not JSON throws. */
async function entries(server: Served): Promise<Entry[]> {
  const output = await server.printed('')
  const lines = output.slice(0, output.lastIndexOf('\n') + 1).split('\n')
  return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as Entry)
}

async function entry(server: Served, message: RegExp): Promise<Entry> {
  const find = async () =>
    (await entries(server)).find((each) => message.test(String(each['message'])))
  await expect.poll(find).toBeDefined()
  return (await find())!
}

const TIME = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)

test('Each line of master, workers, access log and application is an object with time, level and message', async () => {
  const flags = [
    '--log',
    'json',
    '--access-log',
    'combined',
    '--slow',
    '300',
    '--block-timeout',
    '1500',
  ]
  const served = here.serve(flags, { source: SOURCE, gateway: 'http', workers: 1 })
  await served.printed('Serving')
  const { pid: master, processes } = await statusOf(served)
  const worker = processes[0]!.pid
  const one = httpClient({ path: served.socket })
  const get = (target: string) => one.request({ target, headers: [['Host', 'a']] })

  expect(await entry(served, /^Serving/)).toEqual({
    time: TIME,
    level: 'info',
    message: expect.stringContaining(served.file) as string,
    master,
  })

  await get('/write?query')
  expect(await entry(served, /^GET \/write/)).toMatchObject({
    time: TIME,
    level: 'info',
    message: 'GET /write?query 200',
    worker,
    method: 'GET',
    target: '/write?query',
    status: 200,
    bytes: 2,
    milliseconds: expect.any(Number) as number,
  })
  expect(await entry(served, /^a line of/)).toEqual({
    time: TIME,
    level: 'warn',
    message: 'a line of the application',
    worker,
  })
  expect(await entry(served, /^two lines/)).toMatchObject({
    message: 'two lines\n  the second is indented',
  })
  expect(await entry(served, /^Error: an inspected/)).toMatchObject({
    message: expect.stringMatching(/^Error: an inspected error\n {4}at [^]*cause[^]*\}$/) as string,
  })
  expect(await entries(served)).toContainEqual({ level: 30, time: 1, msg: 'of another logger' })
  expect(await entry(served, /^to wsgi/)).toMatchObject({ level: 'error', worker })

  await get('/throw')
  expect(await entry(served, /^GET \/throw: /)).toMatchObject({
    time: TIME,
    level: 'error',
    message: expect.stringContaining('Error: thrown\n') as string,
    worker,
    method: 'GET',
    path: '/throw',
  })

  await get('/wait')
  expect(await entry(served, /^slow/)).toMatchObject({
    time: TIME,
    level: 'warn',
    message: 'slow request',
    worker,
    path: '/wait',
  })

  await expect(get('/block')).rejects.toThrow()
  expect(await entry(served, /was blocked for/)).toMatchObject({
    time: TIME,
    level: 'error',
    worker,
    stack: expect.arrayContaining([expect.stringMatching(/app\.mjs:6/)]) as string[],
    // Until then, the slow log has named it.
    requests: ['GET /block'],
  })
  expect(await entry(served, /ended unexpectedly/)).toMatchObject({ level: 'error', master })

  await httpClient({ path: served.socket }).request({ target: '/late', headers: [['Host', 'a']] })
  expect(await entry(served, /^Uncaught exception/)).toMatchObject({
    level: 'error',
    message: expect.stringContaining('Error: outside a request\n') as string,
  })

  writeFileSync(served.file, 'export default (')
  expect((await portico('reload', served.control)).code).toBe(1)
  expect(await entry(served, /SyntaxError/)).toMatchObject({ level: 'error', master })

  // The last line has no line break.
  served.process.kill()
  const { output } = await served.ended
  for (const line of output.trimEnd().split('\n'))
    expect(() => JSON.parse(line) as Entry).not.toThrow()
  expect(output).toContain('"message":"without an end"')
})

test('With --log json, an application that does not start or is not there is a JSON object, too', async () => {
  const flags = ['--log', 'json']
  const failed = await here.serve(flags, { source: "throw new Error('no database')" }).ended
  const messages = failed.output.trimEnd().split('\n')
  expect(failed.code).toBe(3)
  expect(messages.map((line) => (JSON.parse(line) as Entry)['level'])).toEqual(['error', 'error'])
  const missing = await portico('serve', `${here.path}/none.mjs`, ...flags)
  expect(JSON.parse(missing.output)).toMatchObject({
    level: 'error',
    message: `portico: no such file: ${here.path}/none.mjs`,
  })
})

test('The access log of a FastCGI server is on its own stderr', async () => {
  const served = here.serve(['--access-log', '%m %U %s'], { source: SOURCE })
  await served.printed('Serving')
  await client(served).post('/path')
  await served.printed('POST /path 200\n')
})

test('The master ends after portico stop, even if no one reads its log', async () => {
  const source = SOURCE.replace("'a line of the application'", "'line\\n'.repeat(100_000)")
  const server = await here.ready(['--log', 'json'], { source, workers: 1 })
  const { stderr } = server.process
  stderr!.pause()
  const ended = once(server.process, 'exit')
  await client(server).post('/write')
  expect(await portico('stop', server.control)).toMatchObject({ code: 0 })
  expect(await ended).toEqual([0, null])
  stderr!.resume()
})
