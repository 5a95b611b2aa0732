import { expect, test } from 'vitest'
import { asApplication } from '../../src/application/detect.ts'
import { ConfigurationError } from '../../src/errors.ts'
import type {
  Application,
  ApplicationClass,
  Body,
  Environ,
  StartResponse,
} from '../../src/types.ts'

class Plain {
  readonly environ: Environ
  readonly startResponse: StartResponse

  constructor(environ: Environ, startResponse: StartResponse) {
    this.environ = environ
    this.startResponse = startResponse
  }

  *[Symbol.iterator]() {
    this.startResponse('200 OK', [])
    yield this.environ.REQUEST_METHOD
  }
}

const environ = { REQUEST_METHOD: 'BREW' } as Environ
const startResponse: StartResponse = () => () => Promise.resolve()
const list = () => [environ.REQUEST_METHOD]

async function collected(candidate: Application | ApplicationClass): Promise<string> {
  let text = ''
  for await (const chunk of await asApplication(candidate)(environ, startResponse)) {
    text += String(chunk)
  }
  return text
}

const kinds: [string, Application | ApplicationClass][] = [
  ['a function', list],
  ['an async function', async () => Promise.resolve(list())],
  [
    'a generator function',
    function* app() {
      yield environ.REQUEST_METHOD
    },
  ],
  [
    'an async generator function',
    async function* app() {
      yield await Promise.resolve(environ.REQUEST_METHOD)
    },
  ],
  ['a class', Plain],
  ['a class that extends another', class extends Plain {}],
  ['a bound function', list.bind(null)],
  ['a method that is called class', { class: list }.class],
  [
    'a method with the name of the keyword',
    {
      class(this: void) {
        return list()
      },
    }.class,
  ],
]

test.each(kinds)('asApplication() accepts %s', async (_, candidate) => {
  expect(await collected(candidate)).toBe('BREW')
})

test('asApplication() returns a function unchanged', () => {
  expect(asApplication(list)).toBe(list)
})

test('asApplication() constructs a class for each request', () => {
  const application = asApplication(Plain)
  const first: Body | Promise<Body> = application(environ, startResponse)
  expect(first).toBeInstanceOf(Plain)
  expect(application(environ, startResponse)).not.toBe(first)
})

test.each([
  [undefined, 'of type undefined'],
  [null, 'this is null'],
  [42, 'of type number'],
  ['hello', 'of type string'],
  [{}, 'of type object'],
  [{ fetch() {} }, 'run fromFetch(it)'],
])('asApplication() refuses %j before any request: %s', (candidate, why) => {
  const attempt = () => asApplication(candidate as unknown as Application)
  expect(attempt).toThrow(ConfigurationError)
  expect(attempt).toThrow(why)
})
