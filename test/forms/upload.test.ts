/**
 * An upload of 2 GiB through FieldStorage to a FastCGI process, whose memory is measured from outside:
 * it may take no more memory than a small upload.
 */
import { Buffer } from 'node:buffer'
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { endOf, params, Peer } from '../hostile/peer.ts'
import { begin, record } from '../protocol/fastcgi-helpers.ts'
import { bundle, type Running, start, temporaryDirectory } from '../server/child.ts'

const MiB = 1024 * 1024

/** How much more memory it may take than an upload of 32 MiB. Up to 25 MiB were measured. */
const SLACK = 64 * MiB

const SOURCE = `
import { FastCGIHandler } from '#src/../handlers/fastcgi.ts'
import { FieldStorage } from '#src/exports/forms.ts'
import { closeOnSignals } from '#src/process/shutdown.ts'

async function application(environ, startResponse) {
  const files = []
  const options = { tempDir: process.env.UPLOADS, maxTotalSize: 4 * 2 ** 30 }
  if (environ.PATH_INFO === '/default') delete options.maxTotalSize
  if (environ.PATH_INFO === '/stream') {
    options.onFile = async (file) => {
      let size = 0
      for await (const chunk of file) size += chunk.length
      files.push([file.filename, size])
    }
  }
  const form = await FieldStorage.parse(environ, options)
  for (const [, file] of form) if (file.filename) files.push([file.filename, file.size])
  const fields = [form.getFirst('before'), form.getFirst('after')]
  await form.close()
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  return [JSON.stringify({ files, fields })]
}

// When garbage is collected is the engine's affair, and differs by 100 MiB from one Node to another.
setInterval(gc, 100).unref()

const listen = 'unix:' + process.env.SOCKET
closeOnSignals(await new FastCGIHandler({ listen }).run(application))
console.log('listening')
`

const directory = temporaryDirectory()
const socket = join(directory.path, 'socket')
const uploads = join(directory.path, 'uploads')
let child: Running

beforeAll(async () => {
  mkdirSync(uploads)
  const script = await bundle(directory.path, 'uploads', SOURCE)
  child = start(process.execPath, ['--expose-gc', script], {
    env: { SOCKET: socket, UPLOADS: uploads },
  })
  await child.printed('listening')
})

afterAll(async () => {
  child.process.kill('SIGTERM')
  const { code } = await child.ended
  directory.remove()
  expect(code).toBe(0)
})

/** The most memory that the process has had, in bytes. */
function peak(): number {
  const status = readFileSync(`/proc/${child.process.pid!}/status`, 'utf8')
  return Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]) * 1024
}

const field = (name: string, more = '') =>
  `\r\n--X-X\r\nContent-Disposition: form-data; name="${name}"${more}\r\n\r\n`

const HEAD = Buffer.from(`${field('before')}first${field('file', '; filename="large.bin"')}`)
const TAIL = Buffer.from(`${field('after')}last\r\n--X-X--\r\n`)

/** Each line resembles a boundary. A record holds at most 65,535 bytes. */
const CHUNK = Buffer.alloc(
  65_520,
  '\r\n--X-Y\r\n--X-\r\n\n-X-X\r\n0123456789abcdef\0\x80\xff',
  'latin1',
)

/** Posts a file of at least `size` bytes; resolves to the head and body of the response, and the size. */
async function upload(path: string, size: number): Promise<{ text: string; sent: number }> {
  const count = Math.ceil(size / CHUNK.length)
  const sent = count * CHUNK.length
  const length = HEAD.length + sent + TAIL.length
  const peer = new Peer(socket)
  peer.send(
    begin(1),
    params(1, path, [
      ['REQUEST_METHOD', 'POST'],
      ['CONTENT_TYPE', 'multipart/form-data; boundary=X-X'],
      ['CONTENT_LENGTH', String(length)],
    ]),
    record(5, 1, HEAD),
  )
  const end = { seen: false }
  const ended = peer.until(endOf(1)).then(() => (end.seen = true))
  const chunk = record(5, 1, CHUNK)
  for (let i = 0; i < count && !end.seen; i += 1) {
    if (!peer.socket.write(chunk)) await Promise.race([once(peer.socket, 'drain'), ended])
  }
  peer.send(record(5, 1, TAIL), record(5, 1))
  await ended
  const text = peer.text
  peer.destroy()
  return { text, sent }
}

it.each([
  ['2 GiB', 'read by onFile', '/stream', 2048 * MiB],
  // The disk takes three times as long; what it costs per byte is the same.
  ['512 MiB', 'kept on the disk', '/disk', 512 * MiB],
])(
  'A file of %s that is %s does not increase the memory of the process',
  async (_size, _how, path, size) => {
    await upload(path, 32 * MiB)
    const before = peak()
    const { text, sent } = await upload(path, size)
    expect(text).toContain(
      JSON.stringify({ files: [['large.bin', sent]], fields: ['first', 'last'] }),
    )
    expect(sent).toBeGreaterThanOrEqual(size)
    expect(peak() - before).toBeLessThan(SLACK)
    expect(readdirSync(uploads)).toEqual([])
  },
  60_000,
)

it('FieldStorage refuses 2 GiB by default, before any of it is stored', async () => {
  const { text } = await upload('/default', 2048 * MiB)
  expect(text).toContain('Status: 413 Content Too Large\r\n')
  expect(readdirSync(uploads)).toEqual([])
})
