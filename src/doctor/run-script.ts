/** Runs a CGI script, and looks at what comes out. */
import { spawn } from 'node:child_process'
import { basename, dirname, resolve } from 'node:path'
import { identityOf } from './access.ts'
import { failure, type Finding, ok, shownLine } from './finding.ts'
import { errorIn, fixOf } from './stack.ts'

/** How long a script may take for a page, in ms. Apache waits 60 s. */
const RUN_TIMEOUT = 10_000

/** Bytes of output that are looked at. */
const MOST = 64 * 1024

interface Run {
  readonly out: string
  readonly err: string
  readonly code: number | null
  readonly timedOut: boolean
}

/** Runs a script as a web server does, with a GET of its own path and the web server's user. */
export async function runScript(
  file: string,
  user: string | undefined,
  path: string,
): Promise<Finding[]> {
  const script = resolve(file)
  const name = `/${basename(script)}`
  const run = await execute(script, [], user, dirname(script), {
    PATH: path,
    GATEWAY_INTERFACE: 'CGI/1.1',
    REQUEST_METHOD: 'GET',
    SCRIPT_NAME: name,
    SCRIPT_FILENAME: script,
    REQUEST_URI: name,
    QUERY_STRING: '',
    SERVER_PROTOCOL: 'HTTP/1.1',
    SERVER_SOFTWARE: 'portico-doctor',
    SERVER_NAME: 'localhost',
    SERVER_PORT: '80',
    REMOTE_ADDR: '127.0.0.1',
    HTTP_HOST: 'localhost',
  })
  return examineRun(run, script)
}

async function execute(
  program: string,
  args: readonly string[],
  user: string | undefined,
  cwd: string,
  env: NodeJS.ProcessEnv,
): Promise<Run> {
  const identity = process.getuid?.() === 0 && user !== undefined ? identityOf(user) : undefined
  const child = spawn(program, args, {
    cwd,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: RUN_TIMEOUT,
    killSignal: 'SIGKILL',
    ...(identity === undefined ? {} : { uid: identity.uid, gid: identity.gids[0] }),
  })
  const texts = { out: '', err: '' }
  child.stdout.on('data', (chunk: Buffer) => {
    if (texts.out.length < MOST) texts.out += chunk.toString('latin1')
  })
  child.stderr.on('data', (chunk: Buffer) => {
    if (texts.err.length < MOST) texts.err += chunk.toString('utf8')
  })
  return new Promise((done) => {
    child.once('error', ({ message }) => {
      done({ ...texts, err: message, code: null, timedOut: false })
    })
    child.once('close', (code, signal) => {
      done({ ...texts, code, timedOut: signal === 'SIGKILL' })
    })
  })
}

/** RFC 3875, section 6.2: headers, an empty line, and then the body. */
function examineRun({ out, err, code, timedOut }: Run, file: string): Finding[] {
  const what = 'the script'
  if (timedOut && !out.includes('\n\n') && !out.includes('\r\n\r\n')) {
    const message = `${what} has not responded within ${RUN_TIMEOUT / 1000} s: it waits for something, or starts a server of its own`
    return [failure('run', message, 'run(app) of portico responds to one request under CGI')]
  }
  if (out === '') {
    const reason = err === '' ? `exit code ${code}` : errorIn(err)
    return [failure('run', `${what} ends without a response: ${reason}`, fixOf(err, file))]
  }
  const findings: Finding[] = []
  const lines = out.split(/\r?\n/)
  const end = lines.indexOf('')
  const wrong = lines
    .slice(0, end < 0 ? undefined : end)
    .find((line) => !/^[!#$%&'*+.^_`|~\w-]+:/.test(line))
  if (wrong !== undefined) {
    return [
      failure(
        'output',
        `${what} writes ${JSON.stringify(shownLine(wrong))} before or among its headers`,
        'console.error instead of console.log; only the response goes to stdout',
      ),
    ]
  }
  if (end < 0 || end === lines.length - 1) {
    const message = `no empty line ends the headers of ${what}`
    return [failure('output', message, "write '\\r\\n' after the last header")]
  }
  const head = lines.slice(0, end).join('\n')
  if (!/^(?:content-type|location|status):/im.test(head)) {
    const message = `${what} sends neither Content-Type nor Location nor Status`
    return [failure('output', message, 'Content-Type: text/html; charset=utf-8')]
  }
  const [, status] = /^status:\s*(5\d\d)/im.exec(head) ?? []
  if (status !== undefined) {
    const reason = err === '' ? '' : `: ${errorIn(err)}`
    findings.push(failure('run', `${what} responds with a ${status}${reason}`, fixOf(err, file)))
  } else findings.push(ok('run', `${what} responds to a GET`))
  return findings
}
