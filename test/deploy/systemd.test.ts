/**
 * What `portico init systemd` writes, and the template units of examples/deploy/systemd/, under a real
 * systemd, which boots in namespaces of its own. Needs root.
 */
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { cp, readFile, rm, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { installed, makeDirectory } from '../servers/process.ts'

const { available, hint } = installed('systemctl')

/** Whether this process may make namespaces and mount: root in a container often may not. */
const MOUNTS = 21
const capabilities = /^CapEff:\s*([0-9a-f]+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]
const allowed = (BigInt(`0x${capabilities ?? '0'}`) >> BigInt(MOUNTS)) % 2n === 1n

/** The limit of the whole run, systemd's boot included; it takes a sixth of it. */
const SECONDS = 90

const APPLICATION = `export default (environ, startResponse) => {
  startResponse('200 OK', [])
  return [\`\${environ.PATH_INFO} for \${process.getuid() === 0 ? 'root' : 'an ordinary user'}\\n\`]
}
`

// Each step prints its name, its output and its exit code.
const SCRIPT = `
step() { echo "# $1"; shift; "$@" 2>&1; echo "= $?"; }
portico='/opt/node/node /srv/app/node_modules/portico/bin/portico.cjs'
until_ready() { until $portico status "$1" 2>&1 | grep -q 'workers .* 2 of 2 ready'; do sleep 0.1; done; }
cd /srv/app
step init $portico init systemd app.mjs --write /etc/systemd/system
step verify systemd-analyze verify /etc/systemd/system/portico.service
systemctl daemon-reload
systemctl enable --now portico.socket 2>/dev/null
step before systemctl is-active portico.socket portico.service
step first $portico request fastcgi://unix:/run/portico/app.sock:/first
until_ready /run/portico-control/control
step reload systemctl reload portico.service
systemctl stop portico.service 2>/dev/null
step stopped systemctl is-active portico.socket portico.service
step again $portico request fastcgi://unix:/run/portico/app.sock:/again
step result systemctl show -p Result -p NRestarts portico.service
step socket stat -c '%A %U %G' /run/portico/app.sock
step control stat -L -c '%A' /run/portico-control
cp /run/test/template/portico@.* /etc/systemd/system
sed -i 's#/usr/bin/node#/opt/node/node#' /etc/systemd/system/portico@.service
systemctl daemon-reload
step template-verify systemd-analyze verify portico@app.service
systemctl start portico@app.socket
step template $portico request fastcgi://unix:/run/portico/app.sock:/template
step template-ping $portico ping /run/portico-app/control
`

describe.skipIf(!available || !allowed)(`A service of systemd${hint}`, () => {
  let directory: string
  let steps: Map<string, string>

  beforeAll(
    async () => {
      directory = await makeDirectory()
      await writeFile(join(directory, 'app.mjs'), APPLICATION)
      await writeFile(join(directory, 'package.json'), '{}')
      await writeFile(join(directory, 'run.sh'), SCRIPT)
      await cp('examples/deploy/systemd', join(directory, 'template'), { recursive: true })
      const mounts = [
        `${directory}/app.mjs=/srv/app/app.mjs`,
        `${directory}/package.json=/srv/app/package.json`,
        `${resolve('.')}=/srv/app/node_modules/portico`,
        `${process.execPath}=/opt/node/node`,
      ]
      const script = join(import.meta.dirname, 'boot-systemd.sh')
      await promisify(execFile)('bash', [script, directory, String(SECONDS), ...mounts])
      const output = await readFile(join(directory, 'output'), 'utf8')
      steps = new Map(
        [...output.matchAll(/^# (\S+)\n([^]*?= \d+)$/gm)].map(([, name, text]) => [name!, text!]),
      )
    },
    (SECONDS + 10) * 1000,
  )
  afterAll(() => rm(directory, { recursive: true, force: true }))

  it.each<[name: string, statement: string, expected: string]>([
    ['verify', 'is accepted by systemd-analyze verify without a word', '= 0'],
    ['before', 'waits while only its socket is active', 'active\ninactive\n= 0'],
    [
      'first',
      'starts with the first request, as a user of its own',
      '/first for an ordinary user\n= 0',
    ],
    ['reload', 'reloads through systemctl reload', '= 0'],
    ['stopped', 'leaves its socket when it stops', 'active\ninactive\n= 0'],
    ['again', 'starts again with the next request', '/again for an ordinary user\n= 0'],
    ['result', 'has stopped without an error', 'Result=success\nNRestarts=0\n= 0'],
    ['control', 'keeps its control socket from other users', 'drwx------\n= 0'],
    ['template-verify', 'can be an instance of the template, which systemd-analyze accepts', '= 0'],
    [
      'template',
      'can be an instance of the template, which starts with the first request',
      '/template for an ordinary user\n= 0',
    ],
    [
      'template-ping',
      'can be an instance of the template, which has a control socket',
      'pong\n= 0',
    ],
  ])('%s: it %s', (name, _statement, expected) => {
    expect(steps.get(name)).toBe(expected)
  })

  it('has a socket that the group of the web server can write to', () => {
    expect(steps.get('socket')).toMatch(/^srw-rw---- root \S+\n= 0$/)
  })
})
