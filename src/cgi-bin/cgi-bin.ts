/** `cgiBin`: the scripts of a directory, as an application (RFC 3875). */
import { closeSync } from 'node:fs'
import { dirname } from 'node:path'
import { decodePath } from '../environ/decode-path.ts'
import { copyEnviron } from '../environ/environ.ts'
import { withBytes } from '../environ/to-process.ts'
import { plain } from '../middleware/plain-response.ts'
import { requestName } from '../request/error-log.ts'
import { emptySource, Input } from '../request/input.ts'
import { type CgiHead, valuesOf } from '../response/cgi-response.ts'
import { isHopByHop } from '../response/head.ts'
import { asLogEntry, LENGTH } from '../text.ts'
import type { Application, Body, Environ, HeaderList, StartResponse } from '../types.ts'
import { startError } from './explain.ts'
import { findScript, resolveDots, type Script } from './find-script.ts'
import { type CgiBinOptions, checked, type Settings } from './options.ts'
import { bodyOf, type ScriptBody } from './request-body.ts'
import { scriptError } from './script-error.ts'
import { ScriptProcess } from './script-process.ts'
import { Slots } from './slots.ts'
import { StderrLog } from './stderr-log.ts'
import { variablesOf } from './variables.ts'

/** How often a script may redirect to a script: Apache's LimitInternalRecursion. */
const MAX_REDIRECTS = 10

/**
 * Runs the scripts of a directory, in any language, as a web server's cgi-bin does (RFC 3875).
 *
 * The first executable file along the path is the script, and the rest of the path is its PATH_INFO. A
 * script gets no arguments: the indexed query of section 4.4 is not supported, because interpreters
 * take such arguments for options (CVE-2012-1823).
 *
 * @param directory the path of the directory. It is resolved for each request.
 * @param options variables, limits, and where local redirects lead.
 * @returns an application. It responds with 404 if there is no such script, and the log says which file is
 *   missing; 403 or 500, and a line in the log that says what to do, for one that cannot run; 503 if too
 *   many scripts run and wait; 504 after `timeout` or `maxTime`. When the client leaves, the script and its
 *   children are ended.
 * @throws {ConfigurationError} if `directory` is not a directory, for a value out of range or an unknown
 *   option, and on Windows.
 * @example
 * import { chmodSync, mkdtempSync, writeFileSync } from 'node:fs'
 * import { tmpdir } from 'node:os'
 * import { join } from 'node:path'
 * import { cgiBin } from 'portico/middleware'
 *
 * const directory = mkdtempSync(join(tmpdir(), 'cgi-bin-'))
 * const script = '#!/bin/sh\nprintf "Content-Type: text/plain\\n\\n$SCRIPT_NAME, $PATH_INFO"\n'
 * writeFileSync(join(directory, 'where.sh'), script)
 * chmodSync(join(directory, 'where.sh'), 0o755)
 * const application = cgiBin(directory)
 * // GET /where.sh/a/b → 200 /where.sh, /a/b
 * // GET /nowhere.sh → 404 Not Found
 */
export function cgiBin(directory: string, options: CgiBinOptions = {}): Application {
  const settings = checked(directory, options)
  const host = new Host(settings)
  return (environ, startResponse) => host.respond(environ, startResponse)
}

const NOT_FOUND = plain('404 Not Found')
const BUSY = plain('503 Service Unavailable', [['Retry-After', '1']])

class Host {
  readonly #settings: Settings
  readonly #slots: Slots
  /** Whether the log has reported that requests are refused, since one was accepted. */
  #isBusy = false

  constructor(settings: Settings) {
    this.#settings = settings
    this.#slots = new Slots(settings.maxScripts, settings.maxWaiting)
  }

  async respond(original: Environ, startResponse: StartResponse): Promise<Body> {
    const { redirects } = this.#settings
    let environ = original
    // A login often sets a cookie and redirects to a page of its own.
    const cookies: HeaderList = []
    const start: StartResponse = (status, headers, ...error) =>
      startResponse(status, [...cookies, ...headers], ...error)
    for (let count = 0; count <= MAX_REDIRECTS; count += 1) {
      const script = findScript(this.#settings.directory, environ.PATH_INFO)
      if (script.path === undefined) {
        if (count > 0 && redirects !== undefined) return redirects(atRoot(environ), start)
        report(environ, `404, because ${script.reason}`)
        return NOT_FOUND(environ, start)
      }
      const started = await this.#start(environ, script)
      if (started === null) return this.#refuse(environ, start)
      const { head, run } = started
      const { localRedirect } = head
      if (localRedirect === undefined) return send(run, head, script, start)
      const mount = environ.SCRIPT_NAME
      const path = resolveDots(decodePath(localRedirect)) ?? ''
      const isOwn = path.startsWith(`${mount}/`)
      if (!isOwn && redirects === undefined) return redirectClient(run, head, start)
      run.drain()
      cookies.push(...head.headers.filter(([name]) => name.toLowerCase() === 'set-cookie'))
      environ = redirected(environ, localRedirect, path, isOwn ? mount : '')
      if (!isOwn) return redirects!(environ, start)
    }
    throw scriptError(`The scripts redirect to each other more than ${MAX_REDIRECTS} times`)
  }

  /** Runs a script until it has sent its head; null if there are too many. */
  async #start(
    environ: Environ,
    script: Script,
  ): Promise<{ run: ScriptProcess; head: CgiHead } | null> {
    const { timeout, maxStored } = this.#settings
    const signal = environ['portico.signal']
    const body = await bodyOf(environ, maxStored)
    let run: ScriptProcess
    try {
      if (!(await this.#slots.take(timeout, signal))) {
        signal.throwIfAborted()
        return null
      }
      this.#isBusy = false
      if (signal.aborted) {
        this.#slots.release()
        signal.throwIfAborted()
      }
      run = this.#launch(environ, script, body)
    } finally {
      if (body.kind === 'file') closeSync(body.fd)
    }
    return { run, head: await run.head }
  }

  #launch(environ: Environ, script: Script, body: ScriptBody): ScriptProcess {
    const settings = this.#settings
    const { path } = script
    const variables = variablesOf(environ, environ.SCRIPT_NAME, script, body.length, settings)
    const { command, env } = withBytes([path], variables)
    const launch = { path, command, env, cwd: settings.cwd ?? dirname(path), body }
    let isHeld = true
    const release = (): void => {
      if (isHeld) this.#slots.release()
      isHeld = false
    }
    try {
      return new ScriptProcess(
        launch,
        settings,
        new StderrLog(environ),
        environ['portico.signal'],
        release,
      )
    } catch (error) {
      release()
      throw startError(error, path, env['PATH']!)
    }
  }

  #refuse(environ: Environ, startResponse: StartResponse): Body | Promise<Body> {
    if (!this.#isBusy) {
      const { maxScripts, maxWaiting } = this.#settings
      const text = `503, because ${maxScripts} scripts run (maxScripts) and ${maxWaiting} requests wait (maxWaiting) or have waited too long`
      report(environ, text)
    }
    this.#isBusy = true
    return BUSY(environ, startResponse)
  }
}

function report(environ: Environ, text: string): void {
  environ['wsgi.errors'].write(asLogEntry(requestName(environ) + text))
}

/** Sends a document (section 6.2.1) or a redirect for the client (sections 6.2.3 and 6.2.4). */
function send(
  run: ScriptProcess,
  head: CgiHead,
  { path }: Script,
  startResponse: StartResponse,
): Body {
  try {
    startResponse(...checkedHead(head, path))
  } catch (error) {
    run.fail(error)
    throw error
  }
  // A client that does not want the rest, as after HEAD, does not stop what the script does.
  return run.output.body(() => run.drain())
}

function redirectClient(run: ScriptProcess, head: CgiHead, startResponse: StartResponse): Body {
  startResponse('302 Found', passedOn(head.headers))
  return run.output.body(() => run.drain())
}

/** @throws {PeerError} for a head that would make the response another one. */
function checkedHead(
  { status, headers }: CgiHead,
  path: string,
): [status: string, headers: HeaderList] {
  if (status.startsWith('1')) {
    throw scriptError(`${path}: Status ${status} is not that of a response`)
  }
  if (valuesOf(headers, 'Transfer-Encoding').length > 0) {
    throw scriptError(
      `${path}: it sends Transfer-Encoding, which is the web server's. Send the body as it is`,
    )
  }
  const lengths = valuesOf(headers, 'Content-Length')
  if (lengths.length > 1 || lengths.some((length) => !LENGTH.test(length))) {
    throw scriptError(`${path}: Content-Length: ${lengths.join(', ')} is not a number of bytes`)
  }
  const { STATUS_CODES } = process.getBuiltinModule('node:http')
  return [status.length > 3 ? status : `${status} ${STATUS_CODES[status] ?? ''}`, passedOn(headers)]
}

/** RFC 3875, section 6.3, allows each of these once. Of several, Apache 2.4 takes the last. */
const ONCE = new Set(['content-type', 'location'])

function passedOn(headers: HeaderList): HeaderList {
  const last = new Map(headers.map(([name], index) => [name.toLowerCase(), index]))
  return headers.filter(([name], index) => {
    const key = name.toLowerCase()
    return !isHopByHop(name) && (!ONCE.has(key) || last.get(key) === index)
  })
}

/** The request that a local redirect stands for: a GET without a body (section 6.2.2). */
function redirected(environ: Environ, location: string, path: string, mount: string): Environ {
  const copy = copyEnviron(environ)
  delete copy['CONTENT_LENGTH']
  delete copy['CONTENT_TYPE']
  delete copy['HTTP_TRANSFER_ENCODING']
  const mark = location.indexOf('?')
  return Object.assign(copy, {
    REQUEST_METHOD: environ.REQUEST_METHOD === 'HEAD' ? 'HEAD' : 'GET',
    SCRIPT_NAME: mount,
    PATH_INFO: path.slice(mount.length),
    QUERY_STRING: mark === -1 ? '' : location.slice(mark + 1).replace(/#.*$/s, ''),
    REDIRECT_STATUS: '200',
    REDIRECT_URL: environ.SCRIPT_NAME + environ.PATH_INFO,
    REDIRECT_QUERY_STRING: environ.QUERY_STRING,
    'wsgi.input': new Input(emptySource, 0),
  })
}

/** For the application to which local redirects go: its mount point is the root. */
function atRoot(environ: Environ): Environ {
  const copy = copyEnviron(environ)
  copy.PATH_INFO = copy.SCRIPT_NAME + copy.PATH_INFO
  copy.SCRIPT_NAME = ''
  return copy
}
