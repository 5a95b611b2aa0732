/** `portico serve --cgi-bin`, over HTTP and as FastCGI behind a real nginx in place of fcgiwrap. */
import { chmodSync, copyFileSync, mkdirSync } from 'node:fs'
import { resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { httpRequest } from '../../src/testing/raw-http-client.ts'
import { portico, project, type Portico } from '../command/portico.ts'
import { startNginx } from '../servers/nginx.ts'
import { findProgram, installed, type WebServer } from '../servers/process.ts'
import { addScript, makeScripts, sh } from './scripts.ts'

/** Each prints the method, SCRIPT_NAME, PATH_INFO and the query, and then the body backwards. */
const LANGUAGES: Readonly<Record<string, { readonly program: string; readonly text: string }>> = {
  'all.pl': {
    program: 'perl',
    text: `#!/usr/bin/perl
binmode STDIN; binmode STDOUT; my $body = '';
read STDIN, $body, $ENV{CONTENT_LENGTH} if $ENV{CONTENT_LENGTH};
print "Content-Type: text/plain\\r\\n\\r\\n", join('|', @ENV{qw(REQUEST_METHOD SCRIPT_NAME PATH_INFO QUERY_STRING)}, scalar reverse $body);
`,
  },
  'all.py': {
    program: 'python3',
    text: `#!/usr/bin/env python3
import os, sys
body = sys.stdin.buffer.read(int(os.environ.get('CONTENT_LENGTH') or 0))
sys.stdout.buffer.write(b'Content-Type: text/plain\\n\\n')
names = ('REQUEST_METHOD', 'SCRIPT_NAME', 'PATH_INFO', 'QUERY_STRING')
sys.stdout.buffer.write('|'.join(os.environ.get(name, '') for name in names).encode() + b'|' + body[::-1])
`,
  },
  'wsgi.py': {
    program: 'python3',
    text: `#!/usr/bin/env python3
from wsgiref.handlers import CGIHandler
def app(environ, start_response):
    body = environ['wsgi.input'].read(int(environ.get('CONTENT_LENGTH') or 0))
    start_response('200 OK', [('Content-Type', 'text/plain')])
    names = ('REQUEST_METHOD', 'SCRIPT_NAME', 'PATH_INFO', 'QUERY_STRING')
    return ['|'.join(environ.get(name, '') for name in names).encode() + b'|' + body[::-1]]
CGIHandler().run(app)
`,
  },
  'all.php': {
    program: 'php-cgi',
    text: `#!/usr/bin/env php-cgi
<?php
header('Content-Type: text/plain');
$names = ['REQUEST_METHOD', 'SCRIPT_NAME', 'PATH_INFO', 'QUERY_STRING'];
echo implode('|', array_map(fn($name) => $_SERVER[$name] ?? '', $names)), '|', strrev(file_get_contents('php://input'));
`,
  },
  'all.sh': {
    program: 'sh',
    text: sh(
      'printf "%s|%s|%s|%s|" "$REQUEST_METHOD" "$SCRIPT_NAME" "$PATH_INFO" "$QUERY_STRING"; head -c "${CONTENT_LENGTH:-0}" | rev | tr -d "\\n"',
    ),
  },
  'all.cgi': {
    program: 'node',
    text: `#!/usr/bin/env node
const { CGIHandler } = require('./portico.cjs')
new CGIHandler().run(async (environ, startResponse) => {
  const body = await environ['wsgi.input'].read()
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  const { REQUEST_METHOD, SCRIPT_NAME, PATH_INFO, QUERY_STRING } = environ
  return [[REQUEST_METHOD, SCRIPT_NAME, PATH_INFO, QUERY_STRING, body.reverse()].join('|')]
})
`,
  },
}

const directory = makeScripts({
  'local.sh': "#!/bin/sh\necho 'Location: /page?local'\necho\n",
  'broken.sh': '#!/bin/sh\necho oops\n',
})
for (const [name, { text }] of Object.entries(LANGUAGES)) addScript(directory, name, text)
mkdirSync(`${directory}/sub`)
copyFileSync(resolve('cgi-bin/portico.cjs'), `${directory}/portico.cjs`)
chmodSync(`${directory}/portico.cjs`, 0o644)
addScript(directory, 'package.json', '{ "type": "commonjs" }', 0o644)

const { path, remove } = project({
  'app.mjs': `export default (environ, startResponse) => {
    startResponse('200 OK', [['Content-Type', 'text/plain']])
    return ['app ' + environ.PATH_INFO + ' ' + environ.QUERY_STRING]
  }`,
})
afterAll(remove)

/** A response as one line. */
async function ask(port: number, target: string, body?: string): Promise<string> {
  const request = body === undefined ? {} : { method: 'POST', body }
  const response = await httpRequest({ port }, { target, ...request })
  return `${response.status} ${String(response.body)}`
}

const portOf = async (started: Portico): Promise<number> =>
  Number(new URL(await started.url()).port)

describe('portico serve --cgi-bin over HTTP, beside an application', () => {
  let running: Portico
  let port: number
  beforeAll(async () => {
    const args = ['--cgi-bin', directory, '--cgi-bin', `/tools/=${directory}`, '--listen', ':0']
    running = portico(['serve', 'app.mjs', '--no-dev', ...args], { cwd: path })
    port = await portOf(running)
  })
  afterAll(() => running.stop())

  it.each(Object.entries(LANGUAGES))('runs %s', async (name, { program }) => {
    if (findProgram(program) === undefined) return
    expect(await ask(port, `/cgi-bin/${name}/a%20b?c=d`, 'body')).toBe(
      `200 POST|/cgi-bin/${name}|/a b|c=d|ydob`,
    )
  })

  it('runs scripts below a second path', async () => {
    expect(await ask(port, '/tools/all.sh')).toBe('200 GET|/tools/all.sh|||')
  })

  it('gives other paths and local redirects to the application', async () => {
    expect(await ask(port, '/cgi-binary?x')).toBe('200 app /cgi-binary x')
    expect(await ask(port, '/cgi-bin/local.sh')).toBe('200 app /page local')
    expect(await ask(port, '/cgi-bin/none')).toBe('404 Not Found\n')
  })

  it('runs a script whose slash is encoded', async () => {
    expect(await ask(port, '/cgi-bin%2fall.sh')).toBe('200 GET|/cgi-bin/all.sh|||')
  })

  it('logs why a script fails', async () => {
    expect(await ask(port, '/cgi-bin/broken.sh')).toBe('500 Internal Server Error\n')
    await running.printed(/GET \/cgi-bin\/broken\.sh: PORTICO_SCRIPT: .*"oops" is not a header/)
  })
})

describe('portico serve --cgi-bin', () => {
  it.each([
    [['--cgi-bin', 'nowhere'], 3, '--cgi-bin: no such directory: '],
    [['--cgi-timeout', '5s', 'app.mjs'], 2, '--cgi-timeout has no effect without --cgi-bin DIR'],
    [
      ['--cgi-bin', '.', '--cgi-max-scripts', '0'],
      2,
      '--cgi-max-scripts must be a whole number, 1 or more',
    ],
  ])('%j exits with code %d', async (args, code, message) => {
    const { ended, output } = await finished(portico(['serve', ...args], { cwd: path }))
    expect([ended, output]).toEqual([code, expect.stringContaining(message)])
  })

  it('in development runs a script that changes, without a restart', async () => {
    const running = portico(['serve', '--dev', '--cgi-bin', `/=${directory}`, '--listen', ':0'], {
      cwd: path,
    })
    const port = await portOf(running)
    for (const text of ['one', 'two']) {
      addScript(directory, 'changes.sh', sh(`printf ${text}`))
      expect(await ask(port, '/changes.sh')).toBe(`200 ${text}`)
    }
    await running.stop('SIGINT')
  })
})

async function finished(run: Portico): Promise<{ ended: unknown; output: string }> {
  const ended = await run.ended
  return { ended, output: run.output }
}

describe('A worker of portico serve --cgi-bin', () => {
  it.runIf(process.platform === 'linux')(
    'has one arena of malloc if it only starts scripts, and scripts do not get that variable',
    async () => {
      addScript(
        directory,
        'arena.sh',
        sh(
          'printf "$MALLOC_ARENA_MAX|"; tr "\\0" "\\n" < /proc/$PPID/environ | grep MALLOC_ARENA_MAX',
        ),
      )
      const found: string[] = []
      for (const files of [[], ['app.mjs']]) {
        const args = ['--no-dev', '--cgi-bin', directory, '--listen', ':0']
        const running = portico(['serve', ...files, ...args], { cwd: path })
        found.push(await ask(await portOf(running), '/cgi-bin/arena.sh'))
        await running.stop()
      }
      expect(found).toEqual(['200 |MALLOC_ARENA_MAX=1\n', '200 |'])
    },
  )

  it.runIf(process.platform === 'linux')(
    'that only starts scripts has the thread of --block-timeout only if that is set',
    async () => {
      addScript(directory, 'threads.sh', sh('ls /proc/$PPID/task | wc -l'))
      const counts: number[] = []
      for (const flags of [[], ['--block-timeout', '30s']]) {
        const args = ['--no-dev', '--cgi-bin', directory, '--listen', ':0', ...flags]
        const running = portico(['serve', ...args], { cwd: path })
        const response = await ask(await portOf(running), '/cgi-bin/threads.sh')
        counts.push(Number(response.split(' ')[1]))
        await running.stop()
      }
      expect(counts[0]).toBeGreaterThan(0)
      expect(counts[1]).toBeGreaterThan(counts[0]!)
    },
  )
})

const nginx = installed('nginx')

describe.skipIf(!nginx.available)(`portico serve --cgi-bin behind nginx${nginx.hint}`, () => {
  let running: Portico
  let server: WebServer
  beforeAll(async () => {
    const args = ['--gateway', 'fastcgi', '--listen', '127.0.0.1:0', '--workers', '2']
    running = portico(['serve', '--cgi-bin', directory, ...args], { cwd: path })
    const [, address = ''] = await running.printed(/FastCGI on (127\.0\.0\.1:\d+)/)
    // The example of fcgiwrap in Debian, and one that divides the path at the script.
    server = await startNginx({
      extra: `
    location /cgi-bin/ {
      gzip off;
      root /usr/lib;
      fastcgi_pass ${address};
      include /etc/nginx/fastcgi_params;
      fastcgi_param SCRIPT_FILENAME /usr/lib$fastcgi_script_name;
    }
    location ~ "^/split(?<script>/cgi-bin/[^/]+)(?<rest>/.*|)$" {
      fastcgi_pass ${address};
      include /etc/nginx/fastcgi_params;
      fastcgi_param SCRIPT_NAME $script;
      fastcgi_param PATH_INFO $rest;
      fastcgi_param DOCUMENT_URI $script$rest;
      fastcgi_param REQUEST_URI $script$rest;
    }`,
    })
  })
  afterAll(async () => {
    await server.stop()
    await running.stop()
  })

  it.each(Object.entries(LANGUAGES))('runs %s', async (name, { program }) => {
    if (findProgram(program) === undefined) return
    expect(await ask(server.port, `/cgi-bin/${name}/a%20b?c=d`, 'body')).toBe(
      `200 POST|/cgi-bin/${name}|/a b|c=d|ydob`,
    )
  })

  it('with the path divided at the script runs it, too', async () => {
    expect(await ask(server.port, '/split/cgi-bin/all.sh/x?y')).toBe(
      '200 GET|/cgi-bin/all.sh|/x|y|',
    )
  })

  it('logs why a script fails in the log of nginx', async () => {
    expect(await ask(server.port, '/cgi-bin/broken.sh')).toMatch(/^500 /)
    await expect.poll(() => server.errorLog()).toMatch(/PORTICO_SCRIPT: .*is not a header/)
  })
})
