/** What lighttpd's configuration says of the requests for a path. */
import { spawnSync } from 'node:child_process'
import type { Gateway } from '../../gateways.ts'
import { failure, type Finding, warning } from '../finding.ts'
import { textOf } from '../processes.ts'
import { addressOf } from '../address.ts'
import type { Backend, ConfigurationSource, Setup } from './setup.ts'

const DIRECTIVES: Readonly<Record<string, { gateway: Gateway; module: string }>> = {
  'fastcgi.server': { gateway: 'fastcgi', module: 'mod_fastcgi' },
  'scgi.server': { gateway: 'scgi', module: 'mod_scgi' },
  'proxy.server': { gateway: 'http', module: 'mod_proxy' },
}

/** How long lighttpd may take to print its configuration, in ms. */
const PRINT_TIMEOUT = 5_000

/** An entry of a list, such as `"/app" => (( "socket" => … ))`. */
interface Entry extends Backend {
  readonly directive: string
  readonly prefix: string
  readonly settings: string
}

export function readLighttpd({ file, program, request }: ConfigurationSource): Setup {
  const text = printed(file, program)
  const value = (name: string): string | undefined =>
    new RegExp(
      String.raw`^\s*${name.replaceAll('.', String.raw`\.`)}\s*=\s*"?([^"\n]*)"?`,
      'm',
    ).exec(text)?.[1]
  const entries = Object.keys(DIRECTIVES).flatMap((name) => entriesOf(text, name))
  const chosen =
    request === undefined ? entries : entries.filter(({ prefix }) => matches(prefix, request.path))
  const log = value('server.errorlog')
  const aliases = [...text.matchAll(/"(\/[^"]*)"\s*=>\s*"(\/[^"]*)"/g)]
  return {
    backends: chosen,
    scripts: /cgi\.assign/.test(text)
      ? aliases
          .filter(([, prefix = '']) => request?.path.startsWith(prefix) ?? true)
          .map(([, prefix = '', target = '']) =>
            request !== undefined && target.endsWith('/')
              ? target + (request.path.slice(prefix.length).split('/')[0] ?? '')
              : target,
          )
      : [],
    runsScripts: /cgi\.assign/.test(text),
    logs: log === undefined ? [] : [log],
    user: value('server.username'),
    findings: request === undefined ? [] : chosen.flatMap((entry) => examine(entry, text)),
  }
}

/** The configuration with all its includes and variables, as lighttpd itself reads it. */
function printed(file: string, program: string | undefined): string {
  if (program !== undefined) {
    const { stdout, status } = spawnSync(program, ['-p', '-f', file], {
      encoding: 'utf8',
      timeout: PRINT_TIMEOUT,
    })
    if (status === 0 && stdout.includes('=')) return stdout
  }
  return textOf(file).replaceAll(/^\s*#.*$/gm, '')
}

function entriesOf(text: string, directive: string): Entry[] {
  const found: Entry[] = []
  const start = new RegExp(String.raw`${directive.replace('.', String.raw`\.`)}\s*\+?=\s*\(`, 'g')
  for (const match of text.matchAll(start)) {
    const list = balanced(text, match.index + match[0].length - 1)
    for (const [whole, prefix = ''] of list.matchAll(/"([^"]*)"\s*=>\s*\(/g)) {
      const at = list.indexOf(whole) + whole.length - 1
      const settings = balanced(list, at)
      const setting = (name: string): string | undefined =>
        new RegExp(String.raw`"${name}"\s*=>\s*"?([^",)\s]*)`).exec(settings)?.[1]
      const where = setting('socket') ?? setting('host')
      if (where === undefined) continue
      const port = setting('port')
      const address = addressOf(where.startsWith('/') ? `unix:${where}` : `${where}:${port ?? 80}`)
      const text_ = `${directive} = ( "${prefix}" => (( "${where.startsWith('/') ? 'socket' : 'host'}" => "${where}" )) )`
      const { gateway } = DIRECTIVES[directive]!
      found.push({ gateway, address, text: text_, directive, prefix, settings })
    }
  }
  return found
}

/** The text between the bracket at `open` and its partner. */
function balanced(text: string, open: number): string {
  let depth = 0
  for (let at = open; at < text.length; at++) {
    if (text[at] === '(') depth++
    if (text[at] === ')' && --depth === 0) return text.slice(open + 1, at)
  }
  return text.slice(open + 1)
}

/** lighttpd takes a key that begins with a slash for a prefix, and others for an extension. */
function matches(key: string, path: string): boolean {
  return key.startsWith('/') ? path.startsWith(key) : path.includes(key)
}

function examine(
  { directive, prefix, settings, gateway, text: line }: Entry,
  text: string,
): Finding[] {
  const findings: Finding[] = []
  const { module } = DIRECTIVES[directive]!
  const modules = /server\.modules\s*=\s*\(([^)]*)\)/.exec(text)?.[1] ?? ''
  if (modules !== '' && !modules.includes(module)) {
    findings.push(
      failure('modules', `${directive} needs ${module}`, `server.modules += ( "${module}" )`),
    )
  }
  const setting = (name: string): string | undefined =>
    new RegExp(`"${name}"\\s*=>\\s*"?([^",)\\s]*)`).exec(settings)?.[1]
  if (gateway !== 'http' && setting('check-local') !== 'disable') {
    findings.push(
      failure(
        'check-local',
        `without check-local, lighttpd looks for a file below server.document-root for each path, and responds with a 404`,
        `"check-local" => "disable"`,
      ),
    )
  }
  if (gateway !== 'http' && prefix === '/' && setting('fix-root-scriptname') !== 'enable') {
    findings.push(
      failure(
        'PATH_INFO',
        'lighttpd takes the first segment of the path for SCRIPT_NAME',
        '"fix-root-scriptname" => "enable"',
      ),
    )
  }
  if (prefix !== '/' && prefix.endsWith('/')) {
    findings.push(
      warning(
        'mount',
        `${line}: with a slash at its end the prefix takes one more segment into SCRIPT_NAME`,
        `${directive} = ( "${prefix.replace(/\/$/, '')}" => (( … )) )`,
      ),
    )
  }
  if (/compress|deflate/.test(modules) && /text\/event-stream|"text\/"/.test(text)) {
    findings.push(
      warning(
        'gzip',
        'mod_deflate compresses text/event-stream, and holds events back',
        'deflate.mimetypes = ( "text/html", "text/css", "application/json" )',
      ),
    )
  }
  return findings
}
