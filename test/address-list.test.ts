import * as fc from 'fast-check'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { ConfigurationError } from '../src/errors.ts'
import { allowClients, webServerAddresses } from '../src/address-list.ts'

const peer = (address: string) => ({
  remoteAddress: address,
  remoteFamily: address.includes(':') ? 'IPv6' : 'IPv4',
})

const text = (bits: number) => [24, 16, 8, 0].map((shift) => (bits >>> shift) & 255).join('.')

describe('The option allowedClients', () => {
  test.each([
    ['192.0.2.1', '192.0.2.1', true],
    ['192.0.2.1', '192.0.2.2', false],
    ['192.0.2.1', '::ffff:192.0.2.1', true],
    ['192.0.2.1', '::ffff:c000:201', true],
    ['192.0.2.1', '::ffff:192.0.2.2', false],
    ['192.0.2.1', '::192.0.2.1', false],
    ['::ffff:192.0.2.1', '192.0.2.1', true],
    ['::ffff:192.0.2.0/120', '192.0.2.200', true],
    ['::ffff:192.0.2.0/120', '192.0.3.1', false],
    ['10.0.0.0/8', '10.255.255.255', true],
    ['10.0.0.0/8', '11.0.0.0', false],
    ['10.0.0.0/8', '::ffff:10.1.2.3', true],
    ['0.0.0.0/0', '203.0.113.9', true],
    ['0.0.0.0/0', '2001:db8::1', false],
    ['::/0', '2001:db8::1', true],
    ['::1', '::1', true],
    ['::1', '127.0.0.1', false],
    ['2001:db8::/32', '2001:db8:ffff::1', true],
    ['2001:db8::/32', '2001:db9::1', false],
    ['127.0.0.1,::1', '::1', true],
    [' 127.0.0.1 , 192.0.2.0/24 ', '192.0.2.77', true],
    [['127.0.0.1', '::1'], '127.0.0.1', true],
    [['127.0.0.1', '::1'], '::2', false],
  ])('of %j for the client %s gives %s', (list, address, allowed) => {
    expect(allowClients(list)(peer(address))).toBe(allowed)
  })

  test('never allows a peer without an address', () => {
    expect(allowClients('0.0.0.0/0, ::/0')({})).toBe(false)
    expect(allowClients('::/0')({ remoteAddress: undefined, remoteFamily: undefined })).toBe(false)
  })

  test.each([
    '',
    ' ',
    '127.0.0.1,',
    'localhost',
    '127.0.0.1/33',
    '::1/129',
    '127.0.0.1/',
    '127.0.0.1/-1',
    '127.0.0.1/255.0.0.0',
    '127.0.0.1:9000',
    '[::1]',
    '127.1',
    '0127.0.0.1',
    'fe80::1%eth0',
    [],
    [''],
    ['127.0.0.1, ::1'],
  ])('refuses the list %j', (list) => {
    expect(() => allowClients(list)).toThrow(ConfigurationError)
    expect(() => allowClients(list)).toThrow(
      /^allowedClients: .* is not an IP address or a CIDR block/,
    )
  })

  test('with a block allows exactly the addresses with its first bits', () => {
    const address = fc.nat(0xff_ff_ff_ff)
    fc.assert(
      fc.property(address, fc.nat(32), address, fc.boolean(), (base, length, other, near) => {
        const mask = length === 0 ? 0 : (-1 << (32 - length)) >>> 0
        const asked = near ? ((base & mask) | (other & ~mask)) >>> 0 : other
        const inside = (asked & mask) >>> 0 === (base & mask) >>> 0
        const admits = allowClients(`${text(base)}/${length}`)
        expect(admits(peer(text(asked)))).toBe(inside)
        expect(admits(peer(`::ffff:${text(asked)}`))).toBe(inside)
      }),
    )
  })
})

describe('The variable FCGI_WEB_SERVER_ADDRS', () => {
  afterEach(() => {
    vi.unstubAllEnvs()
  })

  test.each([undefined, ''])('allows every peer if it is %j', (value) => {
    vi.stubEnv('FCGI_WEB_SERVER_ADDRS', value)
    expect(webServerAddresses()).toBeUndefined()
  })

  test('allows only the listed peers (FastCGI 1.0, section 3.2)', () => {
    // The specification's own example.
    vi.stubEnv('FCGI_WEB_SERVER_ADDRS', '199.170.183.28,199.170.183.71')
    const admits = webServerAddresses()
    expect(admits?.(peer('199.170.183.71'))).toBe(true)
    expect(admits?.(peer('199.170.183.72'))).toBe(false)
    expect(admits?.({})).toBe(false)
  })

  test('with an invalid list is an error that names the variable', () => {
    vi.stubEnv('FCGI_WEB_SERVER_ADDRS', 'www.example.org')
    expect(webServerAddresses).toThrow(/^FCGI_WEB_SERVER_ADDRS: /)
  })
})
