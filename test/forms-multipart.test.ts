import { Buffer } from 'node:buffer'
import { readdir, rename, stat } from 'node:fs/promises'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { ApplicationError, PeerError } from '../src/errors.ts'
import { FieldStorage, type IncomingFile, type UploadedFile } from '../src/forms.ts'
import {
  bytes,
  crlf,
  dump,
  environOf,
  FINAL,
  MemoryInput,
  part,
  pieces,
  post,
} from './forms-helper.ts'

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
const fileOf = (form: FieldStorage, name: string): UploadedFile => {
  const file = form.getfirst(name)
  if (file === undefined || typeof file === 'string') throw new Error(`${name} is no file`)
  return file
}
const mixed = (boundary: string, content: string): string =>
  `--X\r\nContent-Disposition: form-data; name="a"\r\nContent-Type: multipart/mixed${boundary}\r\n\r\n${content}\r\n`

/** Browsers send line breaks in text as CRLF. */
const lines = (s: string): string => s.replace(/\r\n|\r|\n/g, '\r\n')

const urlencoded = (value: number): string =>
  `--X\nContent-Type: application/x-www-form-urlencoded\n\na=${value}\n`

/** Browsers escape three characters of names. */
const escaped = (s: string): string =>
  lines(s)
    .replaceAll('\r\n', '%0D%0A')
    .replaceAll('"', '%22')
    .replace(/\\([\\"])/g, '$1')

const badRequest = expect.objectContaining({
  code: 'PORTICO_BAD_REQUEST',
  status: '400 Bad Request',
})

describe('multipart/form-data', () => {
  // 558 bytes with CRLF; Python's own tests send it with LF.
  it.each([
    ['CRLF', crlf(FOUR_PARTS).replace('123.\r\n', '123.\n'), 558],
    ['LF', FOUR_PARTS, 540],
  ])('gives four fields, lines ending in %s (facts 265, 266)', async (_, body, length) => {
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

  it('passes over a preamble, an epilogue, and padding after a boundary', async () => {
    const body = `not a part\r\n--Xa\r\n--X \t\r\n${part('a', '1').slice(5)}--X--  \r\nno part either`
    const input = new MemoryInput(pieces(bytes(body), 7))
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
  ])('needs neither a final boundary nor CONTENT_LENGTH: %j (fact 267)', async (body, value) => {
    const environ = environOf(new MemoryInput([bytes(body)]), {
      CONTENT_TYPE: 'multipart/form-data; boundary=X',
    })
    expect(await dump(await FieldStorage.parse(environ))).toEqual([['a', value]])
  })

  it('asks for the final boundary in strict mode', async () => {
    await expect(post(part('a', '1'), { strictParsing: true })).rejects.toEqual(badRequest)
    expect(await dump(await post(part('a', '1') + FINAL, { strictParsing: true }))).toEqual([
      ['a', '1'],
    ])
  })

  it.each([
    ['5', 'Larry', 'Larry'],
    // As in Python, the boundary is the judge where the two disagree.
    ['3', 'Larry', 'Larry'],
    ['500', 'Larry', 'Larry'],
    ['3', '\xe2\x98\x83', '☃'],
  ])('reads a part with Content-Length %s (fact 268)', async (length, content, value) => {
    const body = `--X\nContent-Disposition: form-data; name="a"\nContent-Length: ${length}\n\n${content}\n--X`
    expect(await dump(await post(body))).toEqual([['a', value]])
  })

  it.each([
    ['LF', W3C],
    ['CRLF', crlf(W3C)],
  ])(
    'gives the files of a nested multipart/mixed under one name, %s (fact 269)',
    async (_, body) => {
      for (const step of [1, 13, 1e6]) {
        expect(await dump(await post(body, { step }))).toEqual(W3C_FIELDS)
      }
    },
  )

  it('refuses a multipart/mixed without boundary, and takes a second level for text', async () => {
    await expect(post(mixed('', '') + FINAL)).rejects.toEqual(badRequest)
    const inner = '--Y\nContent-Type: multipart/mixed; boundary=Z\n\n--Z\n\nx\n--Z--\n--Y--'
    expect(await dump(await post(mixed('; boundary=Y', inner) + FINAL))).toEqual([
      ['a', '--Z\n\nx\n--Z--'],
    ])
  })

  it.each([
    ['iso-8859-1', '\xe7\xf1\x80'],
    ['utf-8', Buffer.from('çñ\u0080').toString('latin1')],
  ])(
    'decodes %s to the same text, whoever names the charset (fact 270)',
    async (charset, value) => {
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
    },
  )

  it('decodes names and filenames in the charset of the form, and ignores unknown charsets', async () => {
    const file = part('\xe7', '', '; filename="\xf1\x80"')
    const body = file + part('_charset_', 'windows-1252') + FINAL
    expect(await dump(await post(body))).toContainEqual([
      'ç',
      { filename: 'ñ€', type: 'text/plain', content: '' },
    ])
    const unknown = part('_charset_', 'klingon') + part('a', '\xc3\xa7') + FINAL
    expect(await dump(await post(unknown))).toContainEqual(['a', 'ç'])
    await expect(post(unknown, { charset: 'klingon' })).rejects.toBeInstanceOf(ApplicationError)
  })

  const line = 'x'.repeat(65_535)
  it.each([
    ['65,535 bytes', line],
    ['ending in CR', `${line}\r`],
    ['spanning two lines', `${line}\r${'y'.repeat(65_535)}`],
  ])('keeps a line of %s exact (fact 271)', async (_, content) => {
    const body = part('upload', content, '; filename="fake.txt"') + FINAL
    for (const step of [1e6, 65_536, 4093]) {
      const form = await post(body, { step })
      const file = await fileOf(form, 'upload').bytes()
      await form.close()
      expect(file.equals(bytes(content))).toBe(true)
    }
  })

  it('hands on a body without newline in the pieces in which it comes (fact 272)', async () => {
    const sizes: number[] = []
    const onFile = async (file: IncomingFile): Promise<void> => {
      for await (const piece of file) sizes.push(piece.length)
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
      'a blank before the colon',
      '--X\r\nContent-Disposition : form-data; name="a"\r\n\r\n1\r\n--X--',
    ],
    ['a NUL', part('a\0', '1') + FINAL],
    ['a bare CR', part('a\r', '1') + FINAL],
    ['one field twice', '--X\r\nA: 1\r\na: 2\r\n\r\n1\r\n--X--'],
    ['no header', '--X\r\n\r\n1\r\n--X--'],
    ['no name', '--X\r\nContent-Disposition: form-data\r\n\r\n1\r\n--X--'],
    ['no boundary line', 'a=1&b=2'],
    ['only the final boundary in the preamble, unfinished', '--X-'],
  ])('refuses a part with %s', async (_, body) => {
    for (const step of [1, 1e6]) await expect(post(body, { step })).rejects.toEqual(badRequest)
  })

  it.each([
    'multipart/form-data',
    'multipart/form-data; boundary=',
    'multipart/form-data; boundary="X "',
    `multipart/form-data; boundary=${'X'.repeat(202)}`,
    'multipart/form-data; boundary=\xe7',
  ])('refuses %j', async (contentType) => {
    await expect(post(FINAL, { type: contentType })).rejects.toEqual(badRequest)
  })

  it('reads an empty body and a form without parts as no fields', async () => {
    expect(await dump(await post(''))).toEqual([])
    expect(await dump(await post(FINAL))).toEqual([])
  })

  it('continues a folded header, and does not take lookalikes of a boundary for one', async () => {
    const content = '--X\r\n--Xa\r\n--X-\r\n--X--b\r\n\r--X\r\n-\r\n--\r\n\n--Y'
    const body = `--X\r\nContent-Disposition: form-data;\r\n\tname="a"\r\n\r\n ${content}\r\n--X--`
    for (const step of [1, 2, 3, 1e6]) {
      expect(await dump(await post(body, { step }))).toEqual([['a', ` ${content}`]])
    }
  })

  it('gives the fields or a 400, and never hangs, wherever a body is cut', async () => {
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

  it('passes on what the input throws, and leaves no file behind', async () => {
    const body = bytes(FOUR_PARTS)
    const cut = new PeerError('PORTICO_BODY_CUT_SHORT', 'the client went away')
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

  it('reads what FormData wrote, in pieces of any size', async () => {
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
              escaped(name),
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

describe('FieldStorage', () => {
  const fields = [
    ['key2', 'value2y'],
    ['key3', 'value3'],
    ['key4', 'value4'],
  ] as const
  const file = part('upload', 'this is the content of the fake file\n', '; filename="fake.txt"')

  it('puts the fields of an urlencoded body before those of the query (fact 273)', async () => {
    const form = await post('key2=value2x&key3=value3&key4=value4', {
      type: 'application/x-www-form-urlencoded',
      query: 'key1=value1&key2=value2y',
    })
    expect(form.getvalue('key1')).toBe('value1')
    expect(form.getvalue('key2')).toEqual(['value2x', 'value2y'])
    expect([...form.keys()]).toEqual(['key2', 'key3', 'key4', 'key1'])
  })

  it('puts the fields of a multipart body after those of the query (fact 273)', async () => {
    const body = fields.map(([name, value]) => part(name, value)).join('') + file + FINAL
    await using form = await post(body, { query: 'key1=value1&key2=value2x' })
    expect([...form.keys()]).toEqual(['key1', 'key2', 'key3', 'key4', 'upload'])
    expect(form.getlist('key2')).toEqual(['value2x', 'value2y'])
    expect(form.getvalue('key4')).toBe('value4')
    expect(await fileOf(form, 'upload').bytes()).toEqual(
      bytes('this is the content of the fake file\n'),
    )
  })

  it('counts fields of query, parts and urlencoded parts together (fact 274)', async () => {
    const body = `--X\nContent-Disposition: form-data; name="a"\n\n3\n${urlencoded(4)}${urlencoded(5)}--X--\n`
    const query = 'a=1&a=2'
    await expect(post(body, { query, maxNumFields: 4 })).rejects.toMatchObject({
      status: '413 Content Too Large',
    })
    const form = await post(body, { query, maxNumFields: 5 })
    expect(form.getlist('a')).toEqual(['1', '2', '3', '4', '5'])
  })

  it('refuses the eleventh field of ten, urlencoded (fact 274)', async () => {
    const options = { type: 'application/x-www-form-urlencoded', maxNumFields: 10 }
    await expect(post('a=a&'.repeat(10) + 'a=a', options)).rejects.toMatchObject({
      status: '413 Content Too Large',
    })
    expect((await post('a=a&'.repeat(9) + 'a=a', options)).getlist('a')).toHaveLength(10)
  })

  it('answers as the methods of Python do', async () => {
    const form = await post('a=1&b=2&a=3', { type: 'application/x-www-form-urlencoded' })
    expect(form.getfirst('a')).toBe('1')
    expect(form.getfirst('c')).toBeUndefined()
    expect(form.getfirst('c', 'none')).toBe('none')
    expect(form.getlist('a')).toEqual(['1', '3'])
    expect(form.getlist('c')).toEqual([])
    expect(form.getvalue('a')).toEqual(['1', '3'])
    expect(form.getvalue('b')).toBe('2')
    expect(form.getvalue('c', 0)).toBe(0)
    expect([form.has('a'), form.has('c'), form.size]).toEqual([true, false, 2])
    expect([...form]).toEqual([
      ['a', '1'],
      ['b', '2'],
      ['a', '3'],
    ])
    form.getlist('a').push('4')
    expect(form.getlist('a')).toEqual(['1', '3'])
  })

  it('knows no name that was not sent, and takes __proto__ for one', async () => {
    const body = part('__proto__', '1') + part('constructor', '2') + FINAL
    const form = await post(body, { query: '__proto__=0' })
    expect(form.getlist('__proto__')).toEqual(['0', '1'])
    expect(form.getfirst('constructor')).toBe('2')
    expect([form.has('toString'), form.getvalue('toString')]).toEqual([false, undefined])
  })

  it.each([
    ['GET', 'application/x-www-form-urlencoded', false],
    ['HEAD', 'multipart/form-data; boundary=X', false],
    ['POST', 'application/json', false],
    ['PUT', undefined, false],
    ['POST', undefined, true],
    ['PUT', 'Application/X-WWW-Form-Urlencoded; charset=utf-8', true],
  ])('of a %s of type %s reads the body: %s', async (method, contentType, isRead) => {
    const input = new MemoryInput([bytes('a=1')])
    const form = await FieldStorage.parse(
      environOf(input, {
        REQUEST_METHOD: method,
        QUERY_STRING: 'q=2',
        ...(contentType !== undefined && { CONTENT_TYPE: contentType }),
      }),
    )
    expect([...form.keys()]).toEqual(isRead ? ['a', 'q'] : ['q'])
    expect(input.taken).toBe(isRead ? 3 : 0)
  })

  it('honours keepBlankValues, strictParsing and separator in query and body', async () => {
    const options = { type: 'application/x-www-form-urlencoded', query: 'c=;d=4', separator: ';' }
    const form = await post('a=;b=2', { ...options, keepBlankValues: true })
    expect([...form.keys()]).toEqual(['a', 'b', 'c', 'd'])
    expect([...(await post('a=;b=2', options)).keys()]).toEqual(['b', 'd'])
    await expect(post('a', { ...options, strictParsing: true })).rejects.toEqual(badRequest)
  })

  it('reads an urlencoded body and its query in the charset that each names', async () => {
    const form = await post('a=%E7&_charset_=iso-8859-1', {
      type: 'application/x-www-form-urlencoded',
      query: 'a=%C3%A7',
    })
    expect(form.getlist('a')).toEqual(['ç', 'ç'])
  })

  it('tells all that a part says of itself', async () => {
    const body = `--X\r\nContent-Disposition: form-data; name="f"; filename="../a\\"b"\r\nContent-Type: Image/PNG; x=y\r\nX-More:  1 \r\n\r\nabc\r\n${part('t', '1')}${FINAL}`
    await using form = await post(body, { query: 'q=1', tempDir })
    const [q, f, t] = form.list
    expect(q).toMatchObject({ name: 'q', value: '1', type: undefined, headers: {} })
    expect(t).toMatchObject({ name: 't', value: '1', type: 'text/plain' })
    expect(f).toMatchObject({ name: 'f', filename: '../a"b', type: 'image/png', size: 3 })
    expect({ ...f?.headers }).toEqual({
      'content-disposition': String.raw`form-data; name="f"; filename="../a\"b"`,
      'content-type': 'Image/PNG; x=y',
      'x-more': '1',
    })
  })

  it('keeps files private, and removes them when it is closed, save those moved away', async () => {
    const form = await post(`${file}${part('b', '', '; filename=""')}${FINAL}`, { tempDir })
    const kept = join(tempDir, 'kept')
    const { path } = fileOf(form, 'upload')
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    expect((await stat(join(path, '..'))).mode & 0o777).toBe(0o700)
    expect(fileOf(form, 'b')).toMatchObject({ filename: '', size: 0 })
    const streamed: Buffer[] = await fileOf(form, 'upload').stream().toArray()
    expect(Buffer.concat(streamed)).toEqual(bytes('this is the content of the fake file\n'))
    await rename(path, kept)
    await form.close()
    await form.close()
    expect(await readdir(tempDir)).toEqual(['kept'])
    rmSync(kept)
  })
})

describe('onFile', () => {
  const body =
    part('a', 'x'.repeat(1000), '; filename="1"') +
    part('t', 'text') +
    part('b', 'y'.repeat(1000), '; filename="2"') +
    FINAL

  it('gets each file in turn and passes over what is left unread', async () => {
    const seen: unknown[] = []
    const form = await post(body, {
      tempDir,
      step: 100,
      onFile: async (file) => {
        let size = 0
        for await (const piece of file.name === 'a' ? file : file.stream()) {
          size += Buffer.from(piece).length
          if (file.name === 'a' && size >= 300) break
        }
        seen.push([file.name, file.filename, file.type, size >= 300, size])
      },
    })
    expect(seen).toMatchObject([
      ['a', '1', 'text/plain', true, expect.any(Number)],
      ['b', '2', 'text/plain', true, 1000],
    ])
    expect(await dump(form)).toEqual([['t', 'text']])
    expect(await readdir(tempDir)).toEqual([])
  })

  it('tells names in the charset that the form has named so far', async () => {
    const names: string[] = []
    const charset = part('_charset_', 'windows-1252')
    const form = part('\x80', '', '; filename="\xe7"')
    await post(charset + form + FINAL, {
      onFile: (file) => names.push(file.name, file.filename),
    })
    expect(names).toEqual(['€', 'ç'])
  })

  it('slows the sender down to the speed of the reader', async () => {
    const data = bytes(part('a', 'x'.repeat(1e6), '; filename="1"') + FINAL)
    const input = new MemoryInput(pieces(data, 1000))
    let read = 0
    await FieldStorage.parse(
      environOf(input, { CONTENT_TYPE: 'multipart/form-data; boundary=X' }),
      {
        onFile: async (file) => {
          for await (const piece of file) {
            read += piece.length
            await Promise.resolve()
            expect(input.taken - read).toBeLessThan(3000)
          }
        },
      },
    )
    expect(read).toBe(1e6)
  })

  it('makes a reader that goes on after it has settled fail', async () => {
    const late: Promise<unknown>[] = []
    await post(body, {
      step: 10,
      onFile: (file) => {
        late.push(file.stream().toArray())
        late.at(-1)?.catch(() => undefined)
      },
    })
    expect(late).toHaveLength(2)
    for (const reader of late) await expect(reader).rejects.toBeInstanceOf(ApplicationError)
  })

  it('keeps a read that is under way when it settles from taking what comes after', async () => {
    const [file, text] = [part('f', 'abc', '; filename="1"'), part('t', 'text')]
    const source = [file.slice(0, -1), '\n-', text.slice(1, -4), 'xt', `\r\n${FINAL}`]
    const input = new MemoryInput(source.map(bytes))
    const form = await FieldStorage.parse(
      environOf(input, { CONTENT_TYPE: 'multipart/form-data; boundary=X' }),
      {
        onFile: async (upload) => {
          const reader = upload[Symbol.asyncIterator]()
          expect((await reader.next()).value).toEqual(bytes('abc'))
          reader.next().catch(() => undefined)
        },
      },
    )
    expect(await dump(form)).toEqual([['t', 'text']])
  })

  it('passes on what the callback throws', async () => {
    const error = new Error('disk full')
    const onFile = (): never => {
      throw error
    }
    await expect(post(body, { onFile })).rejects.toBe(error)
  })
})
