/** lighttpd asks a FastCGI Authorizer, and passes its variables to an SCGI application. */
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import { SCGIHandler } from '../../handlers/scgi.ts'
import { httpRequest } from '../../src/testing/raw-http-client.ts'
import type { Application } from '../../src/types.ts'
import { startLighttpd } from '../servers/lighttpd.ts'
import { installed, makeDirectory, openSocket, type WebServer } from '../servers/process.ts'

const { available, hint } = installed('lighttpd')
const closers: (() => Promise<unknown>)[] = []

describe.skipIf(!available)(`An Authorizer of lighttpd${hint}`, () => {
  let server: WebServer

  beforeAll(async () => {
    const directory = await makeDirectory()
    closers.push(() => rm(directory, { recursive: true, force: true }))
    const [guard, door] = [join(directory, 'guard'), join(directory, 'door')]
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
    // After the authorizer, lighttpd looks for a file.
    await writeFile(join(directory, 'x.app'), '')
    await openSocket(guard)
    await openSocket(door)
    server = await startLighttpd({
      extra: `
        fastcgi.server = ( "/" => (( "socket" => "${guard}", "mode" => "authorizer",
          "docroot" => "${directory}", "check-local" => "disable" )) )
        scgi.server = ( ".app" => (( "socket" => "${door}" )) )`,
    })
    closers.push(() => server.stop())
  })

  afterAll(async () => {
    for (const close of closers.splice(0).toReversed()) await close()
  })

  it('allows a request, and adds variables to it', async () => {
    const response = await httpRequest({ port: server.port }, { target: '/x.app?let-me' })
    expect([response.status, String(response.body)]).toEqual([200, 'of the group staff'])
  })

  it('refuses a request', async () => {
    const response = await httpRequest({ port: server.port }, { target: '/x.app' })
    expect(response.status).toBe(403)
    expect(String(response.body)).not.toContain('of the group')
  })
})
