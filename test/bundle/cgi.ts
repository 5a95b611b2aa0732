/** Runs executable CGI scripts as a web server does. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { dirname } from 'node:path'

export interface Result {
  readonly code: number | null
  readonly head: string
  readonly body: string
  readonly stderr: string
}

export interface Call {
  readonly path?: string
  readonly method?: string
  readonly body?: string
  readonly env?: Readonly<Record<string, string>>
}

/** The variables of a request; PATH as Apache passes it. */
export function variables({ path = '/', method = 'GET', body, env }: Call = {}) {
  return {
    PATH: process.env['PATH']!,
    GATEWAY_INTERFACE: 'CGI/1.1',
    REQUEST_METHOD: method,
    SCRIPT_NAME: '/app.cgi',
    PATH_INFO: path,
    REQUEST_URI: `/app.cgi${path}`,
    QUERY_STRING: '',
    SERVER_NAME: 'localhost',
    SERVER_PORT: '80',
    SERVER_PROTOCOL: 'HTTP/1.1',
    SERVER_SOFTWARE: 'Apache/2.4.62 (Debian)',
    REMOTE_ADDR: '127.0.0.1',
    ...(body === undefined
      ? {}
      : { CONTENT_LENGTH: String(Buffer.byteLength(body)), CONTENT_TYPE: 'text/plain' }),
    ...env,
  }
}

/** Runs a script to its end, and to the end of its output. */
export async function callScript(script: string, call: Call = {}): Promise<Result> {
  const child = spawn(script, [], {
    cwd: dirname(script),
    env: variables(call),
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  child.stdin.on('error', () => {})
  child.stdin.end(call.body ?? '')
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  const [code] = (await once(child, 'close')) as [number | null]
  const at = stdout.indexOf('\r\n\r\n')
  return { code, head: stdout.slice(0, Math.max(at, 0)), body: stdout.slice(at + 4), stderr }
}
