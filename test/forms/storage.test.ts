import { Buffer } from 'node:buffer'
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { readdir, rename, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { ApplicationError } from '../../src/errors.ts'
import { FieldStorage } from '../../src/exports/forms.ts'
import {
  bytes,
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

const badRequest = expect.objectContaining({
  code: 'PORTICO_BAD_REQUEST',
  status: '400 Bad Request',
})

const urlencoded = (value: number): string =>
  `--X\nContent-Type: application/x-www-form-urlencoded\n\na=${value}\n`

describe('FieldStorage', () => {
  const fields = [
    ['key2', 'value2y'],
    ['key3', 'value3'],
    ['key4', 'value4'],
  ] as const
  const file = part('upload', 'this is the content of the fake file\n', '; filename="fake.txt"')

  it('puts the fields of an urlencoded body before those of the query', async () => {
    const form = await post('key2=value2x&key3=value3&key4=value4', {
      type: 'application/x-www-form-urlencoded',
      query: 'key1=value1&key2=value2y',
    })
    expect(form.getValue('key1')).toBe('value1')
    expect(form.getValue('key2')).toEqual(['value2x', 'value2y'])
    expect([...form.keys()]).toEqual(['key2', 'key3', 'key4', 'key1'])
  })

  it('puts the fields of a multipart body after those of the query', async () => {
    const body = fields.map(([name, value]) => part(name, value)).join('') + file + FINAL
    await using form = await post(body, { query: 'key1=value1&key2=value2x' })
    expect([...form.keys()]).toEqual(['key1', 'key2', 'key3', 'key4', 'upload'])
    expect(form.getList('key2')).toEqual(['value2x', 'value2y'])
    expect(form.getValue('key4')).toBe('value4')
    expect(await fileOf(form, 'upload').bytes()).toEqual(
      bytes('this is the content of the fake file\n'),
    )
  })

  it('counts fields of query, parts and urlencoded parts together', async () => {
    const body = `--X\nContent-Disposition: form-data; name="a"\n\n3\n${urlencoded(4)}${urlencoded(5)}--X--\n`
    const query = 'a=1&a=2'
    await expect(post(body, { query, maxNumFields: 4 })).rejects.toMatchObject({
      status: '413 Content Too Large',
    })
    const form = await post(body, { query, maxNumFields: 5 })
    expect(form.getList('a')).toEqual(['1', '2', '3', '4', '5'])
  })

  it('refuses the eleventh urlencoded field if ten are allowed', async () => {
    const options = { type: 'application/x-www-form-urlencoded', maxNumFields: 10 }
    await expect(post('a=a&'.repeat(10) + 'a=a', options)).rejects.toMatchObject({
      status: '413 Content Too Large',
    })
    expect((await post('a=a&'.repeat(9) + 'a=a', options)).getList('a')).toHaveLength(10)
  })

  it('has the methods of Python in camelCase', async () => {
    const form = await post('a=1&b=2&a=3', { type: 'application/x-www-form-urlencoded' })
    expect(form.getFirst('a')).toBe('1')
    expect(form.getFirst('c')).toBeUndefined()
    expect(form.getFirst('c', 'none')).toBe('none')
    expect(form.getList('a')).toEqual(['1', '3'])
    expect(form.getList('c')).toEqual([])
    expect(form.getValue('a')).toEqual(['1', '3'])
    expect(form.getValue('b')).toBe('2')
    expect(form.getValue('c', 0)).toBe(0)
    expect([form.has('a'), form.has('c'), form.size]).toEqual([true, false, 2])
    expect([...form]).toEqual([
      ['a', '1'],
      ['b', '2'],
      ['a', '3'],
    ])
    form.getList('a').push('4')
    expect(form.getList('a')).toEqual(['1', '3'])
  })

  it('has no names that were not sent, and treats __proto__ as an ordinary one', async () => {
    const body = part('__proto__', '1') + part('constructor', '2') + FINAL
    const form = await post(body, { query: '__proto__=0' })
    expect(form.getList('__proto__')).toEqual(['0', '1'])
    expect(form.getFirst('constructor')).toBe('2')
    expect([form.has('toString'), form.getValue('toString')]).toEqual([false, undefined])
  })

  it.each([
    ['GET', 'application/x-www-form-urlencoded', false],
    ['HEAD', 'multipart/form-data; boundary=X', false],
    ['POST', 'application/json', false],
    ['PUT', undefined, false],
    ['POST', undefined, true],
    ['PUT', 'Application/X-WWW-Form-Urlencoded; charset=utf-8', true],
  ])('reads the body of a %s of type %s: %s', async (method, contentType, isRead) => {
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

  it('applies keepBlankValues, strictParsing and separator to query and body', async () => {
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
    expect(form.getList('a')).toEqual(['ç', 'ç'])
  })

  it('lists name, filename, type, size and headers of a part', async () => {
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

  it('keeps files private, and removes them when it is closed, except those moved away', async () => {
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

describe('onFile of FieldStorage', () => {
  const body =
    part('a', 'x'.repeat(1000), '; filename="1"') +
    part('t', 'text') +
    part('b', 'y'.repeat(1000), '; filename="2"') +
    FINAL

  it('gets each file in turn, and skips what is not read', async () => {
    const seen: unknown[] = []
    const form = await post(body, {
      tempDir,
      step: 100,
      onFile: async (file) => {
        let size = 0
        for await (const chunk of file.name === 'a' ? file : file.stream()) {
          size += Buffer.from(chunk).length
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

  it('decodes names in the charset that the form has named so far', async () => {
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
    const input = new MemoryInput(inChunks(data, 1000))
    let read = 0
    await FieldStorage.parse(
      environOf(input, { CONTENT_TYPE: 'multipart/form-data; boundary=X' }),
      {
        onFile: async (file) => {
          for await (const chunk of file) {
            read += chunk.length
            await Promise.resolve()
            expect(input.taken - read).toBeLessThan(3000)
          }
        },
      },
    )
    expect(read).toBe(1e6)
  })

  it('rejects reads after it has settled', async () => {
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

  it('does not let a read that is pending when it settles take bytes after the file', async () => {
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

  it('passes on the error that the callback throws', async () => {
    const error = new Error('disk full')
    const onFile = (): never => {
      throw error
    }
    await expect(post(body, { onFile })).rejects.toBe(error)
  })
})

it('FieldStorage loads the parser of multipart and temporary files only when needed', async () => {
  const copy = join(tempDir, 'package')
  cpSync('dist/src', copy, { recursive: true })
  writeFileSync(join(copy, 'package.json'), '{"type":"module"}')
  for (const name of ['multipart', 'temp-files']) rmSync(join(copy, `chunks/${name}.js`))
  const url: string = pathToFileURL(join(copy, 'exports/forms.js')).href
  const forms: unknown = await import(/* @vite-ignore */ url)
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the same module, built
  const { FieldStorage: Built } = forms as { FieldStorage: typeof FieldStorage }
  const parse = (type: string) =>
    Built.parse(environOf(new MemoryInput([bytes('a=1')]), { CONTENT_TYPE: type }))
  expect((await parse('application/x-www-form-urlencoded')).getFirst('a')).toBe('1')
  expect((await parse('text/plain')).size).toBe(0)
  await expect(parse('multipart/form-data; boundary=X')).rejects.toThrow(/multipart\.js/)
})
