/** `portico init`: what it prints, writes and refuses. */
import { execFileSync, spawnSync } from 'node:child_process'
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, describe, expect, it, test } from 'vitest'
import { main } from '../../src/command/main.ts'
import { descriptions } from '../../src/servers/descriptions.ts'

const directory = mkdtempSync(join(tmpdir(), 'portico-init-'))
afterAll(() => rmSync(directory, { recursive: true }))

/** The file of an application that every user can reach. */
const APP = resolve('examples/hello.mjs')

async function portico(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  let out = ''
  let err = ''
  const code = await main(args, { out: (text) => (out += text), err: (text) => (err += text) })
  return { code, out, err }
}

function applicationIn(parent: string, name = 'app.mjs'): string {
  const file = join(parent, name)
  writeFileSync(file, 'export default () => []\n')
  return file
}

describe('portico init prints complete files for', () => {
  it.each(descriptions.map(({ name }) => name))('%s', async (name) => {
    const { code, out } = await portico('init', name, APP)
    expect(code).toBe(0)
    expect(out).toContain('\n')
    expect(out).not.toMatch(/undefined|\[object|NaN|\n\n\n/)
  })
})

describe('portico init puts what it is given into the configuration:', () => {
  it.each<[flags: string[], texts: string[]]>([
    [
      ['nginx', '--listen', '127.0.0.1:9000'],
      ['server 127.0.0.1:9000;', 'fastcgi_pass portico;'],
    ],
    [
      ['nginx', '--mount', '/a.b'],
      ['location ~ "(?s)^/a\\.b(?<portico_path>|/.*)\\z"', 'SCRIPT_NAME "/a.b"'],
    ],
    [['nginx', '--mount', '/'], ['SCRIPT_NAME ""']],
    [['nginx', '--no-streaming'], ['fastcgi_keep_conn on;']],
    [['nginx', '--keep-alive', '0'], ['fastcgi_keep_conn off;']],
    [['nginx', '--gateway', 'scgi'], ['scgi_pass portico;']],
    [
      ['nginx', '--auth', '/etc/users'],
      ['auth_basic_user_file /etc/users;', 'REMOTE_USER $remote_user'],
    ],
    [
      ['nginx', '--tls', '/c.pem,/k.pem'],
      ['listen 443 ssl;', 'ssl_certificate_key /k.pem;'],
    ],
    [
      ['nginx', '--static', '/static=/srv/www'],
      ['location ^~ /static/ {', 'alias /srv/www/;'],
    ],
    [
      ['nginx', '--max-body', '7', '--timeout', '90s'],
      ['client_max_body_size 7m;', 'fastcgi_read_timeout 90s;'],
    ],
    [['apache'], ['<VirtualHost *:80>', 'flushpackets=on', 'CGIPassAuth On']],
    [['apache', '--gateway', 'cgi', APP], [`ScriptAlias "/" "${APP}/"`]],
    [['caddy', '--hostname', 'example.org', '--port', '443'], ['\nexample.org {']],
    [['caddy', '--hostname', 'example.org'], ['\nexample.org {']],
    [['caddy', '--hostname', 'example.org', '--tls', '/c.pem,/k.pem'], ['\nexample.org {']],
    [['caddy', '--hostname', 'example.org', '--port', '80'], ['\nhttp://example.org {']],
    [['caddy', '--hostname', 'example.org', '--port', '8080'], ['\nhttp://example.org:8080 {']],
    [['caddy', '--hostname', 'localhost'], ['\nhttp://localhost {']],
    [['caddy', '--hostname', '127.0.0.1'], ['\nhttp://127.0.0.1 {']],
    [['caddy', '--hostname', 'nas.local'], ['\nhttp://nas.local {']],
    [
      ['caddy', '--hostname', 'localhost', '--port', '127.0.0.1:8655'],
      ['\nhttp://localhost:8655 {', 'bind 127.0.0.1'],
    ],
    [
      ['caddy', '--hostname', 'localhost', '--port', '8655', '--tls', '/c.pem,/k.pem'],
      ['\nhttps://localhost:8655 {'],
    ],
    [['haproxy'], ['set-param REMOTE_USER %[var(txn.user)]']],
    [
      ['systemd', APP],
      [
        `ExecStart=${process.execPath} ${resolve('bin/portico.cjs')} serve ${APP}`,
        'KillMode=mixed',
      ],
    ],
    [
      ['cgi', APP],
      [`#!${process.execPath}\n`, `import("${APP}")`],
    ],
  ])('%j', async (flags, texts) => {
    const { code, out } = await portico('init', ...flags)
    expect(code).toBe(0)
    for (const text of texts) expect(out).toContain(text)
  })
})

describe('portico init --auth', () => {
  const file = join(directory, 'htpasswd')
  const bcrypt = '$2y$04$Ih2RKIHIMN7v18IkTsmvJucgTDAgIBGBNa9QbfdswZIKzmHj7nsgS'

  it.each(['caddy', 'haproxy', 'h2o'])(
    'of %s needs to read the users, and says how to create the file',
    async (name) => {
      expect(await portico('init', name, '--auth', '/nonexistent')).toMatchObject({
        code: 1,
        out: '',
        err: expect.stringMatching(/^portico: --auth: cannot read \/nonexistent.*htpasswd -c.*\n$/),
      })
    },
  )

  it.each([
    ['caddy', '$apr1$a$b', 'htpasswd -B'],
    ['haproxy', '{SHA}a', 'htpasswd -B'],
    ['h2o', bcrypt, 'htpasswd -s'],
  ])('of %s refuses the hash %s, and says which one it knows', async (name, hash, advice) => {
    writeFileSync(file, `# users\n\nalice:${hash}\n`)
    const { code, err } = await portico('init', name, '--auth', file)
    expect(code).toBe(1)
    expect(err).toContain(`${advice} ${file} alice`)
  })

  it.each([
    ['caddy', `alice ${bcrypt}`],
    ['haproxy', `user alice password ${bcrypt}`],
    ['htaccess', `AuthUserFile "${file}"`],
  ])('of %s writes %s', async (name, text) => {
    writeFileSync(file, `alice:${bcrypt}\n`)
    expect((await portico('init', name, '--auth', file)).out).toContain(text)
  })

  it('refuses a file that is not one of htpasswd', async () => {
    writeFileSync(file, 'alice\n')
    expect(await portico('init', 'nginx', '--auth', file)).toMatchObject({
      code: 2,
      err: expect.stringContaining(`${file} has a line that is not NAME:HASH`),
    })
  })
})

describe('portico init listens where it should:', () => {
  it.each([
    ['nginx', [], 'listen 80;\n    listen [::]:80;'],
    ['nginx', ['--port', '[::1]:8080'], 'listen [::1]:8080;'],
    ['apache', ['--port', '8080'], 'Listen 8080\n<VirtualHost *:8080>'],
    ['apache', ['--port', '[::1]:8080'], 'Listen [::1]:8080\n<VirtualHost [::1]:8080>'],
    ['lighttpd', ['--port', '8080'], '$SERVER["socket"] == "[::]:8080" {'],
    ['caddy', ['--port', '[::1]:8080'], 'http://:8080 {\n\tbind ::1'],
    ['haproxy', [], 'bind :::80 v4v6'],
    ['h2o', ['--port', '[::1]:8080'], 'host: "::1"\n  port: 8080'],
  ])('%s %j', async (name, flags, text) => {
    expect((await portico('init', name, ...flags)).out).toContain(text)
  })
})

test('portico init nginx passes REMOTE_USER only with Basic authentication', async () => {
  const { out } = await portico('init', 'nginx')
  expect(out).not.toMatch(/^[^#]*REMOTE_USER/m)
})

it.each(['nginx', 'systemd', 'docker', 'htaccess'])(
  'portico init %s ends with exit code 3 if the file of the application does not exist',
  async (name) => {
    expect(await portico('init', name, '/none/app.mjs')).toEqual({
      code: 3,
      out: '',
      err: 'portico: init: no such file: /none/app.mjs\n',
    })
  },
)

test('portico init docker copies dependencies of file: before npm ci, and warns of those outside', async () => {
  const home = mkdtempSync(join(directory, 'image-'))
  const dependencies = { a: 'file:./lib/a b.tgz', b: '1', portico: 'file:../portico-0.1.0.tgz' }
  writeFileSync(join(home, 'package.json'), JSON.stringify({ dependencies }))
  const { code, out, err } = await portico('init', 'docker', applicationIn(home))
  expect(code).toBe(0)
  expect(out).toContain(
    'COPY package*.json ./\nCOPY ["lib/a b.tgz","./lib/a b.tgz"]\nRUN npm ci --omit=dev\n',
  )
  expect(err.match(/^# warning: .*$/gm)).toEqual([
    `# warning: package.json names file:../portico-0.1.0.tgz, which is outside of the build context, so npm ci fails: copy it into ${home}, and run npm install there`,
  ])
})

test('portico init systemd gives the application a directory to write to, and warns of one in /tmp', async () => {
  expect((await portico('init', 'systemd', APP)).out).toContain('\nStateDirectory=portico\n')
  const home = mkdtempSync('/tmp/portico-private-')
  try {
    const { err } = await portico('init', 'systemd', applicationIn(home))
    expect(err).toContain(
      `# warning: the service cannot see ${home}/app.mjs, because PrivateTmp gives it a /tmp of its own`,
    )
  } finally {
    rmSync(home, { recursive: true })
  }
})

describe('portico init refuses, in one line and with exit code 2,', () => {
  it.each([
    [['ngnix'], "unknown server 'ngnix'. Did you mean 'nginx'?"],
    [['caddy', '--gateway', 'scgi'], 'init: Caddy does not speak scgi here'],
    [['nginx', '--tls', 'one.pem'], "init: --tls must be CERT,KEY (got 'one.pem')"],
    [['nginx', '--static', '/x'], "init: --static must be PATH=DIR (got '/x')"],
    [['nginx', '--keep-alive', 'many'], '--keep-alive must be a whole number'],
    [['systemd', '--tls', 'a,b'], 'init: systemd has no --tls'],
    [['docker', '--auth', 'a'], 'init: Docker has no --auth'],
    [['haproxy', '--static', '/a=/b'], 'init: HAProxy has no --static'],
    [['nginx', '--wirte', 'x'], "unknown flag --wirte. Did you mean '--write'?"],
  ])('%j', async (args, message) => {
    const { code, out, err } = await portico('init', ...args)
    expect([code, out]).toEqual([2, ''])
    expect(err).toContain(message)
    expect(err.split('\n')).toHaveLength(2)
  })
})

describe('portico init refuses a value that would end a directive:', () => {
  it.each([
    ['--mount', '/a"; deny all; #'],
    ['--mount', 'app'],
    ['--mount', '/app/'],
    ['--listen', 'unix:/run/a b.sock'],
    ['--hostname', 'a;b'],
    ['--port', '80;'],
    ['--port', '[::1'],
    ['--listen', 'app.sock'],
    ['--static', '/a=/b{c'],
  ])('%s %s', async (flag, value) => {
    const { code, out, err } = await portico('init', 'nginx', flag, value)
    expect([code, out]).toEqual([2, ''])
    expect(err).toMatch(/^portico: init: --\w+: /)
  })
})

test('What the system refuses is one line without a stack', async () => {
  const { code, out, err } = await portico('init', 'nginx', '--write', '/dev/null')
  expect([code, out]).toEqual([1, ''])
  expect(err).toMatch(/^portico: EEXIST: .*'\/dev\/null'\n$/)
})

test('portico init --write writes a file, leaves a different one alone, and overwrites with --force', async () => {
  const outputDirectory = join(directory, 'new')
  const target = join(outputDirectory, 'portico')
  const first = await portico('init', 'nginx', '--write', outputDirectory)
  expect(first).toEqual({ code: 0, out: `wrote ${target}\n`, err: '' })
  expect(await portico('init', 'nginx', '--write', outputDirectory)).toMatchObject({
    code: 0,
    out: `unchanged ${target}\n`,
  })

  const written = readFileSync(target, 'utf8')
  writeFileSync(target, `# mine\n${written}`)
  const second = await portico('init', 'nginx', '--write', outputDirectory)
  expect(second.code).toBe(1)
  expect(second.err).toContain('--force')
  expect(second.out).toMatch(/^-# mine\n # One application/)
  expect(readFileSync(target, 'utf8')).toBe(`# mine\n${written}`)

  expect((await portico('init', 'nginx', '--write', outputDirectory, '--force')).code).toBe(0)
  expect(readFileSync(target, 'utf8')).toBe(written)
  expect(readFileSync(`${target}.bak`, 'utf8')).toBe(`# mine\n${written}`)
})

/** `portico init docker --check` in a directory: relative paths are those of a project. */
function checkDocker(cwd: string): { code: number | null; out: string; err: string } {
  const args = [resolve('bin/portico.cjs'), 'init', 'docker', '--check']
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd, encoding: 'utf8' })
  return { code: status, out: stdout, err: stderr }
}

describe('portico init --check', () => {
  it('reports each file that is not there, and exits with 1', () => {
    const outputDirectory = mkdtempSync(join(directory, 'check-'))
    expect(checkDocker(outputDirectory)).toEqual({
      code: 1,
      out: '',
      err: 'Dockerfile: not there\n.dockerignore: not there\n',
    })
  })

  it('exits with 0 when every file is as it would be written', async () => {
    const outputDirectory = mkdtempSync(join(directory, 'check-'))
    await portico('init', 'docker', '--write', outputDirectory)
    expect(checkDocker(outputDirectory)).toEqual({
      code: 0,
      out: 'Dockerfile: as it would be written\n.dockerignore: as it would be written\n',
      err: '',
    })
  })

  it('shows what has to change from the installed file to the one that would be written', async () => {
    const outputDirectory = mkdtempSync(join(directory, 'check-'))
    await portico('init', 'docker', '--write', outputDirectory)
    const file = join(outputDirectory, '.dockerignore')
    writeFileSync(file, readFileSync(file, 'utf8').replace('.env', 'mine'))
    expect(checkDocker(outputDirectory)).toEqual({
      code: 1,
      out: 'Dockerfile: as it would be written\n.dockerignore: differs\n node_modules\n .git\n-mine\n+.env\n \n',
      err: '',
    })
  })
})

test('portico init cgi --write makes the script executable', async () => {
  await portico('init', 'cgi', APP, '--write', directory)
  expect(statSync(join(directory, 'index.cgi')).mode & 0o777).toBe(0o755)
  expect(readFileSync(join(directory, 'package.json'), 'utf8')).toBe('{ "type": "commonjs" }\n')
})

test('the command portico prints the same as main() of its module', async () => {
  const out = execFileSync(process.execPath, ['bin/portico.cjs', 'init', 'lighttpd'], {
    encoding: 'utf8',
    stdio: 'pipe',
  })
  expect(out).toBe((await portico('init', 'lighttpd')).out)
})

test('portico init htaccess --write writes the script that the URLs reach, and an npm project keeps its package.json', async () => {
  const outputDirectory = mkdtempSync(join(directory, 'www-'))
  writeFileSync(join(outputDirectory, 'package.json'), '{ "dependencies": {} }\n')
  expect(await portico('init', 'htaccess', APP, '--write', outputDirectory)).toMatchObject({
    code: 0,
    out: `wrote ${outputDirectory}/.htaccess\nwrote ${outputDirectory}/index.cgi\nunchanged ${outputDirectory}/package.json\n`,
  })
  writeFileSync(join(outputDirectory, 'package.json'), '{ "type": "module" }\n')
  expect(await portico('init', 'htaccess', APP, '--write', outputDirectory)).toMatchObject({
    code: 1,
    err: expect.stringContaining(`${outputDirectory}/package.json is there and differs`),
  })
})

test('portico init htaccess --write warns that clients could read the application', async () => {
  const outputDirectory = mkdtempSync(join(directory, 'www-'))
  const { code, err } = await portico(
    'init',
    'htaccess',
    applicationIn(outputDirectory),
    '--write',
    outputDirectory,
  )
  expect(code).toBe(0)
  expect(err).toMatch(/^# warning: clients can read every file of .*use --write DOCUMENT_ROOT$/m)
})

describe('portico init warns of what the user of the web server cannot reach:', () => {
  const closed = join(directory, 'closed') // mkdtemp() lets no other user into the one above it.
  mkdirSync(closed)
  applicationIn(closed)
  applicationIn(closed, 'app.cgi')
  it.each([
    [['apache-fcgid', `${closed}/app.mjs`], 'run', `${closed}/app.mjs`],
    [['apache', '--gateway', 'cgi', `${closed}/app.cgi`], 'run', `${closed}/app.cgi`],
    [['htaccess', `${closed}/app.mjs`], 'run', `${closed}/app.mjs`],
    [['systemd', `${closed}/app.mjs`], 'run', `${closed}/app.mjs`],
    [['cgi', `${closed}/app.mjs`], 'run', `${closed}/app.mjs`],
    [['nginx', '--listen', `unix:${closed}/app.sock`], 'connect to', `${closed}/app.sock`],
    [['nginx', '--static', `/static=${closed}`], 'read', closed],
  ])('%j', async (args, need, path) => {
    const { code, err } = await portico('init', ...args)
    expect(code).toBe(0)
    expect(err).toMatch(
      new RegExp(
        `^# warning: .* cannot ${need} ${path}, because it cannot enter ${directory}: `,
        'm',
      ),
    )
  })

  it('nothing, where it can enter every directory', async () => {
    const open = mkdtempSync(join(tmpdir(), 'portico-open-'))
    chmodSync(open, 0o755)
    try {
      const { err } = await portico('init', 'apache-fcgid', applicationIn(open))
      expect(err).not.toContain('warning')
    } finally {
      rmSync(open, { recursive: true })
    }
  })
})

test('portico init apache --gateway cgi reloads Apache twice, because mod_cgid starts its daemon late', async () => {
  const { err } = await portico('init', 'apache', '--gateway', 'cgi', APP)
  expect(err.match(/^# then: apachectl graceful$/gm)).toHaveLength(2)
  const { err: fastcgi } = await portico('init', 'apache')
  expect(fastcgi.match(/^# then: apachectl graceful$/gm)).toHaveLength(1)
})

test('portico init nginx ends with the command that starts the application', async () => {
  const { err } = await portico('init', 'nginx', 'examples/hello.mjs')
  expect(err).toMatch(
    /\n# then: npx portico serve examples\/hello\.mjs --gateway fastcgi --listen unix:\/run\/portico\/app\.sock\n$/,
  )
})
