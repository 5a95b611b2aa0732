/**
 * `withCodeCache`: a CommonJS program as one file that loads from a V8 code cache, if there is one.
 *
 * V8 parses a whole file before it runs the first line, and compiles each function at its first
 * call. Together that is most of the cost of a CGI request on top of Node's start. A cache that was
 * written after a request contains everything that a request needs, so V8 parses nothing.
 *
 * The program is in a comment, which V8 skips without parsing it. The loader compiles the comment
 * under the file's own name and line numbers, so stack traces point at its lines.
 */
import { createHash } from 'node:crypto'

export interface CachedProgram {
  /** CommonJS, without a `#!` line. `__portico_import(name)` imports, in every version of Node. */
  readonly source: string
  /** The first lines of the file: `#!` and comments. Ends with a newline, or is empty. */
  readonly head?: string
  /** The names that `import { … } from` can import. */
  readonly names?: readonly string[]
  /** Compressed JSON in base64. The program's `__portico_data(i)` parses one of these. */
  readonly data?: readonly string[]
  /**
   * When the cache is written: by the 'command' `node FILE --code-cache`, or at the 'first-run': after
   * the response to a request that found no cache. The next requests add what they have compiled.
   */
  readonly madeBy: 'command' | 'first-run'
}

/** What a CommonJS module is called with. */
const ARGUMENTS = 'exports, require, module, __filename, __dirname'

/**
 * Bun (1.4) runs a file that begins with this as it is: it does not parse it once more to translate it, and
 * that takes longer than Portico's part of a request. The value of the file has to be a function.
 */
const BUN = '// @bun @bun-cjs\n'

// The comment is the body of a function, because `toString()` then gives its text without reading the
// file a second time.
const BEGIN = 'function program() {/*\n'
const CLOSE = '\n})'
const END = '\n*/})'

/** Characters of the hash that binds a cache to its program. V8 compares only lengths. */
const ID_LENGTH = 15

/**
 * Bytes before the cache: the hash, and a digit that counts how often the cache was made again. A
 * multiple of 8, because V8 copies a cache that is not aligned.
 */
const HEADER = ID_LENGTH + 1

/**
 * How often a cache is made again. The first request may be a 404 or a HEAD, and V8 compiles a function at
 * its first call, so later requests have more to keep. The nth time comes after about 2^n requests.
 */
const GENERATIONS = 8

/** The text of the file. */
export function withCodeCache(program: CachedProgram): string {
  const { source, head = '', names = [], data = [], madeBy } = program
  const mark = markFor(source)
  const hidden = source.replaceAll('*/', `${mark}/`).replace(NOT_ASCII, (c) => mark + codeOf(c))
  const given = [
    ['__portico_data', 'data'],
    ['__portico_import', '(name) => import(name)'],
  ].filter(([name]) => source.includes(`${name}(`))
  const open = `(function (${[ARGUMENTS, ...given.map(([name]) => name)].join(', ')}) {\n`
  const text = open + hidden + CLOSE
  const loader = loaderOf({
    id: createHash('sha256').update(source).digest('hex').slice(0, ID_LENGTH),
    restore: `${source.includes('*/') ? `.replaceAll('${mark}/', '*' + '/')` : ''}${
      isAscii(source)
        ? ''
        : `.replace(/\\*${mark.slice(1)}(....)/g, (_, code) => String.fromCharCode('0x' + code))`
    }`,
    call: `run.call(exports, ${[ARGUMENTS, ...given.map(([, value]) => value)].join(', ')})`,
    imports: IMPORT.test(source),
    end: BEGIN.length + text.length,
    lengths: data.map((each) => each.length),
    names,
    madeBy,
  })
  const line = (head + loader).split('\n').length // Of BEGIN, counted from 1, so of OPEN, counted from 0.
  return head + loader.replaceAll('LINE', String(line)) + BEGIN + text + data.join('') + END + '\n'
}

/** A text that the program does not contain. */
function markFor(source: string): string {
  for (let i = 0; ; i += 1) if (!source.includes(`*@${i}@`)) return `*@${i}@`
}

/**
 * Bun (1.4) decodes a file that it does not translate as Latin-1, so only ASCII is the same in both
 * runtimes. Node reads ASCII faster.
 */
const NOT_ASCII = /[^\0-\x7f]/g

/** In Node 20, code from a cache cannot import: V8 loses which script it is. */
const IMPORT = /(?<![\w$.])import\s*\(/

function isAscii(text: string): boolean {
  return text.search(NOT_ASCII) === -1
}

function codeOf(character: string): string {
  return character.charCodeAt(0).toString(16).padStart(4, '0')
}

interface Loader extends Pick<Required<CachedProgram>, 'names' | 'madeBy'> {
  readonly id: string
  /** The call that restores what a comment in ASCII cannot contain; or ''. */
  readonly restore: string
  /** The call of the program. */
  readonly call: string
  /** Whether the program itself may import. */
  readonly imports: boolean
  /** Where the program ends in the text of the function that hides it. */
  readonly end: number
  /** The lengths of the data after it. */
  readonly lengths: readonly number[]
}

function loaderOf(loader: Loader): string {
  const { id, restore, call, imports, end, lengths, names, madeBy } = loader
  return `${BUN}'use strict'
${names.length > 0 ? `0 && (module.exports = { ${names.join(', ')} })\n` : ''};(typeof module === 'object'
  ? (load, program) => load(program, ${ARGUMENTS})
  // Bun calls the function that this file results in.
  : (load, program) => (...five) => load(program, ...five)
)((function (program, ${ARGUMENTS}) {
  const { bun, deno } = process.versions
  const fs = bun ? undefined : require('node:fs') // Expensive there, and not needed.
  // Caches are for Node; the others have its \`process.version\`, too.
  const name = bun || deno${imports ? " || process.version.startsWith('v20.')" : ''} ? undefined : ${CACHE_NAME[madeBy]}
  let cachedData${madeBy === 'command' ? '' : ', generation'}
  // existsSync, because an error that is thrown costs more than the rest of this loader.
  if (name && ${madeBy === 'command' ? '!making() && ' : ''}fs.existsSync(name)) {
    try {
      // V8 runs what is in a cache, so one of another user is ignored. A pipe must not block.
      const { O_NOFOLLOW, O_NONBLOCK } = fs.constants // Absent on Windows.
      const fd = fs.openSync(name, O_NOFOLLOW | O_NONBLOCK)
      const { uid } = fs.fstatSync(fd)
      const trusted = uid === 0 || uid === process.geteuid() || uid === fs.statSync(__filename).uid
      const bytes = trusted ? fs.readFileSync(fd) : Buffer.alloc(0)
      fs.closeSync(fd)
      // V8 checks its version and flags, but of the program only the length.
      if (bytes.latin1Slice(0, ${ID_LENGTH}) === '${id}') {
        cachedData = bytes.subarray(${HEADER})${madeBy === 'command' ? '' : `\n        generation = bytes[${ID_LENGTH}] - 48`}
      }
    } catch {}
  }
  const text = program.toString()
  const source = text.slice(${BEGIN.length}, ${end})${restore}
  let script, run
  if (bun) {
    // Bun loads node:vm for a millisecond, and its Script has no lineOffset.
    run = (0, eval)('\\n'.repeat(LINE) + source + '\\n//# sourceURL=' + __filename)
  } else {
    const { Script, constants } = require('node:vm')
    script = new Script(source, {
      filename: __filename,
      lineOffset: LINE,
      cachedData,
      importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
    })
    run = script.runInThisContext()
  }
${
  madeBy === 'command'
    ? `  ${call}`
    : `  try {
    ${call}
  } catch (error) {
    // On a line of its own, because Node prints that line: those of the program are very long.
    process.nextTick(() => {
      throw error
    })
  }`
}
${lengths.length > 0 ? dataFunction(end, lengths) : ''}${RULE[madeBy]}
  function write(to, count) {
    const part = to + '.part'
    try {
      // Another process may be writing. A file that is a minute old was left by one that was killed.
      if (Date.now() - fs.statSync(part, { throwIfNoEntry: false })?.mtimeMs > 60_000) fs.rmSync(part)
      const fd = fs.openSync(part, 'wx', ${madeBy === 'command' ? '0o644' : '0o600'})
      try {
        fs.writeFileSync(fd, Buffer.concat([Buffer.from('${id}' + count), script.createCachedData()]))
        fs.fsyncSync(fd)
      } finally {
        fs.closeSync(fd)
      }
      fs.renameSync(part, to)
      return undefined
    } catch (error) {
      return error
    }
  }
}), `
}

/** A program for Bun alone, which runs it as it is if it is ASCII; `head` as in CachedProgram. */
export function forBun(source: string, { head = '', esm = false } = {}): string {
  if (!isAscii(source)) return `${head}${source}\n`
  return esm
    ? `${head}// @bun\n${source}\n`
    : `${head}${BUN}(function (${ARGUMENTS}) {${source}\n})\n`
}

function dataFunction(end: number, lengths: readonly number[]): string {
  let at = end
  const ends = lengths.map((length) => (at += length))
  return `
  function data(i) {
    const ends = ${JSON.stringify([end, ...ends])}
    return JSON.parse(require('node:zlib').inflateRawSync(Buffer.from(text.slice(ends[i], ends[i + 1]), 'base64')))
  }
`
}

const VERSION = "process.version + '-' + process.platform + '-' + process.arch + '.cache'"

/** The expression for the path of the cache. */
const CACHE_NAME = {
  command: `__filename.replace(/\\.cjs$/, '-') + ${VERSION}`,
  // Apache never serves a file whose name begins with .ht; the cache contains the program's strings.
  'first-run': `__filename.replace(/([^/\\\\]*)$/, '.ht-$1-') + ${VERSION}`,
}

/** When to write the cache. */
const RULE = {
  command: `
  if (making() && !name) {
    require('node:fs').writeSync(2, 'A code cache is for Node; Bun and Deno start without one\\n')
    process.exitCode = 1
  } else if (making()) {
    // Descriptor 1 is for the response, which is discarded.
    fs.closeSync(1)
    fs.openSync(require('node:os').devNull, 'w')
    Object.assign(process.env, {
      GATEWAY_INTERFACE: 'CGI/1.1', REQUEST_METHOD: 'GET', QUERY_STRING: 'a=1', SCRIPT_NAME: '/cgi-bin/x.cgi',
      REQUEST_URI: '/cgi-bin/x.cgi?a=1', HTTP_HOST: 'localhost', SERVER_NAME: 'localhost', SERVER_PORT: '80',
      SERVER_PROTOCOL: 'HTTP/1.1', SERVER_SOFTWARE: 'Apache', SCRIPT_FILENAME: __filename,
    })
    new module.exports.CGIHandler().run((environ, startResponse) => {
      startResponse('200 OK', [['Content-Type', 'text/plain; charset=utf-8']])
      return ['Hello, world!\\n']
    })
    process.once('exit', () => {
      const error = write(name, 0)
      process.exitCode = error ? 1 : 0
      fs.writeSync(2, error ? 'Cannot write the code cache: ' + error.message + '\\n' : name + '\\n')
    })
  }
  function making() {
    const { argv, env } = process
    // Not under a web server, which can pass a query as arguments (CVE-2012-1823).
    return require.main === module && argv[2] === '--code-cache' && env.GATEWAY_INTERFACE === undefined
  }`,
  'first-run': `
  const count = cachedData && !script.cachedDataRejected ? generation + 1 : 0
  if (name && count <= ${GENERATIONS} && Math.random() < 2 ** (1 - count) && process.env.GATEWAY_INTERFACE !== undefined) {
    process.once('exit', (code) => {
      if (code !== 0) return
      // The web server waits until these are closed; the cache takes longer than a request.
      for (const fd of [0, 1, 2]) try { fs.closeSync(fd) } catch {}
      write(name, count)
    })
  }`,
}
