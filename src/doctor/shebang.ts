/** The first line of a script, the Node that it names, and how Node reads the file. */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { dirname, extname, isAbsolute, join } from 'node:path'
import { findInPath, interpreterOf, readShebang } from '../cgi-bin/shebang.ts'
import { SUEXEC_PATH } from '../cgi-bin/variables.ts'
import { failure, type Finding, ok, warning } from './finding.ts'

/** A start that takes longer, in ms, is not slow because of Node alone. */
const SLOW_START = 150

/** The oldest Node that Portico runs on. */
const LEAST_NODE = [20, 19] as const

/** How long `node --version` may take. */
const NODE_TIMEOUT = 10_000

/** @param searched the PATH in which `env` looks */
export function examineShebang(path: string, head: Buffer, searched: string): Finding[] {
  const failed = (message: string, fix: string) => [failure('shebang', message, `${fix} ${path}`)]
  const shebang = readShebang(head)
  switch (shebang.kind) {
    case 'byte order mark':
      return failed(
        'a byte order mark is before #!, so the kernel does not see it',
        `sed -i '1s/^\\xef\\xbb\\xbf//'`,
      )
    case 'none':
    case 'binary':
      return failed(
        'the first line is not #!, so the kernel cannot run the file',
        `sed -i '1i #!${process.execPath}'`,
      )
    case 'carriage return':
      return failed(
        'the first line ends with a carriage return, which becomes part of the name',
        `sed -i 's/\\r$//'`,
      )
    case 'long':
      return failed(
        'the interpreter in the first line is too long for the kernel, which reads 256 bytes',
        `sed -i '1s|.*|#!${process.execPath}|'`,
      )
    case 'relative':
      return failed(
        `${shebang.interpreter} is not an absolute path`,
        `sed -i '1s|.*|#!${process.execPath}|'`,
      )
    case 'script':
  }
  const { name, path: program } = interpreterOf(shebang, searched)
  if (program !== undefined) {
    return [
      ok('shebang', `${program} runs it`),
      ...(program.includes('node') ? examineNode(program) : []),
    ]
  }
  if (isAbsolute(name)) {
    return failed(`${name} does not exist`, `sed -i '1s|.*|#!${process.execPath}|'`)
  }
  const here = findInPath(name, process.env['PATH'] ?? '') ?? process.execPath
  return failed(
    `${name} is not in the PATH that scripts have (${searched})`,
    `sed -i '1s|.*|#!${here}|'`,
  )
}

export function examineNode(program: string): Finding[] {
  const started = performance.now()
  const { stdout, status } = spawnSync(program, ['--version'], {
    encoding: 'utf8',
    // NODE_OPTIONS of this process may load more.
    env: { PATH: SUEXEC_PATH },
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
        `name a newer Node in the first line: #!${process.execPath}`,
      ),
    )
  } else findings.push(ok('node', `Node ${stdout.trim()}`))
  if (took > SLOW_START) {
    const message = `Node takes ${took} ms to print its version: this host is slow`
    findings.push(
      warning('start', message, 'portico bundle --resident # one process for all requests'),
    )
  }
  return findings
}

/** A `.cgi` file is CommonJS; Node refuses it below a package.json that says otherwise. */
export function examineModule(path: string): Finding[] {
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
          directory === dirname(path)
            ? 'move the script into a directory of its own, with { "type": "commonjs" } in its package.json'
            : `echo '{ "type": "commonjs" }' > ${join(dirname(path), 'package.json')}`,
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
