/** `portico init --install`: files where they belong, commands in their order, and all of it taken back. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { install } from '../../src/servers/install.ts'
import { nginx } from '../../src/servers/nginx.ts'
import type { ServerDescription } from '../../src/servers/site.ts'
import { siteOf } from '../servers/mount.ts'

let directory: string
let messages: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'portico-install-'))
  messages = ''
})
afterEach(() => rmSync(directory, { recursive: true }))

const site = siteOf({ at: '/', to: 'unix:/run/portico/app.sock' })
const write = (text: string): void => void (messages += text)
const output = { out: write, err: write }

/** A server with one file, which takes it into use by a link. */
function server(check = 'true'): ServerDescription {
  const file = join(directory, 'available', 'portico')
  const link = join(directory, 'enabled')
  return {
    ...nginx,
    defaultSite: join(directory, 'default'),
    configure: () => [{ path: file, text: 'new\n' }],
    activate: () => [`ln -sf ${file} ${link}`, check],
    deactivate: () => [`rm -f ${link}`],
  }
}

const read = (name: string): string => readFileSync(join(directory, name), 'utf8')

test('portico init --install writes the file and runs the commands', () => {
  expect(install(server(), site, false, output)).toBe(true)
  expect(read('enabled')).toBe('new\n')
  expect(messages).toBe(
    `wrote ${directory}/available/portico\n+ ln -sf ${directory}/available/portico ${directory}/enabled\n+ true\n`,
  )
})

test('portico init --install leaves a file alone that differs, and overwrites it with --force', () => {
  install(server(), site, false, output)
  writeFileSync(join(directory, 'available/portico'), 'mine\n')
  messages = ''
  expect(install(server(), site, false, output)).toBe(false)
  expect(messages).toMatch(/is there and differs.*\n-mine\n\+new\n/)
  expect(read('available/portico')).toBe('mine\n')
  expect(install(server(), site, true, output)).toBe(true)
  expect([read('available/portico'), read('available/portico.bak')]).toEqual(['new\n', 'mine\n'])
})

test('portico init --install takes everything back when a command fails', () => {
  expect(install(server('echo bad directive >&2; exit 1'), site, false, output)).toBe(false)
  expect(messages).toContain('bad directive\n')
  expect(messages).toMatch(
    /\nNothing has been installed: .*\nIf nginx is not running, start it and try again: systemctl start nginx\n$/,
  )
  expect(existsSync(join(directory, 'enabled'))).toBe(false)
  expect(existsSync(join(directory, 'available/portico'))).toBe(false)

  writeFileSync(join(directory, 'available/portico'), 'mine\n')
  expect(install(server('false'), site, true, output)).toBe(false)
  expect(read('available/portico')).toBe('mine\n')
})

test('portico init --install refuses a site for every name while another one gets these requests', () => {
  writeFileSync(join(directory, 'default'), '')
  expect(() => install(server(), site, false, output)).toThrow('--hostname example.org')
  expect(install(server(), { ...site, hostname: 'example.org' }, false, output)).toBe(true)
})

test('portico init --install refuses files that belong in a project', () => {
  const relative = { ...server(), configure: () => [{ path: 'Dockerfile', text: '' }] }
  expect(() => install(relative, site, false, output)).toThrow('use --write DIR')
})
