/** A client that keeps its connection opens another one when it has to. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { fastcgiClient } from '../../src/exports/testing.ts'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import type { Application } from '../../src/types.ts'

const hello: Application = (_environ, startResponse) => {
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  return ['Hello']
}

it('fastcgiClient with keepConn connects again after a connection that could not be opened', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'portico-kept-'))
  const listen = `unix:${join(directory, 'socket')}` as const
  const client = fastcgiClient(listen, { keepConn: true })
  const ask = () => client.request({ target: '/' }).then(({ status }) => status)
  const refused = { code: 'PORTICO_DISCONNECTED' }
  try {
    await expect(ask()).rejects.toMatchObject(refused)
    await client.close()
    await expect(ask()).rejects.toMatchObject(refused)
    for (let i = 0; i < 2; i++) {
      const server = await new FastCGIHandler({ listen }).run(hello)
      expect(await Promise.all([ask(), ask(), ask()])).toEqual(['200 OK', '200 OK', '200 OK'])
      await server.close()
      await expect(ask()).rejects.toMatchObject(refused)
    }
  } finally {
    await client.close()
    rmSync(directory, { recursive: true })
  }
})
