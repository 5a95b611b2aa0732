/** `ranges`: parts of an application's own files. The tests of staticFiles cover its use there. */
import { createReadStream, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { conditionalGet, mount, ranges, sendfile } from '../../src/exports/middleware.ts'
import type { TestResponse } from '../../src/testing/client.ts'
import type { Application, Body, HeaderList } from '../../src/types.ts'
import { FileWrapper } from '../../src/wsgiref/util.ts'
import { validator } from '../../src/validate/validator.ts'
import { OK, PLAIN } from '../validate/harness.ts'
import { brief, GATEWAYS, runCgi, through, valueOf } from './gateways.ts'

let directory: string
let path: string
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'portico-ranges-'))
  path = join(directory, 'file')
  writeFileSync(path, '0123456789')
})
afterAll(() => rmSync(directory, { recursive: true }))

const sending =
  (body: () => Body | Promise<Body>, headers: HeaderList = [], status = OK): Application =>
  async (_environ, startResponse) => {
    startResponse(status, [...PLAIN, ...headers])
    return body()
  }

const ask = (app: Application, range: string, more: HeaderList = [], method = 'GET') =>
  runCgi(app, { method, target: '/', headers: [['Range', range], ...more] })

/** Whether the descriptor of a file is closed. */
const closed: (() => boolean)[] = []

async function handle(options = {}): Promise<FileWrapper> {
  const file = await open(path)
  closed.push(() => file.fd === -1)
  return new FileWrapper(file, options)
}

function stream(options: { start?: number; end?: number } = {}, more = {}): FileWrapper {
  const file = createReadStream(path, options)
  closed.push(() => file.closed)
  return new FileWrapper(file, more)
}

async function opened(): Promise<FileWrapper> {
  const body = stream()
  await new Promise((resolve) => (body.source as Readable).once('open', resolve))
  return body
}

async function readFirst(): Promise<FileWrapper> {
  const file = await open(path)
  await file.read(Buffer.alloc(2), 0, 2)
  closed.push(() => file.fd === -1)
  return new FileWrapper(file)
}

/** Each sends bytes 2 to 8 of the file, '2345678', or all ten. */
const sources: [what: string, body: () => Body | Promise<Body>, whole: string][] = [
  ['a FileHandle', () => handle({ start: 0 }), '0123456789'],
  ['a part of a FileHandle', () => handle({ start: 2, length: 7 }), '2345678'],
  ['a FileHandle from its current position', readFirst, '23456789'],
  ['an fs.ReadStream', stream, '0123456789'],
  ['an fs.ReadStream that is open', opened, '0123456789'],
  ['a part of an fs.ReadStream', () => stream({}, { start: 2, length: 7 }), '2345678'],
  ['an fs.ReadStream of a part', () => stream({ start: 2, end: 8 }), '2345678'],
  ['a part of one of a part', () => stream({ start: 1, end: 8 }, { start: 1 }), '2345678'],
]

describe.each(sources)('With ranges over %s,', (_what, body, whole) => {
  const size = whole.length
  it.each<[range: string, from: number, to: number]>([
    ['bytes=0-0', 0, 1],
    ['bytes=2-4', 2, 5],
    ['bytes=3-', 3, size],
    ['bytes=-3', size - 3, size],
    ['bytes=-100', 0, size],
    ['bytes=1-100', 1, size],
    // The largest integer of other languages means 'to the end of the file'.
    ['bytes=1-9223372036854775807', 1, size],
    ['bytes=-18446744073709551615', 0, size],
  ])('%s gets that part, and the file is closed', async (range, from, to) => {
    closed.length = 0
    const response = await ask(validator(ranges(sending(body))), range)
    expect(brief(response)).toEqual(['206 Partial Content', whole.slice(from, to)])
    expect(valueOf(response, 'Content-Range')).toBe(`bytes ${from}-${to - 1}/${size}`)
    expect(valueOf(response, 'Content-Length')).toBe(String(to - from))
    await expect.poll(() => closed.map((is) => is())).toEqual([true])
  })

  it('a range outside the file gets a 416 with the size, and the file is closed', async () => {
    closed.length = 0
    const response = await ask(ranges(sending(body)), `bytes=${size}-`)
    expect(response.status).toBe('416 Range Not Satisfiable')
    expect(valueOf(response, 'Content-Range')).toBe(`bytes */${size}`)
    await expect.poll(() => closed.map((is) => is())).toEqual([true])
  })

  it.each(['bytes=4-2', 'bytes=0-1,3-4', 'bytes=-', 'lines=1-2', ''])(
    '%j gets the whole file with its Content-Length',
    async (range) => {
      const response = await ask(ranges(sending(body)), range)
      expect(brief(response)).toEqual([OK, whole])
      expect(valueOf(response, 'Accept-Ranges')).toBe('bytes')
      expect(valueOf(response, 'Content-Length')).toBe(String(size))
    },
  )
})

describe.each(GATEWAYS)('over %s', (gateway) => {
  it('ranges sends the parts of a large file, one after the other', async () => {
    const large = join(directory, `large-${gateway}`)
    const content = Buffer.from(Array.from({ length: 300_000 }, (_, i) => i % 251))
    writeFileSync(large, content)
    const app = ranges(sending(async () => new FileWrapper(await open(large), { start: 0 })))
    await through(gateway, validator(app), async (request) => {
      const parts: Buffer[] = []
      for (const from of [0, 100_000, 200_000]) {
        const headers: HeaderList = [['Range', `bytes=${from}-${from + 99_999}`]]
        const response: TestResponse = await request({ target: '/', headers })
        expect([response.status, response.broken]).toEqual(['206 Partial Content', false])
        parts.push(response.body)
      }
      expect(Buffer.concat(parts).equals(content)).toBe(true)
    })
  })
})

it.each<[what: string, app: Application, announced: string | undefined]>([
  ['another status', sending(() => handle({ start: 0 }), [], '404 Not Found'), undefined],
  ['an array', sending(() => ['0123456789']), undefined],
  ['a Readable', sending(() => new FileWrapper(Readable.from(['0123456789']))), undefined],
  [
    'a response with Accept-Ranges: none',
    sending(() => handle({ start: 0 }), [['Accept-Ranges', 'none']]),
    'none',
  ],
  // The application knows what it means by it.
  ['a file of /proc', sending(async () => new FileWrapper(await open('/proc/version'))), 'bytes'],
])('ranges does not change %s', async (_what, app, announced) => {
  const response = await ask(ranges(app), 'bytes=2-4')
  expect(response.status).not.toMatch(/^(?:206|416)/)
  expect(response.body.toString()).toMatch(/^(?:0123456789$|Linux )/)
  expect(valueOf(response, 'Accept-Ranges')).toBe(announced)
})

it('ranges ignores a Range if Content-Length is not the length of the file', async () => {
  const app = ranges(sending(() => handle({ start: 0 }), [['Content-Length', '5']]))
  expect(brief(await runCgi(app, { target: '/', headers: [['Range', 'bytes=2-4']] }))).toEqual([
    OK,
    '01234',
  ])
})

it('ranges ignores a Range of HEAD, and sends Accept-Ranges', async () => {
  const app = ranges(sending(() => handle({ start: 0 })))
  expect(brief(await ask(app, 'bytes=2-4', [], 'POST'))).toEqual([OK, '0123456789'])
  const head = await ask(app, 'bytes=2-4', [], 'HEAD')
  expect([head.status, valueOf(head, 'Content-Length')]).toEqual([OK, '10'])
  expect(valueOf(head, 'Accept-Ranges')).toBe('bytes')
})

const MODIFIED = 'Sat, 01 Jan 2000 00:00:00 GMT'

it.each<[ifRange: string, status: string]>([
  ['"strong"', '206'],
  ['"other"', '200'],
  [MODIFIED, '206'],
  ['Sat, 01 Jan 2000 00:00:01 GMT', '200'],
  ['', '200'],
])('ranges with If-Range %j responds with %s', async (ifRange, status) => {
  const headers: HeaderList = [
    ['ETag', '"strong"'],
    ['Last-Modified', MODIFIED],
  ]
  const app = ranges(sending(() => handle({ start: 0 }), headers))
  expect((await ask(app, 'bytes=2-4', [['If-Range', ifRange]])).status.slice(0, 3)).toBe(status)
})

it('ranges ignores a Range with a weak tag in If-Range', async () => {
  const app = ranges(sending(() => handle({ start: 0 }), [['ETag', 'W/"weak"']]))
  expect((await ask(app, 'bytes=2-4', [['If-Range', 'W/"weak"']])).status).toBe(OK)
})

it('ranges leaves a file that cannot be opened to the handler', async () => {
  const app = ranges(sending(() => new FileWrapper(createReadStream(join(directory, 'none')))))
  const response = await runCgi(app, { target: '/', headers: [['Range', 'bytes=2-4']] })
  expect(response.status).toBe('500 Internal Server Error')
  expect(response.errors).toContain('ENOENT')
})

it('ranges works with other middleware on both sides', async () => {
  const file = sending(stream, [['ETag', '"v1"']])
  const inside = validator(mount({ '/': ranges(conditionalGet(mount({ '/': file }))) }))
  expect(brief(await ask(inside, 'bytes=2-4'))).toEqual(['206 Partial Content', '234'])
  expect((await ask(inside, 'bytes=2-4', [['If-None-Match', '"v1"']])).status).toMatch(/^304/)
  const handing = sendfile(ranges(file), { header: 'X-Sendfile' })
  expect(brief(await ask(handing, 'bytes=2-4'))).toEqual(['206 Partial Content', '234'])
  expect(valueOf(await ask(handing, ''), 'X-Sendfile')).toBe(path)
})
