/** What the error logs of web servers say of a request that failed. */
import { closeSync, openSync, readSync, statSync } from 'node:fs'
import { failure, type Finding, shownLine } from './finding.ts'
import { fixFor, type Problem } from './fixes.ts'
import type { ServerName } from './front.ts'
import { installOf, missingIn, placeIn } from './stack.ts'

/** How much is read of what a log got during a request, in bytes. */
const MOST = 64 * 1024

/** Sizes of logs before a request. */
export type Marks = ReadonlyMap<string, number>

export function markLogs(paths: readonly string[]): Marks {
  return new Map(paths.map((path) => [path, sizeOf(path)]))
}

function sizeOf(path: string): number {
  try {
    return statSync(path).size
  } catch {
    return 0
  }
}

/** What has been added since, the line feeds kept. */
function addedTo(marks: Marks): string {
  return [...marks].map(([path, size]) => readFrom(path, size)).join('')
}

function readFrom(path: string, size: number): string {
  const length = Math.min(sizeOf(path) - size, MOST)
  if (length <= 0) return ''
  let descriptor: number | undefined
  try {
    descriptor = openSync(path, 'r')
    const buffer = Buffer.alloc(length)
    return buffer.toString('utf8', 0, readSync(descriptor, buffer, 0, length, size))
  } catch {
    return ''
  } finally {
    if (descriptor !== undefined) closeSync(descriptor)
  }
}

/** Lines of logs: a pattern, the check that it concerns, what it means, and the problem. */
const MEANINGS: readonly (readonly [
  pattern: RegExp,
  check: string,
  message: string,
  problem: Problem,
])[] = [
  [
    /unsupported FastCGI protocol version: 72|bogus version 72|Got bogus version/i,
    'protocol',
    'the web server speaks FastCGI, and the application speaks HTTP',
    'speak HTTP',
  ],
  [
    /unsupported FastCGI protocol version|AH010(?:67|68|69|70)/i,
    'protocol',
    'the response of the application is not FastCGI',
    'speak FastCGI',
  ],
  [
    /upstream sent no valid HTTP|malformed HTTP (?:response|status)|invalid HTTP/i,
    'protocol',
    'the web server speaks HTTP, and the application does not',
    'speak FastCGI',
  ],
  [
    /AH01144: No protocol handler was valid for the URL \S+ \(scheme '(\w+)'\)/,
    'modules',
    'Apache has no module for the scheme $1',
    'proxy module',
  ],
  [
    /upstream sent too big header/,
    'response headers',
    'the headers of the response are larger than fastcgi_buffer_size',
    'header buffer',
  ],
  [
    /client intended to send too large body/,
    'uploads',
    'the request body is larger than client_max_body_size',
    'body limit',
  ],
  [
    /exceeds MaxRequestLen \((\d+)\)/,
    'uploads',
    'the request body is larger than FcgidMaxRequestLen, $1 bytes',
    'body limit',
  ],
  [
    /upstream timed out|AH01075.*timeout|Timeout waiting for output from CGI script|mod_fcgid: read data timeout|AH01220/i,
    'timeout',
    'the application has not responded in time',
    'timeout',
  ],
  [
    /upstream prematurely closed (?:FastCGI|SCGI)?\s*\w* ?connection|closed the connection|response not received|Premature end of script headers|Error reading from remote server/i,
    'application',
    'the application has ended or closed the connection without a response: it has crashed, or speaks another protocol',
    'crash',
  ],
  [
    /suexec policy violation|AH01215: suexec|suexec failure|target uid\/gid/i,
    'suexec',
    "suEXEC refuses the script: its owner, its directory's owner, or a mode that lets others write",
    'suexec',
  ],
  [
    /\(8\)Exec format error|exec of '[^']*' failed.*format/i,
    'shebang',
    'the kernel cannot run the script: its first line is not a valid #!',
    'script',
  ],
  [
    /\(13\)Permission denied: .*exec of|exec of '[^']*' failed.*denied|Permission denied: .*(?:AH01241|couldn't spawn)/i,
    'mode',
    'the web server may not run the script',
    'script',
  ],
  [
    /\(2\)No such file or directory: .*exec of|exec of '[^']*' failed/i,
    'shebang',
    'the program in the first line of the script does not exist',
    'script',
  ],
  [
    /env: (?:can't execute )?[‘'`"]?node\\r|node\r|env: 'node\\r'/i,
    'shebang',
    'the first line ends with a carriage return',
    'script',
  ],
  [
    /env: [‘'`"]?node[’'"]?: No such file/i,
    'shebang',
    "node is not in the web server's PATH",
    'script',
  ],
  [
    /ERR_UNKNOWN_FILE_EXTENSION|require is not defined in ES module scope/,
    'module',
    'a package.json above the script has "type": "module"',
    'script',
  ],
  [
    /(?:Cannot find (?:module|package)) ['"]([^'"]+)['"]/,
    'application',
    'the application cannot be loaded: $1 is not installed or not there',
    'install',
  ],
  [
    /\b((?:Syntax|Reference|Type|Range)?Error(?: \[\w+\])?: [^\n]{1,200})/,
    'application',
    'the application fails: $1',
    'crash',
  ],
  [
    /malformed header from script '?[^':]*'?: Bad header: ([^\n]*)/i,
    'output',
    'the script writes "$1" before its headers',
    'output',
  ],
  [
    /Options ExecCGI is off|AH02809/i,
    'ExecCGI',
    'Options ExecCGI is off in the directory of the script',
    'ExecCGI',
  ],
  [
    /client denied by server configuration|AH01630/,
    'access',
    'the configuration of Apache denies access',
    'require',
  ],
  [
    /End of script output before headers|AH01232/i,
    'script',
    'the script has ended without headers',
    'script',
  ],
  [
    /script not found or unable to stat/i,
    'script',
    'the script does not exist, or the web server may not read it',
    'script',
  ],
  [
    /open\(\) "([^"]+)" failed \(2: No such file/,
    'configuration',
    'nginx looks for the file $1: no location passes the path on',
    'location',
  ],
  [
    /directory index of "[^"]+" is forbidden/,
    'configuration',
    'nginx looks for a directory: no location passes the path on',
    'location',
  ],
  [
    /FastCGI sent in stderr: "([^"]{1,200})/,
    'application',
    'the application has logged: $1',
    'crash',
  ],
  [
    /\(13: Permission denied\)|\(13\)Permission denied|permission denied/i,
    'access',
    'the web server may not connect to the application',
    'socket mode',
  ],
  [
    /\(2: No such file|\(2\)No such file|no such file or directory/i,
    'socket',
    'the address in the configuration does not exist',
    'start',
  ],
  [
    /\(111: Connection refused\)|\(111\)Connection refused|connection refused/i,
    'listening',
    'nothing listens at the address in the configuration',
    'start',
  ],
]

/**
 * Explains what a log got; undefined if it got nothing. Below 500, an unknown line may be about
 * another request.
 */
export function explainLog(
  marks: Marks,
  server: ServerName | undefined,
  status: number,
): Finding | undefined {
  const text = addedTo(marks)
  for (const [pattern, check, message, problem] of MEANINGS) {
    const match = pattern.exec(text)
    if (match === null) continue
    const filled = message.replaceAll(/\$(\d)/g, (_, n: string) =>
      shownLine(match[Number(n)] ?? ''),
    )
    return failure(check, filled, exactFix(text, marks, problem) ?? fixFor(problem, server))
  }
  const last = text.trim().split('\n').at(-1) ?? ''
  if (last === '' || status < 500) return undefined
  return failure('log', `the error log says: ${shownLine(last)}`)
}

/** Before each line that a script writes to stderr: `[time] [cgi:error] … AH01215: `. */
const APACHE_PREFIX = /^\[[^\n]*?AH01215: (?:stderr from [^\n:]+: )?/gm

/** Names the line of the application, or the package that it needs, if the log shows it. */
function exactFix(text: string, marks: Marks, problem: Problem): string | undefined {
  const plain = text.replaceAll(APACHE_PREFIX, '')
  if (problem === 'install') {
    const missing = missingIn(plain)
    const [, importer] = /(?:imported from |^- )(\/[^\n]+?)\s*$/m.exec(plain) ?? []
    return missing && importer ? installOf(missing, importer) : undefined
  }
  const place = problem === 'crash' ? placeIn(plain) : undefined
  const log = [...marks].find(([path, size]) => sizeOf(path) > size)?.[0]
  return place === undefined ? undefined : `correct ${place} (the stack is in ${log})`
}
