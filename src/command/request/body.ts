/** Method, headers and body of the request that curl's flags describe. */
import { Buffer } from 'node:buffer'
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { lookup } from 'mrmime'
import type { HeaderList } from '../../types.ts'
import { percentEncode, quote, TOKEN } from '../../text.ts'
import type { FlagValues } from '../flags.ts'
import { UsageError } from '../usage-error.ts'
import { CURL_EXIT, TransferError } from './exit-codes.ts'

/** A request without its target. */
export interface Described {
  readonly method: string
  readonly headers: HeaderList
  readonly body: Buffer | undefined
  /** What -G adds to the query. */
  readonly query: string
}

const FORM = 'application/x-www-form-urlencoded'

/** Descriptor of standard input. */
const STDIN = 0

/**
 * @throws {UsageError} for flags that contradict each other.
 * @throws {TransferError} 26, if a file cannot be read.
 */
export function describeRequest(values: FlagValues, host: string, agent: string): Described {
  const sources = ['data', 'form', 'uploadFile'].filter((kind) =>
    kind === 'data' ? hasData(values) : values[kind] !== undefined,
  )
  if (sources.length > 1) throw new UsageError('request: -d, -F and -T exclude each other')
  const get = values['get'] === true
  const { type, bytes } = values['form'] ? multipart(values['form'] as string[]) : dataOf(values)
  const body = get ? undefined : bytes
  const usual = values['head'] ? 'HEAD' : values['uploadFile'] ? 'PUT' : body ? 'POST' : 'GET'
  const method = (values['request'] as string | undefined) ?? usual
  if (!TOKEN.test(method)) {
    throw new UsageError(`request: ${quote(method)} is not a method`)
  }
  const headers = headersOf(values, [
    ['Host', host],
    ['User-Agent', agent],
    ['Accept', values['json'] ? 'application/json' : '*/*'],
    ...(body && type !== undefined ? ([['Content-Type', type]] as HeaderList) : []),
  ])
  return { method, headers, body, query: get ? (bytes?.toString('latin1') ?? '') : '' }
}

function hasData(values: FlagValues): boolean {
  return ['data', 'dataRaw', 'dataBinary', 'dataUrlencode', 'json'].some((name) => values[name])
}

/** Adds the headers of the flags; a header of -H replaces a usual one, and 'Name:' removes it. */
function headersOf(values: FlagValues, usual: HeaderList): HeaderList {
  const { user, userAgent, referer, cookie } = values as Readonly<
    Record<string, string | undefined>
  >
  const removed = new Set<string>()
  const header = (values['header'] ?? []) as readonly string[]
  const given: HeaderList = []
  if (user !== undefined) {
    given.push(['Authorization', `Basic ${Buffer.from(user).toString('base64')}`])
  }
  // As in curl, -A '' removes the header.
  if (userAgent === '') removed.add('user-agent')
  else if (userAgent !== undefined) given.push(['User-Agent', userAgent])
  if (referer) given.push(['Referer', referer])
  if (cookie !== undefined) {
    if (!cookie.includes('=')) {
      throw new UsageError(`request: -b takes pairs such as 'a=1; b=2' (got ${quote(cookie)})`)
    }
    given.push(['Cookie', cookie])
  }
  for (const [name] of given) removed.add(name.toLowerCase())
  for (const line of header) {
    const [, name, mark, value = ''] = /^([^:;\s]+)\s*([:;])\s*(.*?)\s*$/.exec(line) ?? []
    if (name === undefined || /[\r\n\0]/.test(line)) {
      throw new UsageError(`request: -H takes 'Name: value' (got ${quote(line)})`)
    }
    removed.add(name.toLowerCase())
    // As in curl, 'Name;' is a header without a value.
    if (value !== '' || mark === ';') given.push([name, bytesOf(value)])
  }
  return [...usual.filter(([name]) => !removed.has(name.toLowerCase())), ...given]
}

/** A text of the command line as a byte string. */
function bytesOf(text: string): string {
  return Buffer.from(text).toString('latin1')
}

function dataOf(values: FlagValues): { type: string | undefined; bytes: Buffer | undefined } {
  const { uploadFile } = values
  if (uploadFile !== undefined) {
    return { type: undefined, bytes: readSource(uploadFile as string) }
  }
  const lists = values as Readonly<Record<string, readonly string[] | undefined>>
  const chunks = [
    ...(lists['data'] ?? []).map((text) => fromFile(text, (bytes) => withoutNewlines(bytes))),
    ...(lists['dataRaw'] ?? []).map((text) => Buffer.from(text)),
    ...(lists['dataBinary'] ?? []).map((text) => fromFile(text, (bytes) => bytes)),
    ...(lists['dataUrlencode'] ?? []).map(urlencoded),
  ]
  const json = (lists['json'] ?? []).map((text) => fromFile(text, (bytes) => bytes))
  if (json.length > 0) return { type: 'application/json', bytes: Buffer.concat(json) }
  if (chunks.length === 0) return { type: undefined, bytes: undefined }
  const joined = chunks.flatMap((chunk, at) => (at === 0 ? [chunk] : [Buffer.from('&'), chunk]))
  return { type: FORM, bytes: Buffer.concat(joined) }
}

function fromFile(text: string, change: (bytes: Buffer) => Buffer): Buffer {
  return text.startsWith('@') ? change(readSource(text.slice(1))) : Buffer.from(text)
}

function withoutNewlines(bytes: Buffer): Buffer {
  return Buffer.from(bytes.toString('latin1').replace(/[\r\n\0]/g, ''), 'latin1')
}

/** VALUE, =VALUE, NAME=VALUE, @FILE or NAME@FILE. */
function urlencoded(text: string): Buffer {
  const [, name = '', mark = '', rest = text] = /^([^=@]*)([=@])(.*)$/s.exec(text) ?? []
  const value = mark === '@' ? readSource(rest) : Buffer.from(rest)
  const encoded = percentEncode(value.toString('latin1'), /[^A-Za-z0-9\-._~]/g)
  return Buffer.from(name === '' ? encoded : `${name}=${encoded}`)
}

/** '-' is standard input. */
function readSource(path: string): Buffer {
  try {
    return readFileSync(path === '-' ? STDIN : path)
  } catch (error) {
    throw new TransferError(
      CURL_EXIT.readError,
      `${path} cannot be read (${(error as NodeJS.ErrnoException).code})`,
    )
  }
}

/** NAME=VALUE, NAME=@FILE and NAME=<FILE, with ';type=', and ';filename=' after a file. */
function multipart(fields: readonly string[]): { type: string; bytes: Buffer } {
  const boundary = `------------------------${randomUUID().replaceAll('-', '')}`
  const chunks: Buffer[] = []
  for (const field of fields) {
    const { head, bytes } = partOf(field)
    chunks.push(Buffer.from(`--${boundary}\r\n${head}\r\n\r\n`), bytes, Buffer.from('\r\n'))
  }
  chunks.push(Buffer.from(`--${boundary}--\r\n`))
  return { type: `multipart/form-data; boundary=${boundary}`, bytes: Buffer.concat(chunks) }
}

function partOf(field: string): { head: string; bytes: Buffer } {
  const [, name, mark = '', rest = ''] = /^([^=]+)=([@<]?)(.*)$/s.exec(field) ?? []
  if (name === undefined) {
    throw new UsageError(`request: -F takes NAME=VALUE or NAME=@FILE (got ${quote(field)})`)
  }
  const head = `Content-Disposition: form-data; name="${escaped(name)}"`
  if (mark === '') {
    const [, value = rest, type] = /^(.*?);type=([^;]+)$/s.exec(rest) ?? []
    return { head: head + typeLine(type), bytes: Buffer.from(value) }
  }
  const [path = '', ...options] = rest.split(';')
  const option = (key: string) =>
    options.find((text) => text.startsWith(`${key}=`))?.slice(key.length + 1)
  const bytes = readSource(path)
  if (mark === '<') return { head: head + typeLine(option('type')), bytes }
  const type = option('type') ?? lookup(path) ?? 'application/octet-stream'
  const fileName = escaped(option('filename') ?? basename(path))
  return { head: `${head}; filename="${fileName}"${typeLine(type)}`, bytes }
}

function typeLine(type: string | undefined): string {
  return type === undefined ? '' : `\r\nContent-Type: ${type}`
}

/** As browsers write a name (HTML, section 4.10.21.8). */
function escaped(name: string): string {
  return name.replace(/[\r\n"]/g, (character) => encodeURIComponent(character))
}
