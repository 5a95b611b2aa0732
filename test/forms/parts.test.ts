/** Parts of a multipart body: which ones are files, their names, and forms that are read twice. */
import { EventEmitter, once } from 'node:events'
import { PassThrough } from 'node:stream'
import {
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { ApplicationError, ConfigurationError, PeerError } from '../../src/errors.ts'
import { setupTestingDefaults } from '../../src/exports/wsgiref.ts'
import { bodyLimit } from '../../src/exports/middleware.ts'
import { validator } from '../../src/validate/validator.ts'
import type { Application } from '../../src/types.ts'
import { FieldStorage, type FieldStorageOptions } from '../../src/exports/forms.ts'
import { bytesSource, Input } from '../../src/request/input.ts'
import { bytes, environOf, fileOf, FINAL, MemoryInput, part, post } from './helper.ts'

const tempDir = mkdtempSync(join(tmpdir(), 'portico-parts-'))
afterAll(() => rmSync(tempDir, { recursive: true }))

const PNG = '\x89PNG\xff\x00\xfe'
const withHeaders = (disposition: string, type?: string) =>
  `--X\r\nContent-Disposition: form-data; ${disposition}\r\n${type ? `Content-Type: ${type}\r\n` : ''}\r\n${PNG}\r\n${FINAL}`

describe('A part is a file', () => {
  it.each<[disposition: string, type: string | undefined, filename: string]>([
    [`name="f"; filename*=utf-8''%D1%84.png`, 'image/png', 'ф.png'],
    [`name="f"; filename*=UTF-8'ru'%D1%84.png`, undefined, 'ф.png'],
    [`name="f"; filename*=iso-8859-1''%E7.png`, undefined, 'ç.png'],
    [`name="f"; filename*="utf-8''%D1%84.png"`, 'image/png', 'ф.png'],
    [`name="f"; filename="=?utf-8?B?0YQucG5n?="; filename*=utf-8''%D1%84.png`, undefined, 'ф.png'],
    [`name="f"; filename="a.png"; filename*=klingon''x`, undefined, 'a.png'],
    [`name="f"; filename*=nonsense`, 'image/png', 'nonsense'],
    [`name="f"; filename*0="a"; filename*1=".png"`, undefined, 'a.png'],
    [
      `name="f"; filename*0*=utf-8''%D1%84; filename*1=" 1"; filename*2*=.png`,
      undefined,
      'ф 1.png',
    ],
    [`name="f"; filename*0*=%D1%84.png`, undefined, '%D1%84.png'],
    [`name*=utf-8''f; filename="a"`, undefined, 'a'],
    [`name="f"`, 'application/octet-stream', ''],
    [`name="f"`, 'image/png', ''],
    [`name="f"`, 'application/pdf', ''],
    [`name="f"`, 'application/octet-stream; charset=binary', ''],
    [`name="f"`, 'image/png; charset=binary', ''],
    [`name="f"`, 'binary', ''],
    [`name="f"`, 'multipart/related; boundary=Y', ''],
    [`name="f"; filename="say %22hi%22.txt"`, undefined, 'say "hi".txt'],
    [`name="f"; filename="100%25 %0D%0A"`, undefined, '100%25 \r\n'],
    [`name="f"; filename=""`, 'text/plain', ''],
  ])('with %s of type %s, and its name is %j', async (disposition, type, filename) => {
    const form = await post(withHeaders(disposition, type), { tempDir })
    const file = fileOf(form, 'f')
    expect([file.filename, (await file.bytes()).toString('latin1')]).toEqual([filename, PNG])
    await form.close()
  })

  it.each([
    undefined,
    'text/plain',
    'text/html',
    'application/json',
    'application/ld+json',
    'application/xml',
    'application/octet-stream; charset=latin1',
  ])('unless it has no name and the type %s', async (type) => {
    const body = `--X\r\nContent-Disposition: form-data; name="t"\r\n${type ? `Content-Type: ${type}\r\n` : ''}\r\ntext\r\n${FINAL}`
    expect((await post(body)).getFirst('t')).toBe('text')
  })

  it('under a name in which %22 is a quote', async () => {
    expect((await post(part('a%22b', '1') + FINAL)).getFirst('a"b')).toBe('1')
  })

  it.each([`name*=utf-8''%C3%BC`, `name*0*=utf-8''%C3%BC`, `name*0="\xc3"; name*1="\xbc"`])(
    'under the name ü, which a client sends as %s',
    async (disposition) => {
      const body = `--X\r\nContent-Disposition: form-data; ${disposition}\r\n\r\n1\r\n${FINAL}`
      expect((await post(body)).getFirst('ü')).toBe('1')
    },
  )

  it.each<[parameter: string, charset: string, name: string]>([
    [`name*=iso-8859-1''%E9`, 'utf-8', 'é'],
    [`name*=utf-8''%C3%A9`, 'latin1', 'é'],
    [`name*0*=windows-1251''%E9; name*1=x`, 'utf-8', 'йx'],
    [`name*=klingon''%E9`, 'latin1', 'é'],
  ])('with %s in a form in %s under the name %s', async (parameter, charset, name) => {
    for (const filename of ['', '; filename="1"']) {
      const body = `--X\r\nContent-Disposition: form-data; ${parameter}${filename}\r\n\r\n1\r\n${FINAL}`
      await using form = await post(body, { charset, tempDir })
      expect([...form.keys()]).toEqual([name])
    }
  })
})

const MULTIPART = { CONTENT_TYPE: 'multipart/form-data; boundary=X' }
const file = part('f', 'content', '; filename="1"')

describe('FieldStorage.parse called twice for a request', () => {
  const environ = (body: string, type = MULTIPART.CONTENT_TYPE) =>
    environOf(new MemoryInput([bytes(body)]), {
      CONTENT_TYPE: type,
      CONTENT_LENGTH: String(body.length),
    })
  const URLENCODED = 'application/x-www-form-urlencoded'

  it.each([
    ['a=1', URLENCODED],
    [part('a', '1') + FINAL, MULTIPART.CONTENT_TYPE],
  ])('gives the same form', async (body, type) => {
    const request = environ(body, type)
    const first = await FieldStorage.parse(request)
    await first.close()
    expect(await FieldStorage.parse(request, { maxTotalSize: 1000 })).toBe(first)
    expect((await FieldStorage.parse({ ...request })).getFirst('a')).toBe('1')
  })

  it.each([
    ['bodyLimit', (app: Application) => bodyLimit(app, 1000)],
    ['validator', (app: Application) => validator(app)],
  ])('gives the same form before and inside %s', async (_, wrap) => {
    const forms: FieldStorage[] = []
    const application: Application = async (inner, startResponse) => {
      forms.push(await FieldStorage.parse(inner))
      startResponse('200 OK', [['Content-Type', 'text/plain']])
      return ['ok']
    }
    const outside: Application = async (outer, startResponse) => {
      forms.push(await FieldStorage.parse(outer))
      return wrap(application)(outer, startResponse)
    }
    const request = environOf(new Input(bytesSource(bytes('a=1'))), {
      REQUEST_METHOD: 'POST',
      CONTENT_TYPE: URLENCODED,
    })
    setupTestingDefaults(request)
    await outside(request, () => () => Promise.resolve())
    expect(forms.map((form) => form.getFirst('a'))).toEqual(['1', '1'])
  })

  it('gives the files as well, until the form is closed', async () => {
    const request = environ(file + FINAL)
    const first = await FieldStorage.parse(request, { tempDir })
    const second = await FieldStorage.parse(request)
    expect(String(await fileOf(second, 'f').bytes())).toBe('content')
    await first.close()
    await expect(FieldStorage.parse(request)).rejects.toThrow(ApplicationError)
  })

  it.each<[first: FieldStorageOptions, second: FieldStorageOptions]>([
    [{}, { keepBlankValues: false, strictParsing: false, separator: '&', charset: 'utf-8' }],
    [{ separator: '&' }, {}],
    [{ charset: 'UTF-8' }, { charset: 'utf8' }],
    [{ charset: 'latin1' }, { charset: 'ISO-8859-1' }],
  ])('gives the same form with the options %j and %j, which mean the same', async (one, two) => {
    const request = environ('a=1', URLENCODED)
    const form = await FieldStorage.parse(request, one)
    expect(await FieldStorage.parse(request, two)).toBe(form)
  })

  it('throws if the options would read another form', async () => {
    for (const options of [
      { charset: 'latin1' },
      { keepBlankValues: true },
      { separator: ';' },
      { onFile: () => {} },
    ] as FieldStorageOptions[]) {
      const request = environ('a=1', URLENCODED)
      await FieldStorage.parse(request)
      await expect(FieldStorage.parse(request, options)).rejects.toThrow(ApplicationError)
    }
  })

  it('gives the same error', async () => {
    const request = environ('nonsense')
    const first = await FieldStorage.parse(request).catch((error: unknown) => error)
    expect(first).toBeInstanceOf(PeerError)
    await expect(FieldStorage.parse(request)).rejects.toBe(first)
  })

  it.each([
    ['a=1', URLENCODED, true],
    ['a=1', URLENCODED, false],
    [file + FINAL, MULTIPART.CONTENT_TYPE, true],
  ])('throws if something else has read the body', async (body, type, hasLength) => {
    const request = environ(body, type)
    if (!hasLength) delete request['CONTENT_LENGTH']
    const length = hasLength ? [body.length] : []
    request['wsgi.input'] = new Input(bytesSource(bytes(body)), ...length)
    await request['wsgi.input'].read()
    await expect(FieldStorage.parse(request)).rejects.toMatchObject({
      code: 'PORTICO_BODY_ALREADY_READ',
    })
  })
})

it.each([
  [{ maxFields: 2 }, "unknown option 'maxFields'. Did you mean 'maxNumFields'?"],
  [{ onfile: () => {} }, "Did you mean 'onFile'?"],
  [{ keepBlankValues: 'yes' }, 'keepBlankValues must be true or false (got "yes")'],
  [{ onFile: 'x' }, 'onFile must be a function'],
  [{ tempDir: '' }, 'tempDir must be the path of a directory'],
  [{ separator: '' }, 'separator must be a string'],
  [{ charset: 'klingon' }, 'charset must be the label of a charset'],
])('FieldStorage.parse refuses the options %j', async (options, message) => {
  const parsing = FieldStorage.parse(environOf(new MemoryInput([])), options as FieldStorageOptions)
  await expect(parsing).rejects.toThrow(ConfigurationError)
  await expect(parsing).rejects.toThrow(message)
})

/** A body whose client disconnects before its end, and emits 'gone' then. */
async function* leaving(client: EventEmitter) {
  yield bytes(file.slice(0, -5))
  await new Promise((resolve) => setTimeout(resolve, 10))
  setImmediate(() => client.emit('gone'))
  throw new PeerError('PORTICO_DISCONNECTED', 'gone')
}

const pipeOnly: FieldStorageOptions['onFile'] = (upload) => {
  upload.stream().pipe(new PassThrough()).resume()
}

const fail: FieldStorageOptions['onFile'] = () => {
  throw new Error('of onFile()')
}

describe('A form that is not awaited yet', () => {
  it.each<[fault: string, options: FieldStorageOptions, expected: object, unhandled: number]>([
    ['when the client disconnects', { tempDir }, { code: 'PORTICO_DISCONNECTED' }, 0],
    ['past a limit', { tempDir, maxNumFiles: 0 }, { code: 'PORTICO_TOO_LARGE' }, 0],
    ['unless the application fails', { onFile: fail }, { message: 'of onFile()' }, 1],
  ])('does not end the process %s', async (_fault, options, expected, unhandled) => {
    const faults: unknown[] = []
    const onFault = (error: unknown) => void faults.push(error)
    process.on('unhandledRejection', onFault)
    try {
      const input = new MemoryInput(leaving(new EventEmitter()))
      const environ = environOf(input, MULTIPART)
      const parsings = [FieldStorage.parse(environ, options)]
      if (options.onFile === undefined) parsings.push(FieldStorage.parse(environ, options))
      await expect.poll(() => input.isOver).toBe(true)
      for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate)
      expect(faults.length).toBe(unhandled)
      for (const parsing of parsings) await expect(parsing).rejects.toMatchObject(expected)
    } finally {
      process.off('unhandledRejection', onFault)
    }
  })
})

describe('A file that is piped without an error listener', () => {
  it('does not end the process when the client disconnects', async () => {
    const faults: unknown[] = []
    const onFault = (error: unknown) => void faults.push(error)
    process.on('uncaughtException', onFault)
    const client = new EventEmitter()
    const left = once(client, 'gone')
    const parsing = FieldStorage.parse(environOf(new MemoryInput(leaving(client)), MULTIPART), {
      onFile: async (upload) => {
        upload.stream().pipe(new PassThrough()).resume()
        await left
      },
    })
    await expect(parsing).rejects.toMatchObject({ code: 'PORTICO_DISCONNECTED' })
    process.off('uncaughtException', onFault)
    expect(faults).toEqual([])
  })

  it('is an error if the callback settles before the pipe ends', async () => {
    await expect(post(file + FINAL, { step: 3, onFile: pipeOnly })).rejects.toThrow(/await the end/)
  })

  it('does not end the process when the stored file is gone', async () => {
    const form = await post(file + FINAL, { tempDir })
    await form.close()
    const stream = fileOf(form, 'f').stream()
    await new Promise((resolve) => stream.once('close', resolve))
    expect(stream.errored).toMatchObject({ code: 'ENOENT' })
  })
})

it('moveTo() keeps a file, even on another file system', async () => {
  for (const target of [tempDir, '/dev/shm'].map((parent) =>
    join(parent, `portico-kept-${process.pid}`),
  )) {
    await using form = await post(file + FINAL, { tempDir })
    await fileOf(form, 'f').moveTo(target)
    await form.close()
    expect(readFileSync(target, 'utf8')).toBe('content')
    rmSync(target)
  }
})

it.each(['', '/dev/shm'])(
  'moveTo() replaces a file, also on another file system (%s)',
  async (parent) => {
    const target = join(parent || tempDir, `portico-replaced-${process.pid}`)
    writeFileSync(target, 'a longer content than the new one')
    await using form = await post(file + FINAL, { tempDir })
    await fileOf(form, 'f').moveTo(target)
    expect(readFileSync(target, 'utf8')).toBe('content')
    rmSync(target)
  },
)

it.each(['', '/dev/shm'])(
  'moveTo() into a directory that does not exist rejects, and leaves the file where it was (%s)',
  async (parent) => {
    await using form = await post(file + FINAL, { tempDir })
    const upload = fileOf(form, 'f')
    const target = join(parent || tempDir, 'portico-nowhere', 'f')
    await expect(upload.moveTo(target)).rejects.toThrow('ENOENT')
    expect(String(await upload.bytes())).toBe('content')
  },
)

it('An upload removes files that killed processes left more than a day ago', async () => {
  const parent = mkdtempSync(join(tempDir, 'killed-'))
  const now = Date.now() / 1000
  const names = ['portico-upload-aaaaaa', 'portico-upload-bbbbbb', 'portico-static']
  for (const name of names) mkdirSync(join(parent, name))
  for (const name of ['portico-upload-aaaaaa', 'portico-static']) {
    utimesSync(join(parent, name), now - 90_000, now - 90_000)
  }
  // Someone else may have made these in a shared directory.
  symlinkSync('portico-static', join(parent, 'portico-upload-link'))
  lutimesSync(join(parent, 'portico-upload-link'), now - 90_000, now - 90_000)
  writeFileSync(join(parent, 'portico-upload-file'), '')
  utimesSync(join(parent, 'portico-upload-file'), now - 90_000, now - 90_000)
  await (await post(file + FINAL, { tempDir: parent })).close()
  expect(readdirSync(parent)).toEqual([
    'portico-static',
    'portico-upload-bbbbbb',
    'portico-upload-file',
    'portico-upload-link',
  ])
})
