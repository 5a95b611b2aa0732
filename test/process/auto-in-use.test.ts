/** The message of `run` if its port is in use. */
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

/** What is logged if nothing catches the error. */
async function complaint(options: RunOptions): Promise<string> {
  const write = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
  const before = process.listeners('uncaughtException')
  try {
    const error: unknown = await run(() => [], options).catch((it: unknown) => it)
    const added = process.listeners('uncaughtException').filter((it) => !before.includes(it))
    expect(added).toHaveLength(1)
    added[0]!(error as Error, 'unhandledRejection')
    expect(process.exitCode).toBe(1)
    return write.mock.calls.join('')
  } finally {
    write.mockRestore()
  }
}

describe('If the port is in use, run()', () => {
  test.each(['', 'http', 'scgi'])(
    'explains how to choose another port (PORTICO_GATEWAY=%s)',
    async (gateway) => {
      vi.stubEnv('PORTICO_GATEWAY', gateway)
      expect(await complaint({ listen })).toBe(
        `listen: '${listen}': in use by another process (EADDRINUSE). ` +
          'Stop that process, or choose another port: set PORTICO_LISTEN\n',
      )
    },
  )

  test.each(['http', 'fastcgi', 'scgi'] as const)(
    'does not name PORTICO_LISTEN, which is not read with the option gateway: %s',
    async (gateway) => {
      vi.stubEnv('PORTICO_LISTEN', '127.0.0.1:0')
      expect(await complaint({ gateway, listen })).toBe(
        `listen: '${listen}': in use by another process (EADDRINUSE). ` +
          'Stop that process, or choose another port\n',
      )
    },
  )
})
