/** What `run` says where its port is taken. */
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { run, type RunOptions } from '../../handlers/auto.ts'

const other = createServer()
let listen = ''
beforeEach(async () => {
  await once(other.listen(0, '127.0.0.1'), 'listening')
  listen = `127.0.0.1:${(other.address() as AddressInfo).port}`
})
afterEach(() => {
  vi.unstubAllEnvs()
  process.exitCode = undefined
  other.close()
})

async function complaint(options: RunOptions): Promise<string> {
  const write = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
  try {
    expect(await run(() => [], options)).toBe(null)
    return write.mock.calls.join('')
  } finally {
    write.mockRestore()
  }
}

describe('where the port is in use, run()', () => {
  test.each(['', 'http', 'scgi'])(
    'says how to choose another (PORTICO_GATEWAY=%s)',
    async (gateway) => {
      vi.stubEnv('PORTICO_GATEWAY', gateway)
      expect(await complaint({ listen })).toBe(
        `listen: '${listen}': in use by another process (EADDRINUSE); ` +
          'PORTICO_LISTEN chooses another place\n',
      )
    },
  )

  test.each(['http', 'fastcgi', 'scgi'] as const)(
    'does not send to PORTICO_LISTEN where that is not read: the option gateway is %s',
    async (gateway) => {
      vi.stubEnv('PORTICO_LISTEN', '127.0.0.1:0')
      expect(await complaint({ gateway, listen })).toBe(
        `listen: '${listen}': in use by another process (EADDRINUSE)\n`,
      )
    },
  )
})
