/** The rows of php-fpm-rows.ts: the same bytes to a real php-fpm and to FastCGIHandler. */
import { Buffer } from 'node:buffer'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import type { GatewayServer } from '../../src/server/gateway-server.ts'
import type { Application } from '../../src/types.ts'
import { phpFpmProgram, startPhpFpm, type PhpFpm } from '../servers/php-fpm.ts'
import { installed, makeFolder } from '../servers/process.ts'
import { Peer } from './peer.ts'
import { ROWS, type Row } from './php-fpm-rows.ts'

/** Both read all of the body and tell its length. */
const PHP = `<?php
header('Content-Type: text/plain');
echo strlen(file_get_contents('php://input'));
`
const application: Application = async (environ, startResponse) => {
  const body = await environ['wsgi.input'].read()
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  return [String(body.length)]
}

/** How long, in ms, a connection that is left open is watched for something more. */
const QUIET = 100

/** How long, in ms, what is expected may take to come. */
const PATIENCE = 5_000

/** What an application sent, in the words of the rows. */
function tell(received: Buffer): string[] {
  const told: string[] = []
  const answers = new Map<number, string>()
  for (let at = 0; at + 8 <= received.length;) {
    const type = received[at + 1]!
    const id = received.readUInt16BE(at + 2)
    const size = received.readUInt16BE(at + 4)
    const content = received.subarray(at + 8, at + 8 + size)
    at += 8 + size + received[at + 6]!
    if (type === 6) answers.set(id, (answers.get(id) ?? '') + content.toString('latin1'))
    if (type === 3) {
      const answer = answers.get(id)
      if (answer) {
        const status = /^Status: (\d+)/im.exec(answer)?.[1] ?? '200'
        const body = answer.slice(answer.indexOf('\r\n\r\n') + 4)
        told.push(`${id}: ${status}${status === '200' ? ` "${body}"` : ''}`)
      }
      answers.delete(id)
      const protocolStatus = ['complete', "can't multiplex", 'overloaded', 'unknown role']
      told.push(`${id}: ${protocolStatus[content[4]!]}`)
    }
    if (type === 10)
      told.push(`values ${content.toString('latin1').replaceAll(/[^\w]/g, ' ').trim()}`)
    if (type === 11) told.push(`unknown type ${content[0]}`)
  }
  return told
}

/** Sends the pieces, and tells what comes until the connection is closed, or `expected` is there. */
async function outcome(
  path: string,
  pieces: Buffer[],
  row: Row,
  expected: string,
): Promise<string> {
  const peer = new Peer(path)
  let closed = false
  void peer.closed.then(() => (closed = true))
  for (const piece of pieces) peer.send(piece)
  if (row.eof) peer.socket.end()
  const told = () => {
    const result = [...tell(peer.received), closed ? 'closed' : 'open'].join(', ')
    return expected === 'closed' ? result.replace(/^1: complete, closed$/, 'closed') : result
  }
  for (let waited = 0; told() !== expected && waited < PATIENCE; waited += 10) await sleep(10)
  await sleep(QUIET)
  const result = told()
  peer.destroy()
  return result
}

const { available, hint } = installed(phpFpmProgram())

describe.skipIf(!available)(`The same bytes to php-fpm and to FastCGIHandler${hint}`, () => {
  let php: PhpFpm
  let folder: string
  let path: string
  let server: GatewayServer
  beforeAll(async () => {
    php = await startPhpFpm(PHP)
    folder = await makeFolder()
    path = join(folder, 'socket')
    server = await new FastCGIHandler({ listen: `unix:${path}` }).run(application)
    vi.spyOn(process.stderr, 'write').mockReturnValue(true)
  }, 60_000)
  afterAll(async () => {
    vi.restoreAllMocks()
    await server.close()
    await rm(folder, { recursive: true, force: true })
    await php.stop()
  })

  it('differs for a reason only', () => {
    for (const { php: theirs, ours = theirs, why } of ROWS) {
      expect(ours === theirs).toBe(why === undefined)
    }
  })

  it.each(ROWS)('$name', async (row) => {
    const pieces = row.send()
    const [a, b] = await Promise.all([
      outcome(php.path, pieces, row, row.php),
      outcome(path, pieces, row, row.ours ?? row.php),
    ])
    expect({ php: a, ours: b }).toEqual({ php: row.php, ours: row.ours ?? row.php })
  })
})
