/** Content-Length of files: `bodyLength`, and what handlers make of it. */
import {
  appendFileSync,
  closeSync,
  createReadStream,
  mkdtempSync,
  openSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { bodyLength } from '../src/body.ts'
import { ApplicationError } from '../src/errors.ts'
import type { Application, HeaderList } from '../src/types.ts'
import { FileWrapper, type FileWrapperOptions } from '../src/util.ts'
import { GATEWAYS, through, valueOf } from './middleware/gateways.ts'

let folder: string
let path: string
const content = Buffer.from(Array.from({ length: 200_000 }, (_, i) => i % 251))
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'portico-length-'))
  path = join(folder, 'file')
  writeFileSync(path, content)
})
afterAll(() => rmSync(folder, { recursive: true }))

describe('bodyLength', () => {
  it.each<[what: string, body: unknown, length: number | undefined]>([
    ['a string by its UTF-8', 'é', 2],
    ['a Uint8Array', new Uint8Array(3), 3],
    ['an array by its chunks (fact 149)', ['é', new Uint8Array(3), ''], 5],
    ['an empty array', [], 0],
    ['a generator not at all', (function* () {})(), undefined],
    [
      'a file that is no FileHandle not at all (fact 149)',
      new FileWrapper({ read: () => '' }),
      undefined,
    ],
    ['null not at all', null, undefined],
  ])('measures %s', (_, body, length) => {
    expect(bodyLength(body)).toBe(length)
  })

  it('refuses an array that holds something else than chunks', () => {
    expect(() => bodyLength(['a', 1])).toThrow(ApplicationError)
  })

  it('does not measure a stream, which may have read ahead', () => {
    const body = new FileWrapper(createReadStream(path))
    expect(bodyLength(body)).toBeUndefined()
    body.close?.()
  })

  it.each<[options: FileWrapperOptions, read: number, length: number | undefined]>([
    [{}, 0, 200_000],
    [{}, 10, process.platform === 'linux' ? 199_990 : undefined],
    [{ start: 10 }, 50, 199_990],
    [{ start: 10, length: 20 }, 0, 20],
    [{ start: 199_999, length: 20 }, 0, 1],
    [{ start: 200_001 }, 0, 0],
    [{ start: 0, length: 0 }, 0, 0],
  ])(
    'measures a FileHandle of 200,000 bytes with %j, %i of them read',
    async (options, read, length) => {
      const handle = await open(path)
      if (read > 0) await handle.read(Buffer.alloc(read), 0, read)
      const expected =
        process.platform === 'linux' || options.start !== undefined ? length : undefined
      expect(bodyLength(new FileWrapper(handle, options))).toBe(expected)
      await handle.close()
    },
  )

  it.each(['/dev/zero', '/proc/self/status'])('does not believe the size of %s', async (name) => {
    const handle = await open(name).catch(() => null)
    if (handle === null) return
    expect(bodyLength(new FileWrapper(handle, { start: 0 }))).toBeUndefined()
    await handle.close()
  })
})

const file = (options: FileWrapperOptions, headers: HeaderList = []): Application =>
  async function (_environ, startResponse) {
    startResponse('200 OK', headers)
    return new FileWrapper(await open(path), options)
  }

describe.each(GATEWAYS)('a FileHandle behind %s', (gateway) => {
  it.each<[method: string, options: FileWrapperOptions, from: number, to: number]>([
    ['GET', { start: 0 }, 0, 200_000],
    ['GET', { start: 100, length: 150_000 }, 100, 150_100],
    ['HEAD', { start: 0 }, 0, 200_000],
  ])('gets its Content-Length (fact 149): %s %j', async (method, options, from, to) => {
    const answer = await through(gateway, file(options), (ask) => ask({ method, target: '/' }))
    expect(valueOf(answer, 'Content-Length')).toBe(String(to - from))
    expect(answer.broken).toBe(false)
    const sent = method === 'HEAD' ? Buffer.alloc(0) : content.subarray(from, to)
    expect(answer.body.equals(sent)).toBe(true)
  })

  it('is read in blocks of 64 KiB', async () => {
    const sizes: number[] = []
    const application: Application = async (_environ, startResponse) => {
      startResponse('200 OK', [])
      const handle = await open(path)
      const read = handle.read.bind(handle)
      handle.read = (async (...args: unknown[]) => {
        const result = await Reflect.apply(read, handle, args)
        sizes.push(result.bytesRead)
        return result
      }) as typeof handle.read
      return new FileWrapper(handle, { start: 0 })
    }
    await through(gateway, application, (ask) => ask('/'))
    expect(sizes.slice(0, 4)).toEqual([65_536, 65_536, 65_536, 3_392])
  })

  it('keeps the Content-Length that the application gives', async () => {
    const answer = await through(
      gateway,
      file({ start: 0, length: 5 }, [['Content-Length', '5']]),
      (ask) => ask('/'),
    )
    expect(valueOf(answer, 'Content-Length')).toBe('5')
    expect(answer.body).toHaveLength(5)
  })

  it('sends no more of a file that grows than was announced', async () => {
    const growing = join(folder, `growing-${gateway}`)
    writeFileSync(growing, Buffer.alloc(100_000))
    const application: Application = async (_environ, startResponse) => {
      startResponse('200 OK', [])
      const body = new FileWrapper(await open(growing), { start: 0 })
      const iterate = body[Symbol.asyncIterator].bind(body)
      return Object.assign(body, {
        async *[Symbol.asyncIterator]() {
          for await (const chunk of iterate()) {
            const fd = openSync(growing, 'a')
            appendFileSync(fd, Buffer.alloc(100))
            closeSync(fd)
            yield chunk
          }
        },
      })
    }
    const answer = await through(gateway, application, (ask) => ask('/'))
    expect(valueOf(answer, 'Content-Length')).toBe('100000')
    expect([answer.body.length, answer.broken]).toEqual([100_000, false])
  })
})
