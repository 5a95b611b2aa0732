import { Buffer } from 'node:buffer'
import { readdir } from 'node:fs/promises'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { ConfigurationError, PeerError } from '../../src/errors.ts'
import { FieldStorage, type IncomingFile } from '../../src/exports/forms.ts'
import {
  bytes,
  crlf,
  dump,
  environOf,
  fileOf,
  FINAL,
  MemoryInput,
  part,
  inChunks,
  post,
} from './helper.ts'

const tempDir = mkdtempSync(join(tmpdir(), 'portico-forms-test-'))
afterAll(() => rmSync(tempDir, { recursive: true }))

const BOUNDARY = '---------------------------721837373350705526688164684'
const FOUR_PARTS = `--${BOUNDARY}
Content-Disposition: form-data; name="id"

1234
--${BOUNDARY}
Content-Disposition: form-data; name="title"


--${BOUNDARY}
Content-Disposition: form-data; name="file"; filename="test.txt"
Content-Type: text/plain

Testing 123.

--${BOUNDARY}
Content-Disposition: form-data; name="submit"

 Add${' '}
--${BOUNDARY}--
`
const W3C = `--X
Content-Disposition: form-data; name="submit-name"

Larry
--X
Content-Disposition: form-data; name="files"
Content-Type: multipart/mixed; boundary=BbC04y

--BbC04y
Content-Disposition: file; filename="file1.txt"
Content-Type: text/plain

... contents of file1.txt ...
--BbC04y
Content-Disposition: file; filename="file2.gif"
Content-Type: image/gif
Content-Transfer-Encoding: binary

...contents of file2.gif...
--BbC04y--
--X--
`
const W3C_FIELDS = [
  ['submit-name', 'Larry'],
  [
    'files',
    { filename: 'file1.txt', type: 'text/plain', content: '... contents of file1.txt ...' },
  ],
  ['files', { filename: 'file2.gif', type: 'image/gif', content: '...contents of file2.gif...' }],
]

const type = `multipart/form-data; boundary=${BOUNDARY}`
const mixed = (boundary: string, content: string): string =>
  `--X\r\nContent-Disposition: form-data; name="a"\r\nContent-Type: multipart/mixed${boundary}\r\n\r\n${content}\r\n`

/** Browsers send line breaks in text as CRLF. */
const lines = (s: string): string => s.replace(/\r\n|\r|\n/g, '\r\n')

/** A name as it is read: two backslashes are one, and what looks like an escape of a browser is one. */
const readBack = (s: string): string =>
  lines(s)
    .replaceAll('"', '%22')
    .replaceAll('\\\\', '\\')
    .replace(/%(22|0d|0a)/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))

const badRequest = expect.objectContaining({
  code: 'PORTICO_BAD_REQUEST',
  status: '400 Bad Request',
})

describe('FieldStorage reads multipart/form-data:', () => {
  // 558 bytes with CRLF; Python's own tests send it with LF.
  it.each([
    ['CRLF', crlf(FOUR_PARTS).replace('123.\r\n', '123.\n'), 558],
    ['LF', FOUR_PARTS, 540],
  ])('it gives four fields if lines end in %s', async (_, body, length) => {
    expect(body).toHaveLength(length)
    const fields = [
      ['id', '1234'],
      ['title', ''],
      ['file', { filename: 'test.txt', type: 'text/plain', content: 'Testing 123.\n' }],
      ['submit', ' Add '],
    ]
    expect(await dump(await post(body, { type }))).toEqual(fields)
    expect(await dump(await post(`\r\n${body}`, { type }))).toEqual(fields)
  })

  it('it ignores a preamble, an epilogue, and padding after a boundary', async () => {
    const body = `not a part\r\n--Xa\r\n--X \t\r\n${part('a', '1').slice(5)}--X--  \r\nno part either`
    const input = new MemoryInput(inChunks(bytes(body), 7))
    const form = await FieldStorage.parse(
      environOf(input, { CONTENT_TYPE: 'multipart/form-data; boundary=X' }),
    )
    expect(await dump(form)).toEqual([['a', '1']])
    expect(input.hasEnded).toBe(true)
  })

  it.each([
    [
      '--X\nContent-Disposition: form-data; name="a"\n\njust a string\n\n--X--\n',
      'just a string\n',
    ],
    ['--X\nContent-Disposition: form-data; name="a"\n\nLarry\n--X', 'Larry'],
    [`${part('a', 'Larry')}--X\r\n`, 'Larry'],
    [part('a', 'Larry').slice(0, -2), 'Larry'],
    [part('a', 'Larry'), 'Larry'],
    [part('a', 'Larry\r\n'), 'Larry\r\n'],
    [part('a', 'Larry\n\r'), 'Larry\n\r'],
    [`${part('a', 'Larry')}--`, 'Larry\r\n--'],
  ])('it needs neither a final boundary nor CONTENT_LENGTH: %j', async (body, value) => {
    const environ = environOf(new MemoryInput([bytes(body)]), {
      CONTENT_TYPE: 'multipart/form-data; boundary=X',
    })
    expect(await dump(await FieldStorage.parse(environ))).toEqual([['a', value]])
  })

  it('it requires the final boundary in strict mode', async () => {
    await expect(post(part('a', '1'), { strictParsing: true })).rejects.toEqual(badRequest)
    expect(await dump(await post(part('a', '1') + FINAL, { strictParsing: true }))).toEqual([
      ['a', '1'],
    ])
  })

  it.each([
    ['5', 'Larry', 'Larry'],
    // As in Python, the boundary counts if Content-Length disagrees with it.
    ['3', 'Larry', 'Larry'],
    ['500', 'Larry', 'Larry'],
    ['3', '\xe2\x98\x83', '☃'],
  ])('it reads a part with Content-Length %s', async (length, content, value) => {
    const body = `--X\nContent-Disposition: form-data; name="a"\nContent-Length: ${length}\n\n${content}\n--X`
    expect(await dump(await post(body))).toEqual([['a', value]])
  })

  it.each([
    ['LF', W3C],
    ['CRLF', crlf(W3C)],
  ])('it gives the files of a nested multipart/mixed under one name, %s', async (_, body) => {
    for (const step of [1, 13, 1e6]) {
      expect(await dump(await post(body, { step }))).toEqual(W3C_FIELDS)
    }
  })

  it('it refuses a multipart/mixed without a boundary, and reads a second level as text', async () => {
    await expect(post(mixed('', '') + FINAL)).rejects.toEqual(badRequest)
    const inner = '--Y\nContent-Type: multipart/mixed; boundary=Z\n\n--Z\n\nx\n--Z--\n--Y--'
    expect(await dump(await post(mixed('; boundary=Y', inner) + FINAL))).toEqual([
      ['a', '--Z\n\nx\n--Z--'],
    ])
  })

  it.each([
    ['iso-8859-1', '\xe7\xf1\x80'],
    ['utf-8', Buffer.from('çñ\u0080').toString('latin1')],
  ])('it decodes %s to the same text, wherever the charset is named', async (charset, value) => {
    const own = `--X\r\nContent-Disposition: form-data; name="a"\r\nContent-Type: text/plain; charset="${charset}"\r\n\r\n${value}\r\n`
    const expected = [['a', 'çñ\u0080']]
    expect(await dump(await post(part('a', value) + FINAL, { charset }))).toEqual(expected)
    expect(await dump(await post(own + FINAL, { charset: 'shift_jis' }))).toEqual(expected)
    expect(await dump(await post(own + FINAL))).toEqual(expected)
    for (const body of [
      part('_charset_', charset) + part('a', value),
      part('a', value) + part('_charset_', charset),
    ]) {
      const fields = await dump(await post(body + FINAL))
      expect(fields).toContainEqual(expected[0])
      expect(fields).toContainEqual(['_charset_', charset])
    }
  })

  it('it decodes names and filenames in the charset of the form, and ignores unknown charsets', async () => {
    const file = part('\xe7', '', '; filename="\xf1\x80"')
    const body = file + part('_charset_', 'windows-1252') + FINAL
    expect(await dump(await post(body))).toContainEqual([
      'ç',
      { filename: 'ñ€', type: 'text/plain', content: '' },
    ])
    const unknown = part('_charset_', 'klingon') + part('a', '\xc3\xa7') + FINAL
    expect(await dump(await post(unknown))).toContainEqual(['a', 'ç'])
    await expect(post(unknown, { charset: 'klingon' })).rejects.toBeInstanceOf(ConfigurationError)
  })

  const line = 'x'.repeat(65_535)
  it.each([
    ['65,535 bytes', line],
    ['ending in CR', `${line}\r`],
    ['spanning two lines', `${line}\r${'y'.repeat(65_535)}`],
  ])('it keeps every byte of a line of %s', async (_, content) => {
    const body = part('upload', content, '; filename="fake.txt"') + FINAL
    for (const step of [1e6, 65_536, 4093]) {
      const form = await post(body, { step })
      const file = await fileOf(form, 'upload').bytes()
      await form.close()
      expect(file.equals(bytes(content))).toBe(true)
    }
  })

  it('it passes on a body without newlines in the chunks in which it arrives', async () => {
    const sizes: number[] = []
    const onFile = async (file: IncomingFile): Promise<void> => {
      for await (const chunk of file) sizes.push(chunk.length)
    }
    const body = part('a', 'x'.repeat(256 * 1024), '; filename="f"') + FINAL
    await post(body, { onFile, step: 65_536 })
    expect(sizes.length).toBeGreaterThanOrEqual(4)
    expect(Math.max(...sizes)).toBeLessThanOrEqual(65_536)
    expect(sizes.reduce((sum, size) => sum + size)).toBe(256 * 1024)
  })

  it.each([
    ['no blank line', '--X\r\nContent-Disposition: form-data; name="a"\r\nrest'],
    ['no colon', '--X\r\nContent-Disposition\r\n\r\n1\r\n--X--'],
    ['no name in a field', '--X\r\n: 1\r\n\r\n1\r\n--X--'],
    [
      'a space before the colon',
      '--X\r\nContent-Disposition : form-data; name="a"\r\n\r\n1\r\n--X--',
    ],
    ['a NUL', part('a\0', '1') + FINAL],
    ['a bare CR', part('a\r', '1') + FINAL],
    ['one field twice', '--X\r\nA: 1\r\na: 2\r\n\r\n1\r\n--X--'],
    ['no header', '--X\r\n\r\n1\r\n--X--'],
    ['no name', '--X\r\nContent-Disposition: form-data\r\n\r\n1\r\n--X--'],
    ['no boundary line', 'a=1&b=2'],
    ['only the final boundary in the preamble, unfinished', '--X-'],
  ])('it refuses a part with %s', async (_, body) => {
    for (const step of [1, 1e6]) await expect(post(body, { step })).rejects.toEqual(badRequest)
  })

  it.each([
    'multipart/form-data',
    'multipart/form-data; boundary=',
    'multipart/form-data; boundary="X "',
    `multipart/form-data; boundary=${'X'.repeat(202)}`,
    'multipart/form-data; boundary=\xe7',
  ])('it refuses the type %j', async (contentType) => {
    await expect(post(FINAL, { type: contentType })).rejects.toEqual(badRequest)
  })

  it('it finds no fields in an empty body or a form without parts', async () => {
    expect(await dump(await post(''))).toEqual([])
    expect(await dump(await post(FINAL))).toEqual([])
  })

  it('it continues a folded header, and does not mistake similar lines for a boundary', async () => {
    const content = '--X\r\n--Xa\r\n--X-\r\n--X--b\r\n\r--X\r\n-\r\n--\r\n\n--Y'
    const body = `--X\r\nContent-Disposition: form-data;\r\n\tname="a"\r\n\r\n ${content}\r\n--X--`
    for (const step of [1, 2, 3, 1e6]) {
      expect(await dump(await post(body, { step }))).toEqual([['a', ` ${content}`]])
    }
  })

  it('it gives the fields or a 400, and never hangs, wherever a body is truncated', async () => {
    const body = bytes(crlf(W3C))
    for (let length = 0; length <= body.length; length++) {
      const form = await post(body.subarray(0, length), { tempDir, step: 5 }).catch(
        (error: unknown) => error,
      )
      if (form instanceof FieldStorage) await form.close()
      else expect(form).toBeInstanceOf(PeerError)
      expect(await readdir(tempDir)).toEqual([])
    }
  })

  it('it passes on the error of the input, and leaves no file', async () => {
    const body = bytes(FOUR_PARTS)
    const cut = new PeerError('PORTICO_BODY_CUT_SHORT', 'the client disconnected')
    for (let length = 0; length <= body.length; length += 3) {
      const input = new MemoryInput(
        (function* () {
          yield body.subarray(0, length)
          throw cut
        })(),
      )
      const environ = environOf(input, { CONTENT_TYPE: type })
      await expect(FieldStorage.parse(environ, { tempDir })).rejects.toBe(cut)
    }
    expect(await readdir(tempDir)).toEqual([])
  })

  it('it reads forms that FormData has written, in chunks of any size', async () => {
    const text = fc.string({ unit: 'grapheme' })
    const content = fc.oneof(
      fc.uint8Array(),
      fc
        .array(fc.constantFrom('\r', '\n', '--', '------formdata-undici-0', 'x'))
        .map((parts) => Uint8Array.from(bytes(parts.join('')))),
    )
    const field = fc.oneof(fc.tuple(text, text), fc.tuple(text, content))
    await fc.assert(
      fc.asyncProperty(
        fc.array(field, { maxLength: 5 }),
        fc.integer({ min: 1, max: 90 }),
        async (fields, step) => {
          const data = new FormData()
          for (const [name, value] of fields) {
            if (typeof value === 'string') data.append(name, value)
            else data.append(name, new Blob([Buffer.from(value)]), 'f')
          }
          const response = new Response(data)
          const form = await post(Buffer.from(await response.arrayBuffer()), {
            type: response.headers.get('content-type') ?? '',
            step,
          })
          expect(await dump(form)).toEqual(
            fields.map(([name, value]) => [
              readBack(name),
              typeof value === 'string'
                ? lines(value)
                : {
                    filename: 'f',
                    type: 'application/octet-stream',
                    content: Buffer.from(value).toString('latin1'),
                  },
            ]),
          )
        },
      ),
      { numRuns: 100 },
    )
  })
})
