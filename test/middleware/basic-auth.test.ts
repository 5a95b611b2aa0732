/** `basicAuth`: which credentials are accepted, and what the application finds in the environ. */
import { describe, expect, it } from 'vitest'
import { ConfigurationError } from '../../src/errors.ts'
import { basicAuth, type BasicAuthOptions } from '../../src/exports/middleware.ts'
import type { Application } from '../../src/types.ts'
import { OK } from '../validate/harness.ts'
import { brief, GATEWAYS, runCgi, through, valueOf } from './gateways.ts'

const whoAmI: Application = (environ, startResponse) => {
  startResponse(OK, [])
  return [`${environ['REMOTE_USER']} ${environ['AUTH_TYPE']}`]
}
const base64 = (text: string) => Buffer.from(text).toString('base64')
const users = { ada: 'love:lace', grün: 'pässword', empty: '' }

async function ask(authorization: string | undefined, options: BasicAuthOptions = { users }) {
  const variables = { HTTP_AUTHORIZATION: authorization, REMOTE_USER: 'mallory' }
  return runCgi(basicAuth(whoAmI, options), '/', variables)
}

it.each<[what: string, authorization: string | undefined, expectedUser: string | null]>([
  ['a password with a colon', `Basic ${base64('ada:love:lace')}`, 'ada Basic'],
  ['any case, and spaces', `bASIC   ${base64('ada:love:lace')}`, 'ada Basic'],
  ['UTF-8', `Basic ${base64('grün:pässword')}`, 'gr\xc3\xbcn Basic'],
  ['a correct password that is empty', `Basic ${base64('empty:')}`, 'empty Basic'],
  ['no header', undefined, null],
  ['an empty header', '', null],
  ['another scheme', `Bearer ${base64('ada:love:lace')}`, null],
  ['a wrong password', `Basic ${base64('ada:love:lac')}`, null],
  ['an empty password', `Basic ${base64('ada:')}`, null],
  ['an unknown user', `Basic ${base64('bob:love:lace')}`, null],
  ['a name that every object inherits', `Basic ${base64('constructor:x')}`, null],
  ['no colon', `Basic ${base64('ada')}`, null],
  ['credentials that are not base64', 'Basic ada:love:lace', null],
  ['text after the credentials', `Basic ${base64('ada:love:lace')} x`, null],
  ['a control character', `Basic ${base64('ada:love:lace\n')}`, null],
  ['a NUL in the name', `Basic ${base64('a\0da:love:lace')}`, null],
])('basicAuth accepts or refuses %s', async (_what, authorization, expectedUser) => {
  const response = await ask(authorization)
  expect(brief(response)).toEqual(
    expectedUser === null ? ['401 Unauthorized', 'Unauthorized\n'] : [OK, expectedUser],
  )
  const challenge = expectedUser === null ? 'Basic realm="Restricted", charset="UTF-8"' : undefined
  expect(valueOf(response, 'WWW-Authenticate')).toBe(challenge)
})

it('basicAuth accepts credentials in the variable that an internal redirect of Apache has renamed', async () => {
  const app = basicAuth(
    (environ, startResponse) => {
      startResponse('200 OK', [])
      return [String(environ['REMOTE_USER'])]
    },
    { users: { ada: 'lovelace' } },
  )
  const header = `Basic ${Buffer.from('ada:lovelace').toString('base64')}`
  const response = await runCgi(app, '/', { REDIRECT_HTTP_AUTHORIZATION: header })
  expect(String(response.body)).toBe('ada')
  // A client can send this one, and it is another variable.
  const forged: [string, string][] = [['Redirect-Http-Authorization', header]]
  expect((await runCgi(app, { target: '/', headers: forged })).status).toBe('401 Unauthorized')
})

describe.each(GATEWAYS)('over %s', (gateway) => {
  it('basicAuth gets the header, and calls verify()', async () => {
    const calls: unknown[] = []
    const verify = async (user: string, password: string) => {
      calls.push([user, password])
      return password === 'right'
    }
    await through(gateway, basicAuth(whoAmI, { verify, realm: 'a "b" \\c' }), async (request) => {
      const send = (text: string) =>
        request({ target: '/', headers: [['Authorization', `Basic ${base64(text)}`]] })
      expect(brief(await send('ada:right'))).toEqual([OK, 'ada Basic'])
      const refused = await send('ada:wrong')
      expect(refused.status).toBe('401 Unauthorized')
      expect(valueOf(refused, 'WWW-Authenticate')).toBe(
        String.raw`Basic realm="a \"b\" \\c", charset="UTF-8"`,
      )
    })
    expect(calls).toEqual([
      ['ada', 'right'],
      ['ada', 'wrong'],
    ])
  })
})

it.each<BasicAuthOptions>([
  {},
  { users, verify: () => true },
  { users, realm: 'a\r\nb' },
  { users, realm: 'ü' },
])('basicAuth refuses the options %j', (options) => {
  expect(() => basicAuth(whoAmI, options)).toThrow(ConfigurationError)
})
