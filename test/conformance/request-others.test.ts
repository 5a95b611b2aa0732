/** `portico request` with php-fpm and uWSGI: applications that know nothing of Portico. */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { phpFpmProgram, startPhpFpm, type PhpFpm } from '../servers/php-fpm.ts'
import { findProgram, installed, makeDirectory } from '../servers/process.ts'

/** The command of 'dist/'. */
const BIN = resolve('bin/portico.cjs')

function portico(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((done) => {
    execFile(process.execPath, [BIN, 'request', ...args], (error, stdout, stderr) => {
      done({ code: error === null ? 0 : Number(error.code), stdout, stderr })
    })
  })
}

const php = installed(phpFpmProgram())

describe.skipIf(!php.available)(`portico request to php-fpm${php.hint}`, () => {
  let fpm: PhpFpm
  beforeAll(async () => {
    fpm = await startPhpFpm(`<?php
header('Content-Type: text/plain');
if ($_SERVER['QUERY_STRING'] === 'fail') { http_response_code(503); }
error_log('logged by PHP');
echo $_SERVER['REQUEST_METHOD'], ' ', $_SERVER['PATH_INFO'] ?? '', ' ', $_SERVER['REMOTE_USER'] ?? '-', ' ',
  file_get_contents('php://input'), "\\n";
`)
  })
  afterAll(() => fpm?.stop())

  it('prints the response, and the log apart', async () => {
    const ran = await portico(
      `fastcgi://unix:${fpm.path}:/a?b`,
      '--param',
      'SCRIPT_FILENAME=index.php',
      '--param',
      'REMOTE_USER=ada',
      '-d',
      'hello',
    )
    expect(ran).toEqual({
      code: 0,
      stdout: 'POST /a ada hello\n',
      stderr: expect.stringMatching(/^stderr: .*logged by PHP/) as string,
    })
  })

  it('prints the status, and exits with 22 for an error', async () => {
    const args = ['--param', 'SCRIPT_FILENAME=index.php', '-i']
    const target = `fastcgi://unix:${fpm.path}:/a?fail`
    const shown = await portico(target, ...args)
    expect(shown.stdout).toMatch(/^Status: 503 Service Unavailable\r\n/)
    expect((await portico(target, ...args, '--fail')).code).toBe(22)
  })
})

const uwsgi = installed('uwsgi')

describe.skipIf(!uwsgi.available)(`portico request to uWSGI${uwsgi.hint}`, () => {
  let directory: string
  let socket: string
  let stop: () => Promise<void>
  beforeAll(async () => {
    directory = await makeDirectory('portico-uwsgi')
    socket = join(directory, 'scgi.sock')
    writeFileSync(
      join(directory, 'app.py'),
      `def application(environ, start_response):
    size = int(environ.get('CONTENT_LENGTH') or 0)
    body = environ['wsgi.input'].read(size)
    start_response('201 Created', [('Content-Type', 'text/plain')])
    return [(environ['REQUEST_METHOD'] + ' ' + environ['PATH_INFO'] + ' ').encode(), body]
`,
    )
    const child = spawn(
      findProgram('uwsgi')!,
      `--plugin python3 --scgi-socket ${socket} --wsgi-file app.py --need-app --die-on-term --disable-logging`.split(
        ' ',
      ),
      { cwd: directory, stdio: 'ignore' },
    )
    const ended = once(child, 'close')
    stop = async () => {
      child.kill('SIGTERM')
      await ended
    }
    while (!(await accepts(socket)) && child.exitCode === null) await sleep(20)
  })
  afterAll(async () => {
    await stop?.()
    await rm(directory, { recursive: true, force: true })
  })

  it('prints the response of a POST over SCGI', async () => {
    const ran = await portico(`scgi://unix:${socket}:/a%20b?c`, '-i', '-d', 'hello')
    expect(ran).toEqual({
      code: 0,
      stdout: 'Status: 201 Created\r\nContent-Type: text/plain\r\n\r\nPOST /a b hello',
      stderr: '',
    })
  })
})

function accepts(path: string): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(path, () => {
      socket.destroy()
      done(true)
    })
    socket.once('error', () => done(false))
  })
}
