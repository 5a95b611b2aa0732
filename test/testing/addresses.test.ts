/** Where a client of `portico/testing` finds the application. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import { HTTPHandler } from '../../handlers/http.ts'
import { SCGIHandler } from '../../handlers/scgi.ts'
import { fastcgiClient, httpClient, scgiClient } from '../../src/exports/testing.ts'
import type { Application } from '../../src/types.ts'

const directory = mkdtempSync(join(tmpdir(), 'portico-places-'))
afterAll(() => rmSync(directory, { recursive: true }))

const app: Application = (_, startResponse) => {
  startResponse('200 OK', [['Content-Length', '2']])
  return ['ok']
}

it.each([
  ['fastcgi', FastCGIHandler, fastcgiClient],
  ['scgi', SCGIHandler, scgiClient],
  ['http', HTTPHandler, httpClient],
] as const)('a client accepts an address as a string: %s', async (_, Handler, client) => {
  for (const listen of ['127.0.0.1:0', `unix:${join(directory, 'app.sock')}`]) {
    const server = await new Handler({ listen }).run(app)
    const { address } = server
    const given = 'port' in address ? `127.0.0.1:${address.port}` : listen
    const response = await client(given).request({ target: '/' })
    expect(response.body.toString()).toBe('ok')
    await server.close()
  }
  await expect(client('/run/app.sock').request({ target: '/' })).rejects.toThrow(
    `"/run/app.sock" is not an address; expected 'unix:PATH' or 'HOST:PORT'`,
  )
})
