/** What Bun and Deno do with running responses when their process ends. */
import { get } from 'node:http'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { bundle, start, temporaryDirectory } from '../server/child.ts'
import { bun, deno } from '../support/runtimes.ts'

/** `/slow` sends its end only when the process has begun to end. */
const PROGRAM = `
  import { run } from '#src/exports/index.ts'
  let goOn = () => {}
  const ending = new Promise<void>((resolve) => { goOn = resolve })
  const late = (call) => setTimeout(() => { setTimeout(goOn, 1_500); call() })
  process.on('SIGTERM', () => setTimeout(goOn, 1_500))
  const application = (environ, startResponse) => {
    startResponse('200 OK', [['Content-Type', 'text/plain']])
    switch (environ.PATH_INFO) {
      case '/throws': late(() => { throw new Error('astray') }); return ['ok']
      case '/rejects': late(() => void Promise.reject(new Error('astray'))); return ['ok']
    }
    return (async function* () {
      yield 'begun'
      await ending
      yield ', complete'
    })()
  }
  await run(application as never, { listen: '127.0.0.1:0' })
`

const directory = temporaryDirectory()
afterAll(directory.remove)
let program: string
beforeAll(async () => {
  program = await bundle(directory.path, 'shutdown', PROGRAM)
})

describe.each([bun, deno])('On $name a response is complete', (runtime) => {
  it.skipIf(!runtime.available).each([
    ['after SIGTERM', undefined, 0, ''],
    [
      'after an uncaught exception',
      '/throws',
      1,
      'Uncaught exception: completing running requests',
    ],
    ['after an unhandled rejection', '/rejects', 1, 'Unhandled rejection: completing running'],
  ])(`%s${runtime.hint}`, async (_, path, code, message) => {
    const [command, ...args] = runtime.command
    const server = start(command!, [...args, program], { env: { PORTICO_GATEWAY: 'http' } })
    const [, port] = /127\.0\.0\.1:(\d+)/.exec(await server.printed('/\n'))!
    const [response] = await once(get(`http://127.0.0.1:${port}/slow`), 'response')
    const body = text(response)
    if (path === undefined) server.process.kill('SIGTERM')
    else get(`http://127.0.0.1:${port}${path}`).on('response', (other) => other.resume())
    expect(await body).toBe('begun, complete')
    const end = await server.ended
    expect([end.code, end.output]).toEqual([code, expect.stringContaining(message)])
  })
})
