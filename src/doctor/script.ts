/** Looks at a CGI script or a FastCGI program: what makes a web server refuse it. */
import { execFileSync, spawnSync } from 'node:child_process'
import { closeSync, openSync, readFileSync, readSync, statSync, type Stats } from 'node:fs'
import { delimiter, dirname, extname, isAbsolute, join, resolve } from 'node:path'
import { failure, type Finding, ok, warning } from './finding.ts'

/** Bytes that are read of a script; a shebang is at most 256 (Linux). */
const HEAD = 512

/** What Apache and suEXEC give scripts. */
const SERVER_PATH = '/usr/local/bin:/usr/bin:/bin'

/** Address space that Node 20 needs to start, in KiB (measured). */
const LEAST_ADDRESS_SPACE = 730_000

/** A start that is slower has a reason beside Node itself, in ms. */
const SLOW_START = 150

/** The oldest Node that Portico runs on. */
const LEAST_NODE = [20, 19] as const

/** How long `node --version` may take. */
const NODE_TIMEOUT = 10_000

export function examineScript(file: string, user: string | undefined): Finding[] {
  const path = resolve(file)
  let stats: Stats
  try {
    stats = statSync(path)
  } catch (error) {
    return [
      failure(
        'file',
        `${path}: ${(error as NodeJS.ErrnoException).code === 'ENOENT' ? 'no such file' : (error as Error).message}`,
      ),
    ]
  }
  if (!stats.isFile()) return [failure('file', `${path} is not a file`)]
  const head = headOf(path)
  return [
    ...examineMode(path, stats, user),
    ...examineShebang(path, head),
    ...examineModule(path),
    ...examineMount(path),
    ...examineLimits(),
  ]
}

function headOf(path: string): Buffer {
  const descriptor = openSync(path, 'r')
  try {
    const buffer = Buffer.alloc(HEAD)
    return buffer.subarray(0, readSync(descriptor, buffer, 0, HEAD, 0))
  } finally {
    closeSync(descriptor)
  }
}

function examineMode(path: string, { mode, uid }: Stats, user: string | undefined): Finding[] {
  const findings: Finding[] = []
  if ((mode & 0o111) === 0) {
    findings.push(
      failure(
        'mode',
        `${path} is not executable (mode 0${(mode & 0o777).toString(8)})`,
        `chmod 755 ${path}`,
      ),
    )
  } else if ((mode & 0o001) === 0 && user !== undefined && uid !== 0) {
    findings.push(
      warning(
        'mode',
        `only its owner and group may run ${path}, unless suEXEC is used`,
        `chmod 755 ${path}`,
      ),
    )
  } else findings.push(ok('mode', `${path} is executable`))
  if ((mode & 0o022) !== 0) {
    findings.push(
      failure('mode', `others may write to ${path}: suEXEC refuses it`, `chmod go-w ${path}`),
    )
  }
  if ((statSync(dirname(path)).mode & 0o022) !== 0 && dirname(path) !== '/tmp') {
    findings.push(
      warning(
        'mode',
        `others may write to ${dirname(path)}: suEXEC refuses its scripts`,
        `chmod go-w ${dirname(path)}`,
      ),
    )
  }
  return findings
}

function examineShebang(path: string, head: Buffer): Finding[] {
  if (head[0] === 0xef && head[1] === 0xbb && head[2] === 0xbf) {
    return [
      failure(
        'shebang',
        'a byte order mark is before #!, so the kernel does not see it',
        `sed -i '1s/^\\xef\\xbb\\xbf//' ${path}`,
      ),
    ]
  }
  const line = head.toString('latin1').split('\n', 1)[0]!
  if (!line.startsWith('#!')) {
    return [
      failure(
        'shebang',
        'the first line is not #!, so the kernel cannot run the file',
        `sed -i '1i #!${process.execPath}' ${path}`,
      ),
    ]
  }
  if (line.endsWith('\r')) {
    return [
      failure(
        'shebang',
        'the first line ends with a carriage return, which becomes part of the name',
        `sed -i 's/\\r$//' ${path}`,
      ),
    ]
  }
  const [interpreter = '', argument = ''] = line.slice(2).trim().split(/\s+/)
  if (!isAbsolute(interpreter)) {
    return [
      failure(
        'shebang',
        `${interpreter} is not an absolute path`,
        `sed -i '1s|.*|#!${process.execPath}|' ${path}`,
      ),
    ]
  }
  const program = interpreter.endsWith('/env') ? inPath(argument, SERVER_PATH) : interpreter
  if (program === undefined) {
    return [
      failure(
        'shebang',
        `${argument} is not in the PATH that web servers have (${SERVER_PATH})`,
        `sed -i '1s|.*|#!${inPath(argument, process.env['PATH'] ?? '') ?? process.execPath}|' ${path}`,
      ),
    ]
  }
  try {
    statSync(program)
  } catch {
    return [
      failure(
        'shebang',
        `${program} does not exist`,
        `sed -i '1s|.*|#!${process.execPath}|' ${path}`,
      ),
    ]
  }
  return [
    ok('shebang', `${program} runs it`),
    ...(/node/.test(program) ? examineNode(program) : []),
  ]
}

function inPath(name: string, path: string): string | undefined {
  return path
    .split(delimiter)
    .map((directory) => join(directory, name))
    .find((each) => {
      try {
        return statSync(each).isFile()
      } catch {
        return false
      }
    })
}

function examineNode(program: string): Finding[] {
  const started = performance.now()
  const { stdout, status } = spawnSync(program, ['--version'], {
    encoding: 'utf8',
    timeout: NODE_TIMEOUT,
  })
  const took = Math.round(performance.now() - started)
  const [, major = '0', minor = '0'] = /^v(\d+)\.(\d+)/.exec(stdout ?? '') ?? []
  if (status !== 0) return [failure('node', `${program} does not run here`, `${program} --version`)]
  const findings: Finding[] = []
  if (
    Number(major) < LEAST_NODE[0] ||
    (Number(major) === LEAST_NODE[0] && Number(minor) < LEAST_NODE[1])
  ) {
    findings.push(
      failure(
        'node',
        `${program} is Node ${major}.${minor}; Portico needs ${LEAST_NODE.join('.')} or newer`,
      ),
    )
  } else findings.push(ok('node', `Node ${stdout.trim()}`))
  if (process.env['NODE_EXTRA_CA_CERTS'] !== undefined) {
    findings.push(
      warning(
        'node',
        'NODE_EXTRA_CA_CERTS makes each start slower by some 30 ms',
        'unset NODE_EXTRA_CA_CERTS for the web server',
      ),
    )
  } else if (took > SLOW_START)
    findings.push(warning('node', `Node takes ${took} ms to print its version: this host is slow`))
  return findings
}

/** A `.cgi` file is CommonJS; Node refuses it below a package.json that says otherwise. */
function examineModule(path: string): Finding[] {
  if (extname(path) === '.mjs' || extname(path) === '.js') return []
  for (let directory = dirname(path); ; directory = dirname(directory)) {
    try {
      const manifest = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8')) as {
        type?: string
      }
      if (manifest.type !== 'module')
        return [
          ok(
            'module',
            `${join(directory, 'package.json')} leaves ${extname(path) || 'the file'} CommonJS`,
          ),
        ]
      return [
        failure(
          'module',
          `${join(directory, 'package.json')} says "type": "module", so Node refuses ${extname(path) || 'a file without extension'}`,
          `echo '{ "type": "commonjs" }' > ${join(dirname(path), 'package.json')}`,
        ),
      ]
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
        return [
          failure('module', `${join(directory, 'package.json')}: ${(error as Error).message}`),
        ]
      }
    }
    if (directory === dirname(directory)) return []
  }
}

/** A file system that is mounted noexec refuses every script (Linux). */
function examineMount(path: string): Finding[] {
  let mounts: string
  try {
    mounts = readFileSync('/proc/self/mounts', 'utf8')
  } catch {
    return []
  }
  const [best] = mounts
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, at = '']) => at !== '' && `${path}/`.startsWith(at === '/' ? '/' : `${at}/`))
    .toSorted(([, a = ''], [, b = '']) => b.length - a.length)
  if (best === undefined || !best[3]?.split(',').includes('noexec')) return []
  return [
    failure(
      'mount',
      `${best[1]} is mounted noexec, so nothing there can be run`,
      `mount -o remount,exec ${best[1]}`,
    ),
  ]
}

function examineLimits(): Finding[] {
  try {
    const limit = execFileSync('sh', ['-c', 'ulimit -v'], { encoding: 'utf8' }).trim()
    if (limit === 'unlimited' || Number(limit) >= LEAST_ADDRESS_SPACE) return []
    return [
      failure(
        'limits',
        `ulimit -v ${limit} is below the ${LEAST_ADDRESS_SPACE} KiB that Node needs`,
        'ask the host to raise the limit of address space (PMEM)',
      ),
    ]
  } catch {
    return []
  }
}
