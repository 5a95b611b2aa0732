/** What an application returns as its body, before it is iterated. */
import { existsSync } from 'node:fs'
import { creatorHint } from '../response/body.ts'
import { type FileWrapper, isFileWrapper } from '../wsgiref/util.ts'
import { describe, fail, type Warn } from './report.ts'

/** A body that `checkBody` accepted. */
export type CheckedSource = (Iterable<unknown> | AsyncIterable<unknown>) & {
  close?: () => unknown
  destroy?: () => unknown
}

/// ## The body
/// - The application returns an iterable, an async iterable, or a Promise of either: an array, a
///   generator, a Readable, a FileWrapper, an object with `Symbol.asyncIterator`.
/// - It does not return a string or a Uint8Array. These are iterable, but one character or one
///   number at a time. Portico's gateways send them as one chunk; middleware may not.
/// - A Readable has no encoding, or UTF-8: its strings are sent as UTF-8.
/// - The FileHandle of a FileWrapper is open. *Warning:* there is no file at its `path`, so a server
///   that sends files itself would not find one.
/// - `close`, if the body has one, is a function. It is called once, when the request is over.
export function checkBody(body: unknown, warn: Warn): asserts body is CheckedSource {
  if (body === undefined || body === null || body === false) {
    fail(`The application must return an iterable, if only an empty array, not ${describe(body)}`)
  }
  if (typeof body === 'string' || body instanceof Uint8Array) {
    fail(
      `The application must return an iterable of chunks, such as [chunk], not ${describe(body)} ` +
        'itself',
    )
  }
  // By its tag: mentioning the global makes Node load the Fetch API, which takes 19 ms.
  if (Object.prototype.toString.call(body) === '[object Response]') {
    fail(
      'The application must return an iterable, not a Response of the Fetch API; wrap a handler ' +
        'that returns one: fromFetch(handler)',
    )
  }
  const { [Symbol.iterator]: sync, [Symbol.asyncIterator]: async, close } = members(body)
  if (typeof sync !== 'function' && typeof async !== 'function') {
    fail(`The application must return an iterable, not ${describe(body)}${creatorHint(body)}`)
  }
  if (close !== undefined && typeof close !== 'function') {
    fail(`body: close must be a function, not ${describe(close)}`)
  }
  const { readableEncoding: encoding } = members(body)
  if (typeof encoding === 'string' && !/^utf-?8$/i.test(encoding)) {
    fail(`body: the encoding of a Readable must be utf8 or not set, not ${describe(encoding)}`)
  }
  if (isFileWrapper(body)) checkFile(body, warn)
}

function checkFile({ fd = 0, path }: FileWrapper, warn: Warn): void {
  if (fd < 0) fail('body: the FileHandle of a FileWrapper must be open, not closed')
  if (path !== undefined && !existsSync(path)) {
    warn(`body: the path of a FileWrapper should be that of a file, not ${describe(path)}`)
  }
}

function members(value: unknown): Partial<Record<PropertyKey, unknown>> {
  return Object(value)
}
