/** Sends the bytes of php-fpm-rows.ts to a real php-fpm and to FastCGIHandler. */
import { Buffer } from 'node:buffer'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import type { GatewayServer } from '../../src/server/gateway-server.ts'
import type { Application } from '../../src/types.ts'
import { phpFpmProgram, startPhpFpm, type PhpFpm } from '../servers/php-fpm.ts'
import { installed, makeDirectory } from '../servers/process.ts'
import { Peer } from './peer.ts'
import { ROWS, type Row } from './php-fpm-rows.ts'

/** Both applications read the whole body and send its length. */
const PHP = `<?php
header('Content-Type: text/plain');
echo strlen(file_get_contents('php://input'));
`
const application: Application = async (environ, startResponse) => {
  const body = await environ['wsgi.input'].read()
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  return [String(body.length)]
}

/** How long to watch an open connection for further bytes, in ms. */
const QUIET = 100

/** How long to wait for the expected bytes, in ms. */
const PATIENCE = 20_000

/** Describes what an application sent, in the notation of the rows. */
function describeReceived(received: Buffer): string[] {
  const described: string[] = []
  const responses = new Map<number, string>()
  for (let at = 0; at + 8 <= received.length;) {
    const type = received[at + 1]!
    const id = received.readUInt16BE(at + 2)
    const size = received.readUInt16BE(at + 4)
    const content = received.subarray(at + 8, at + 8 + size)
    at += 8 + size + received[at + 6]!
    if (type === 6) responses.set(id, (responses.get(id) ?? '') + content.toString('latin1'))
    if (type === 3) {
      const response = responses.get(id)
      if (response) {
        const status = /^Status: (\d+)/im.exec(response)?.[1] ?? '200'
        const body = response.slice(response.indexOf('\r\n\r\n') + 4)
        described.push(`${id}: ${status}${status === '200' ? ` "${body}"` : ''}`)
      }
      responses.delete(id)
      const protocolStatus = ['complete', "can't multiplex", 'overloaded', 'unknown role']
      described.push(`${id}: ${protocolStatus[content[4]!]}`)
    }
    if (type === 10)
      described.push(`values ${content.toString('latin1').replaceAll(/[^\w]/g, ' ').trim()}`)
    if (type === 11) described.push(`unknown type ${content[0]}`)
  }
  return described
}

/** Sends the parts; describes what is received until the connection closes or it is `expected`. */
async function outcome(path: string, parts: Buffer[], row: Row, expected: string): Promise<string> {
  const peer = new Peer(path)
  let closed = false
  void peer.closed.then(() => (closed = true))
  for (const part of parts) peer.send(part)
  if (row.eof) peer.socket.end()
  const current = () => {
    const result = [...describeReceived(peer.received), closed ? 'closed' : 'open'].join(', ')
    return expected === 'closed' ? result.replace(/^1: complete, closed$/, 'closed') : result
  }
  for (let waited = 0; current() !== expected && waited < PATIENCE; waited += 10) await sleep(10)
  await sleep(QUIET)
  const result = current()
  peer.destroy()
  return result
}

const { available, hint } = installed(phpFpmProgram())

describe.skipIf(!available)(`The same bytes to php-fpm and to FastCGIHandler${hint}`, () => {
  let php: PhpFpm
  let directory: string
  let path: string
  let server: GatewayServer
  beforeAll(async () => {
    php = await startPhpFpm(PHP)
    directory = await makeDirectory()
    path = join(directory, 'socket')
    server = await new FastCGIHandler({ listen: `unix:${path}` }).run(application)
    vi.spyOn(process.stderr, 'write').mockReturnValue(true)
  }, 60_000)
  afterAll(async () => {
    vi.restoreAllMocks()
    await server.close()
    await rm(directory, { recursive: true, force: true })
    await php.stop()
  })

  it('get different responses only if the row gives a reason', () => {
    for (const { php: theirs, ours = theirs, why } of ROWS) {
      expect(ours === theirs).toBe(why === undefined)
    }
  })

  it.each(ROWS)('$name', async (row) => {
    const parts = row.send()
    const [a, b] = await Promise.all([
      outcome(php.path, parts, row, row.php),
      outcome(path, parts, row, row.ours ?? row.php),
    ])
    expect({ php: a, ours: b }).toEqual({ php: row.php, ours: row.ours ?? row.php })
  })
})
