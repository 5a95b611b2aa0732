/** What `run` says where its port is taken. */
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { expect, test, vi } from 'vitest'
import { run } from '../handlers/auto.ts'

test('where the port is in use, run() says how to choose another', async () => {
  const other = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  const { port } = other.address() as AddressInfo
  const write = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
  try {
    const listen = `127.0.0.1:${port}`
    expect(await run(() => [], { gateway: 'http', listen })).toBe(null)
    expect(write.mock.calls.join('')).toContain(
      `listen: '${listen}': in use by another process (EADDRINUSE); PORTICO_LISTEN chooses another place`,
    )
  } finally {
    write.mockRestore()
    process.exitCode = undefined
    other.close()
  }
})
