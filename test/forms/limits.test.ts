import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { rolldown } from 'rolldown'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FieldStorage, MAX_TOTAL_SIZE, parseQs } from '../../src/exports/forms.ts'
import { bytes, environOf, FINAL, MemoryInput, part, inChunks, post } from './helper.ts'

const directory = mkdtempSync(join(tmpdir(), 'portico-forms-limits-'))
const tempDir = mkdtempSync(join(directory, 'files-'))
afterAll(() => rmSync(directory, { recursive: true }))

const refusal = (limit: string): unknown =>
  expect.objectContaining({
    code: 'PORTICO_TOO_LARGE',
    status: '413 Content Too Large',
    message: `The form is larger than ${limit} allows`,
  })
const file = part('f', 'content', '; filename="f"')

describe('A form over its limits is refused with a 413', () => {
  it.each([
    ['1,001 fields', 'maxNumFields', part('a', '').repeat(1001), {}],
    ['100,000 fields', 'maxNumFields', part('a', '').repeat(100_000), {}],
    ['129 files', 'maxNumFiles', file.repeat(129), {}],
    [
      'a part header over 64 KiB',
      'maxPartHeaderSize',
      part('a', '1', `\r\nZ: ${'z'.repeat(65_500)}`),
      {},
    ],
    ['an endless part header', 'maxPartHeaderSize', `--X\r\nA: ${'z'.repeat(1e6)}`, {}],
    ['endless part header lines', 'maxPartHeaderSize', `--X\r\n${'A: 1\r\n'.repeat(1e5)}`, {}],
    ['one text over 1 MiB', 'maxTextSize', part('a', 'x'.repeat(2 ** 20)), {}],
    ['texts of 1 MiB together', 'maxTextSize', part('a', 'x'.repeat(2 ** 17)).repeat(9), {}],
    [
      'headers of 1 MiB together',
      'maxTextSize',
      part('a', '', `\r\nZ: ${'z'.repeat(60_000)}`).repeat(20),
      {},
    ],
    ['an option passed', 'maxNumFiles', file.repeat(2), { maxNumFiles: 1 }],
    ['another', 'maxTotalSize', file, { maxTotalSize: 60 }],
  ])('for %s (%s)', async (_, limit, body, options) => {
    for (const step of [16_384, 2 ** 24]) {
      const form = post(file + body + FINAL, { tempDir, step, ...options })
      await expect(form).rejects.toEqual(refusal(limit))
      expect(readdirSync(tempDir)).toEqual([])
    }
  })

  it.each([
    ['1 MiB of text', 'maxTextSize', `a=${'x'.repeat(2 ** 20)}`],
    ['1,001 fields', 'maxNumFields', 'a=a&'.repeat(1001)],
  ])('for %s in an urlencoded body (%s)', async (_, limit, body) => {
    const type = 'application/x-www-form-urlencoded'
    await expect(post(body, { type, step: 65_536 })).rejects.toEqual(refusal(limit))
  })

  it('unless it just stays within them', async () => {
    const text = part('a', 'x'.repeat(2 ** 20 - 60_000))
    const body = text + part('a', '').repeat(999) + FINAL
    expect((await post(body)).getList('a')).toHaveLength(1000)
    const form = await post(file.repeat(128) + FINAL, { tempDir })
    expect(form.getList('f')).toHaveLength(128)
    await form.close()
  })

  it('unless the limits are Infinity, even with 100,000 parts', async () => {
    const form = await post(part('a', '').repeat(100_000) + FINAL, {
      maxNumFields: Infinity,
      maxTextSize: Infinity,
    })
    expect(form.getList('a')).toHaveLength(100_000)
  })

  it('before any of it is read, if CONTENT_LENGTH is over the limit', async () => {
    const stored: unknown[] = []
    const environ = environOf(new MemoryInput([bytes(file + FINAL)]), {
      CONTENT_TYPE: 'multipart/form-data; boundary=X',
      CONTENT_LENGTH: String(MAX_TOTAL_SIZE + 1),
    })
    const onFile = (upload: unknown): unknown => stored.push(upload)
    await expect(FieldStorage.parse(environ, { onFile })).rejects.toEqual(refusal('maxTotalSize'))
    expect(stored).toEqual([])
  })
})

const refused = async (rest: number): Promise<MemoryInput> => {
  const body = `--X\r\nbad\r\n\r\n${'x'.repeat(rest)}`
  const input = new MemoryInput(inChunks(bytes(body), 4096))
  const environ = environOf(input, { CONTENT_TYPE: 'multipart/form-data; boundary=X' })
  await expect(FieldStorage.parse(environ)).rejects.toMatchObject({ status: '400 Bad Request' })
  return input
}

describe('The body of a refused form', () => {
  it('is read to its end if less than 256 KiB are left', async () => {
    expect(await refused(200_000)).toMatchObject({ hasEnded: true, wasReturned: false })
  })

  it('is not read to its end if more is left', async () => {
    const input = await refused(2_000_000)
    expect(input).toMatchObject({ hasEnded: false, wasReturned: true })
    expect(input.taken).toBeLessThan(300_000)
  })
})

describe('Parsing a body takes linear time for', () => {
  const unlimited = {
    maxNumFields: Infinity,
    maxTextSize: Infinity,
    maxPartHeaderSize: Infinity,
    tempDir,
  }
  const measure = async (body: string, step: number, rounds: number): Promise<number> => {
    const data = bytes(body)
    let best = Infinity
    for (let round = 0; round < rounds; round++) {
      const input = new MemoryInput(inChunks(data, step))
      const environ = environOf(input, { CONTENT_TYPE: 'multipart/form-data; boundary=X' })
      const before = process.cpuUsage()
      const form = await FieldStorage.parse(environ, unlimited).catch(() => undefined)
      await form?.close()
      const { user, system } = process.cpuUsage(before)
      best = Math.min(best, user + system)
    }
    return best
  }

  const start = '--X\r\nContent-Disposition: form-data; name="a"'
  it.each<[name: string, count: number, step: number, body: (n: number) => string]>([
    ['many parts', 5000, 65_536, (n) => part('a', '').repeat(n) + FINAL],
    ['many parts, in tiny chunks', 500, 3, (n) => part('a', '').repeat(n) + FINAL],
    ['a boundary that never appears', 4e6, 65_536, (n) => 'x'.repeat(n)],
    ['line breaks and no boundary', 1e6, 65_536, (n) => '\r\n--'.repeat(n / 4)],
    [
      'lookalikes of the boundary',
      1e6,
      65_536,
      (n) => `${start}\r\n\r\n${'\n--X a'.repeat(n / 6)}`,
    ],
    ['padding after the boundary', 1e6, 65_536, (n) => `${start}\r\n\r\n\n--X${' '.repeat(n)}`],
    [
      'padding after the boundary, in tiny chunks',
      20_000,
      1,
      (n) => `${start}\r\n\r\n\n--X${' '.repeat(n)}`,
    ],
    ['line feeds in tiny chunks', 20_000, 1, (n) => `${start}\r\n\r\n${'\n'.repeat(n)}`],
    ['one endless part header', 4e6, 65_536, (n) => `${start}${'x'.repeat(n)}`],
    ['one endless part header in tiny chunks', 40_000, 1, (n) => `${start}${'x'.repeat(n)}`],
    [
      'spaces in a part header',
      2e5,
      65_536,
      (n) => `${start}; x=${' '.repeat(n)}x\r\n\r\n1\r\n${FINAL}`,
    ],
    [
      'quotes in a part header',
      2e5,
      65_536,
      (n) => `${start}; ${'";'.repeat(n)}\r\n\r\n1\r\n${FINAL}`,
    ],
    [
      'folded lines in a part header',
      4e4, // Four times as many as 1e5 would also measure the garbage collector.
      65_536,
      (n) => `${start}${'\r\n a'.repeat(n)}\r\n\r\n1\r\n${FINAL}`,
    ],
  ])('%s', async (_, count, step, body) => {
    // Quadratic would be 16. The millisecond keeps noise out of what is too quick to measure, and
    // so does the best of some tries: a machine that is busy elsewhere errs to one side only. Noise in
    // the second figure costs another try; in the first it would hide a fault, hence its rounds.
    let ratio = Infinity
    for (let tries = 0; tries < 30 && ratio >= 8; tries++) {
      const once = await measure(body(count), step, 3)
      const fourfold = await measure(body(4 * count), step, 1)
      ratio = Math.min(ratio, (fourfold + 1000) / (once + 1000))
    }
    expect(ratio).toBeLessThan(8)
  })
})

describe('The memory for an upload', () => {
  const upload = `
    import { FieldStorage } from './forms.js'
    const CHUNK = 65536
    async function* body(count, head, tail) {
      yield Buffer.from(head)
      for (let i = 0; i < count; i++) yield Buffer.alloc(CHUNK, i)
      yield Buffer.from(tail)
    }
    const head = '--X\\r\\nContent-Disposition: form-data; name="f"; filename="f"\\r\\n\\r\\n'
    const parse = (count, head, tail, options) => FieldStorage.parse({
      REQUEST_METHOD: 'POST',
      QUERY_STRING: '',
      CONTENT_TYPE: 'multipart/form-data; boundary=X',
      'wsgi.input': { chunks: () => body(count, head, tail) },
    }, { tempDir: process.argv[3], ...options })
    const run = {
      disk: async (count) => {
        const form = await parse(count, head, '\\r\\n--X--')
        const { size } = form.getFirst('f')
        await form.close()
        return size
      },
      stream: async (count) => {
        let size = 0
        const onFile = async (file) => { for await (const chunk of file.stream()) size += chunk.length }
        await parse(count, head, '\\r\\n--X--', { onFile })
        return size
      },
      unread: async (count) => {
        await parse(count, head, '\\r\\n--X--', { onFile() {} })
        return count * CHUNK
      },
      preamble: (count) => parse(count, 'no', 'boundary').catch(() => count * CHUNK),
    }[process.argv[2]]
    await run(512)
    const before = process.memoryUsage.rss()
    let peak = before
    const timer = setInterval(() => { peak = Math.max(peak, process.memoryUsage.rss()) }, 5)
    const size = await run(4096)
    clearInterval(timer)
    peak = Math.max(peak, process.memoryUsage.rss())
    console.log(JSON.stringify({ size, growth: (peak - before) / 2 ** 20 }))
  `

  beforeAll(async () => {
    const bundle = await rolldown({ input: 'src/exports/forms.ts', platform: 'node' })
    await bundle.write({ dir: directory, format: 'esm', entryFileNames: 'forms.js' })
    await bundle.close()
    writeFileSync(join(directory, 'package.json'), '{ "type": "module" }')
    writeFileSync(join(directory, 'upload.js'), upload)
  })

  it.each(['disk', 'stream', 'unread', 'preamble'])(
    'grows by less than 32 MiB over 256 MiB: %s',
    (way) => {
      const { stdout, stderr } = spawnSync(
        process.execPath,
        [join(directory, 'upload.js'), way, tempDir],
        { encoding: 'utf8' },
      )
      expect(stderr).toBe('')
      const { size, growth } = JSON.parse(stdout)
      expect(size).toBe(256 * 2 ** 20)
      expect(growth).toBeLessThan(32)
      expect(readdirSync(tempDir)).toEqual([])
    },
    60_000,
  )
})

describe('A limit of FieldStorage.parse', () => {
  const names = ['maxNumFields', 'maxNumFiles', 'maxPartHeaderSize', 'maxTextSize', 'maxTotalSize']

  it.each(
    names.flatMap((name) =>
      [Number.NaN, null, -1, 1.5, '5'].map((value) => [name, value] as const),
    ),
  )('is a ConfigurationError if it is invalid: %s: %s', async (name, value) => {
    const shown = typeof value === 'string' ? JSON.stringify(value) : String(value)
    await expect(post(file + FINAL, { tempDir, [name]: value })).rejects.toEqual(
      expect.objectContaining({
        code: 'PORTICO_CONFIGURATION',
        message: `FieldStorage.parse: ${name} must be a whole number, 0 or more, or Infinity for no limit (got ${shown})`,
      }),
    )
  })

  it('is checked by parseQs, too', () => {
    for (const value of [Number.NaN, null]) {
      const call = parseQs as (text: string, options: unknown) => unknown
      expect(() => call('a=1', { maxNumFields: value })).toThrow('parseQs: maxNumFields must be')
    }
  })

  it('is not checked in options that are not an object', async () => {
    const nothing = null as unknown as undefined
    const message = 'must be an object, got null'
    expect(() => parseQs('a=1', nothing)).toThrow(`The options of parseQs ${message}`)
    await expect(FieldStorage.parse(environOf(new MemoryInput([])), nothing)).rejects.toThrow(
      `The options of FieldStorage.parse ${message}`,
    )
  })
})
