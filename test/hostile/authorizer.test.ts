/** An Authorizer behind lighttpd, in front of an SCGI application that learns what it said. */
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import { SCGIHandler } from '../../handlers/scgi.ts'
import { httpRequest } from '../../src/testing/raw-http-client.ts'
import type { Application } from '../../src/types.ts'
import { startLighttpd } from '../servers/lighttpd.ts'
import { installed, makeFolder, openSocket, type WebServer } from '../servers/process.ts'

const { available, hint } = installed('lighttpd')
const closers: (() => Promise<unknown>)[] = []

describe.skipIf(!available)(`An Authorizer behind lighttpd${hint}`, () => {
  let server: WebServer

  beforeAll(async () => {
    const folder = await makeFolder()
    closers.push(() => rm(folder, { recursive: true, force: true }))
    const [guard, door] = [join(folder, 'guard'), join(folder, 'door')]
    const authorizer = await new FastCGIHandler({ listen: `unix:${guard}` }).run(((
      environ,
      startResponse,
    ) => {
      const allowed = environ['FCGI_ROLE'] === 'AUTHORIZER' && environ.QUERY_STRING === 'let-me'
      startResponse(allowed ? '200 OK' : '403 Forbidden', [
        ['Content-Type', 'text/plain'],
        ['Variable-GROUP', 'staff'],
      ])
      return []
    }) satisfies Application)
    const responder = await new SCGIHandler({ listen: `unix:${door}` }).run(((
      environ,
      startResponse,
    ) => {
      startResponse('200 OK', [['Content-Type', 'text/plain']])
      return [`of the group ${String(environ['GROUP'])}`]
    }) satisfies Application)
    closers.push(
      () => authorizer.close(),
      () => responder.close(),
    )
    // Behind an authorizer lighttpd looks for a file.
    await writeFile(join(folder, 'x.app'), '')
    await openSocket(guard)
    await openSocket(door)
    server = await startLighttpd({
      extra: `
        fastcgi.server = ( "/" => (( "socket" => "${guard}", "mode" => "authorizer",
          "docroot" => "${folder}", "check-local" => "disable" )) )
        scgi.server = ( ".app" => (( "socket" => "${door}" )) )`,
    })
    closers.push(() => server.stop())
  })

  afterAll(async () => {
    for (const close of closers.splice(0).toReversed()) await close()
  })

  it('lets a request pass, with variables of its own (fact 255)', async () => {
    const answer = await httpRequest({ port: server.port }, { target: '/x.app?let-me' })
    expect([answer.status, String(answer.body)]).toEqual([200, 'of the group staff'])
  })

  it('turns one away', async () => {
    const answer = await httpRequest({ port: server.port }, { target: '/x.app' })
    expect(answer.status).toBe(403)
    expect(String(answer.body)).not.toContain('of the group')
  })
})
