/**
 * CGI scripts in processes of their own, from the side of a web server: variables, a body, and
 * what came back.
 */
import { Buffer } from 'node:buffer'
import { type ChildProcess, spawn, type StdioOptions } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { rolldown } from 'rolldown'

export interface Answer {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface Call {
  /** All there is in the environment. */
  env?: Record<string, string>
  /** Sent to stdin, which is then closed; without it there is none. */
  body?: string
  args?: string[]
}

/** What a web server says of a simple request. */
export const REQUEST = { GATEWAY_INTERFACE: 'CGI/1.1', REQUEST_METHOD: 'GET' }

/** Puts the CommonJS build of handlers/cgi.ts into `folder`, as it is published. */
export async function bundleCGI(folder: string): Promise<void> {
  const input = resolve(import.meta.dirname, '../../handlers/cgi.ts')
  const build = await rolldown({ input, platform: 'node', logLevel: 'silent' })
  const { output } = await build.generate({ format: 'cjs' })
  await build.close()
  writeFileSync(join(folder, 'portico.cjs'), output[0].code)
  // The same with less patience for what a script leaves running.
  const hasty = output[0].code.replace(/EXIT_AFTER = \w+/, 'EXIT_AFTER = 200')
  if (hasty === output[0].code) throw new Error('EXIT_AFTER has another name now')
  writeFileSync(join(folder, 'hasty.cjs'), hasty)
}

/**
 * Writes a script whose application is `application`, unless that makes a handler itself; returns
 * its path. Without a `build` it is the whole script.
 */
export function writeScript(folder: string, name: string, application: string, build = 'portico') {
  const path = join(folder, `${name}.cgi`)
  const whole = build === '' || application.includes('Handler()')
  const head = `const { CGIHandler, IISCGIHandler } = require('./${build}.cjs')\n`
  const code = whole ? application : `new CGIHandler().run(${application})`
  writeFileSync(path, `${build && head}const fs = require('node:fs')\n${code}\n`)
  return path
}

export function start(path: string, call: Call, stdio: StdioOptions): ChildProcess {
  const child = spawn(process.execPath, [path, ...(call.args ?? [])], {
    stdio,
    env: call.env ?? REQUEST,
  })
  // A script need not read its body.
  child.stdin?.on('error', () => {})
  return child
}

/** Runs a script to its end. */
export async function request(path: string, call: Call = {}): Promise<Answer> {
  const child = start(path, call, [call.body === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'])
  child.stdin?.end(Buffer.from(call.body ?? '', 'latin1'))
  return answerOf(child)
}

/** Runs a shell command, in which $NODE is Node. */
export async function shell(command: string, env: Record<string, string> = REQUEST) {
  const paths = { PATH: '/usr/bin:/bin', NODE: process.execPath }
  return answerOf(
    spawn('sh', ['-c', command], { stdio: ['ignore', 'pipe', 'pipe'], env: { ...env, ...paths } }),
  )
}

/** What comes back until the process ends and everything has been read. */
export async function answerOf(child: ChildProcess): Promise<Answer> {
  const answer = { code: null as number | null, stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.setEncoding('latin1').on('data', (text: string) => (answer[name] += text))
  }
  await once(child, 'close')
  answer.code = child.exitCode
  return answer
}
