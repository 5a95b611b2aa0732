/** `portico doctor cgi` on hosts that are broken on purpose, one fault each. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, afterEach, describe, expect, it, test } from 'vitest'
import { examineHost } from '../../src/doctor/cgi.ts'
import { readApache } from '../../src/doctor/configurations/apache.ts'
import { readNginx } from '../../src/doctor/configurations/nginx.ts'
import type { Front } from '../../src/doctor/front.ts'
import { processOf } from '../../src/doctor/processes.ts'
import { examineConfigurations } from '../../src/doctor/validate.ts'
import { installed } from '../servers/process.ts'
import { diagnose } from './staging.ts'

const directory = mkdtempSync(join(tmpdir(), 'portico-doctor-cgi-'))
chmodSync(directory, 0o755)
afterAll(() => rmSync(directory, { recursive: true }))

const children: ChildProcess[] = []
afterEach(async () => {
  for (const child of children.splice(0)) {
    const ended = once(child, 'exit')
    child.kill('SIGKILL')
    await ended
  }
})

const PATH = [dirname(process.execPath), '/usr/bin', '/bin'].join(':')
const MODULES = 'LoadModule cgid_module mod_cgid.so'

interface Host {
  configuration?: string
  /** The environment of the web server. */
  environment?: Record<string, string>
  /** What a shell does before it becomes the web server. */
  before?: string
}

let count = 0
/** An Apache with this configuration; the process is a stand-in that only exists. */
async function front({ configuration = '', environment = {}, before = ':' }: Host): Promise<Front> {
  const file = join(directory, `${count++}.conf`)
  writeFileSync(file, configuration)
  const child = spawn('/bin/sh', ['-c', `${before}; echo; exec /bin/sleep 600`], {
    env: { PATH, ...environment },
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  children.push(child)
  await once(child.stdout, 'data')
  const scope = { file, directory, program: undefined, variables: {}, request: undefined }
  return {
    name: 'apache',
    process: processOf(child.pid!),
    user: undefined,
    file,
    setup: readApache(scope),
  }
}

function scriptDirectory(mode: number): string {
  const path = join(directory, `cgi-bin-${count++}`)
  mkdirSync(path)
  chmodSync(path, mode)
  return path
}

const alias = (path: string): string => `${MODULES}\nScriptAlias "/cgi-bin/" "${path}/"`

test('portico doctor cgi finds nothing wrong with a host that runs scripts', async () => {
  const host = await front({ configuration: alias(scriptDirectory(0o755)) })
  const findings = examineHost(undefined, [host])
  expect(
    findings.filter(({ level, check }) => level === 'failure' || check === 'NODE_OPTIONS'),
  ).toEqual([])
})

test('portico doctor cgi is silent about lighttpd beside an Apache that runs', async () => {
  const host = await front({ configuration: alias(scriptDirectory(0o755)) })
  const setup = { backends: [], scripts: [], findings: [], logs: [], user: undefined }
  const lighttpd: Front = { ...host, name: 'lighttpd', process: undefined, setup }
  const messages = examineHost(undefined, [host, lighttpd]).map(({ message }) => message)
  expect(messages.filter((message) => message.includes('lighttpd'))).toEqual([])
  expect(examineHost(undefined, [lighttpd])).toContainEqual(
    expect.objectContaining({ message: 'lighttpd is installed, but does not run' }),
  )
})

/** Mounts a tmpfs with these options there; false where this user may not. */
function mounted(path: string, options: string): boolean {
  mkdirSync(path)
  return spawnSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', path]).status === 0
}

const unexecutable = join(directory, 'noexec')
const mountable = mounted(unexecutable, 'noexec')
afterAll(() => {
  if (mountable) execFileSync('umount', [unexecutable])
})

it.skipIf(!mountable)(
  `portico doctor cgi names a file system without exec${mountable ? '' : ' (this user may not mount a tmpfs)'}`,
  async () => {
    const host = await front({ configuration: alias(unexecutable) })
    expect(examineHost(undefined, [host])).toContainEqual({
      level: 'failure',
      check: 'mount point',
      message: `${unexecutable} is mounted noexec, so nothing there can be run`,
      fix: `mount -o remount,exec ${unexecutable}`,
    })
  },
)

describe.skipIf(process.platform !== 'linux')('portico doctor cgi names', () => {
  it.each<[fault: string, host: () => Host, level: string, check: string, message: RegExp]>([
    [
      'a PATH without node',
      () => ({ environment: { PATH: '/nowhere' } }),
      'failure',
      'node',
      /not in the PATH that scripts have \(\/nowhere\)/,
    ],
    [
      'NODE_EXTRA_CA_CERTS',
      () => ({ environment: { NODE_EXTRA_CA_CERTS: '/x.pem' } }),
      'warning',
      'NODE_EXTRA_CA_CERTS',
      /slower by some 30 ms/,
    ],
    [
      'NODE_OPTIONS',
      () => ({ environment: { NODE_OPTIONS: '--require /x.js' } }),
      'warning',
      'NODE_OPTIONS',
      /loads more at each start/,
    ],
    [
      'a limit of address space',
      () => ({ before: 'ulimit -v 500000' }),
      'failure',
      'limits',
      /ulimit -v 500000 is below/,
    ],
    [
      'RLimitMEM',
      () => ({ configuration: `${alias(scriptDirectory(0o755))}\nRLimitMEM 100000000` }),
      'failure',
      'limits',
      /RLimitMEM 100000000 is below/,
    ],
    [
      'a configuration without scripts',
      () => ({ configuration: 'Listen 80' }),
      'failure',
      'configuration',
      /no ScriptAlias, AddHandler/,
    ],
    [
      'a module that is not loaded',
      () => ({ configuration: alias(scriptDirectory(0o755)).replaceAll('cgid', 'mime') }),
      'failure',
      'modules',
      /neither mod_cgid nor mod_cgi/,
    ],
    [
      'a handler without ExecCGI',
      () => ({ configuration: `${MODULES}\nAddHandler cgi-script .cgi` }),
      'failure',
      'ExecCGI',
      /no Options has ExecCGI/,
    ],
    [
      'MultiViews',
      () => ({ configuration: `${alias(scriptDirectory(0o755))}\nOptions +ExecCGI MultiViews` }),
      'warning',
      'MultiViews',
      /changes SCRIPT_NAME/,
    ],
    [
      'a directory that is not there',
      () => ({ configuration: alias(join(directory, 'none')) }),
      'failure',
      'directory',
      /does not exist/,
    ],
  ])('%s', async (_, host, level, check, message) => {
    const findings = examineHost(undefined, [await front(host())])
    expect(findings).toContainEqual(
      expect.objectContaining({ level, check, message: expect.stringMatching(message) }),
    )
  })

  it.skipIf(process.getuid?.() !== 0)(
    'directories by their modes for the user of the web server',
    async () => {
      const closed = examineHost('nobody', [
        await front({ configuration: alias(scriptDirectory(0o700)) }),
      ])
      expect(closed).toContainEqual(
        expect.objectContaining({
          level: 'failure',
          message: expect.stringMatching(/^nobody cannot enter .*cgi-bin-/),
        }),
      )
      const open = examineHost('nobody', [
        await front({ configuration: alias(scriptDirectory(0o777)) }),
      ])
      expect(open).toContainEqual(
        expect.objectContaining({
          level: 'warning',
          message: expect.stringMatching(/^nobody may write to/),
        }),
      )
    },
  )

  it.skipIf(!installed('nginx').available)('a web server that refuses its configuration', () => {
    const file = join(directory, 'broken.conf')
    writeFileSync(file, 'events {} http { server { fastcgi_psas unix:/x; } }')
    const host: Front = {
      name: 'nginx',
      process: undefined,
      user: undefined,
      file,
      setup: undefined,
    }
    expect(examineConfigurations([host])).toEqual([
      {
        level: 'failure',
        check: 'configuration',
        message: expect.stringMatching(/^nginx refuses .*unknown directive "fastcgi_psas"/),
        fix: `nginx -t -c ${file}`,
      },
    ])
  })

  it('a web server that runs no scripts', () => {
    const file = join(directory, 'nginx.conf')
    writeFileSync(file, 'events {} http { server { listen 80; } }')
    const setup = readNginx({
      file,
      directory,
      program: undefined,
      variables: {},
      request: undefined,
    })
    const host: Front = { name: 'nginx', process: undefined, user: undefined, file, setup }
    expect(examineHost(undefined, [host])).toContainEqual(
      expect.objectContaining({
        level: 'failure',
        check: 'web server',
        message: 'nginx cannot run CGI scripts',
      }),
    )
  })

  it('this host, as JSON with stable names', async () => {
    const { code, findings } = await diagnose('cgi')
    expect(code).toBe(findings.some(({ level }) => level === 'failure') ? 1 : 0)
    for (const finding of findings) {
      expect(Object.keys(finding).slice(0, 3)).toEqual(['level', 'check', 'message'])
    }
  })
})
