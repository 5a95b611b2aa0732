/** The command as a process: exit codes, completion in a shell, TypeScript. */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { afterAll, describe, expect, it, test } from 'vitest'
import { BIN, portico, project } from './portico.ts'

const HELLO = `(environ, startResponse) => {
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  return ['hello']
}`

const directory = project({
  'app.ts': `const app: unknown = ${HELLO}\nexport default app\n`,
  'app.mjs': `export default ${HELLO}`,
  'package.json': '{}',
  'empty/readme.txt': '',
  'with space.mjs': '',
  // What tsx does for this file, which is all that a test needs.
  'with-tsx/node_modules/tsx/package.json': '{ "type": "module", "exports": "./loader.js" }',
  'with-tsx/node_modules/tsx/loader.js': `import { register } from 'node:module'
    register('./hooks.js', import.meta.url)`,
  'with-tsx/node_modules/tsx/hooks.js': `export async function load(url, context, next) {
      if (!url.endsWith('.ts')) return next(url, context)
      const { source } = await next(url, { ...context, format: 'module' })
      return { format: 'module', shortCircuit: true, source: String(source).replace(': unknown', '') }
    }`,
  'with-tsx/app.ts': `const app: unknown = ${HELLO}\nexport default app\n`,
})
afterAll(() => directory.remove())
const cwd = directory.path

test.each([
  ['a full disk', ' >/dev/full', 1, 'portico: stdout cannot be written (ENOSPC)\n'],
  ['a file that is closed', ' >&-', 0, ''],
])('Output to %s does not end in a stack', async (_, to, code, output) => {
  const script = `(exec 3>&1; { "$@"; echo "code $?" >&3; }${to})`
  const running = portico(['--help'], { cwd, program: ['/bin/sh', '-c', script, '-'] })
  expect(await running.ended).toBe(0)
  expect(running.output).toBe(`${output}code ${code}\n`)
})

test('A command whose reader has ended exits with code 1 and prints nothing', async () => {
  const running = portico(['--help'], { cwd })
  running.child.stdout!.destroy()
  expect(await running.ended).toBe(1)
  expect(running.output).toBe('')
})

test('A message to a reader that has ended leaves the exit code', async () => {
  const running = portico(['serv'], { cwd })
  running.child.stderr!.destroy()
  expect(await running.ended).toBe(2)
})

test.each([
  [['serve', 'nope.js'], 3, 'portico: no such file: nope.js\n'],
  [['nope.js'], 3, 'portico: no such file: nope.js\n'],
  [
    ['serve', 'empty'],
    3,
    /^portico: no application in empty\. Name its file: portico serve FILE\. .*\n$/,
  ],
  [
    ['serve', 'empty/readme.txt'],
    3,
    /^portico: \/\S+\/empty\/readme\.txt is neither JavaScript nor TypeScript\. .*--cgi-bin DIR\n$/,
  ],
  [['serve', 'package.json'], 3, /^portico: \/\S+\/package\.json is neither JavaScript nor .*\n$/],
  [['serv'], 2, "portico: unknown command 'serv'. Did you mean 'serve'?\n"],
  [['--versio'], 2, "portico: unknown flag --versio. Did you mean '--version'?\n"],
  [['serve', '--port', '80'], 2, "portico: unknown flag --port. Did you mean '--listen'?\n"],
  [['doctor', '-json', 'x'], 2, "portico: unknown flag -json. Did you mean '--json'?\n"],
  [['request', '--hedaer', 'x'], 2, "portico: unknown flag --hedaer. Did you mean '--header'?\n"],
  [['bundle', 'nope.mjs'], 3, 'portico: no such file: nope.mjs\n'],
  [['request', './nope.mjs/path'], 3, 'portico: no such file: ./nope.mjs/path\n'],
  [['request', 'cgi:nope.cgi'], 3, 'portico: no such CGI script: nope.cgi\n'],
  [['doctor', 'nope.cgi'], 3, 'portico: no such file: nope.cgi\n'],
  [['doctor', './nope.mjs'], 3, 'portico: no such file: ./nope.mjs\n'],
  [['serve', '--wrokers', '2'], 2, "portico: unknown flag --wrokers. Did you mean '--workers'?\n"],
  [['serve', '--listen', 'x'], 2, /^portico: --listen: "x" .*\n$/],
  [
    ['status'],
    2,
    'portico: status needs PATH, the socket of --control: neither PORTICO_CONTROL nor a ' +
      'portico.config.js here names it. See portico status --help\n',
  ],
  [
    ['serve', 'app.mjs', '--no-dev', '--listen', 'fastcgi://*:9000'],
    1,
    /^--listen: '\*' is every address .* or name its clients: --allow ADDRESS,\.\.\.\n$/,
  ],
  [
    ['ping', '/nope/control.sock'],
    1,
    /^The control socket \/nope\/control\.sock does not exist.*\n$/,
  ],
] as const)('portico %j ends with code %i and one line', async (args, code, output) => {
  const running = portico(args, { cwd })
  expect(await running.ended).toBe(code)
  expect(running.output).toEqual(
    typeof output === 'string' ? output : expect.stringMatching(output),
  )
})

/** What bash completes for a line whose last word is being typed. */
function completed(...words: readonly string[]): Promise<string[]> {
  const script = `source <("$0" "$1" completion bash)
    COMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}) COMP_CWORD=${words.length - 1}
    _portico; printf '%s\\n' "\${COMPREPLY[@]}"`
  return new Promise((resolve, reject) => {
    execFile('bash', ['-c', script, process.execPath, BIN], { cwd }, (error, stdout) => {
      if (error) reject(new Error(error.message))
      else resolve(stdout.trim().split('\n').toSorted())
    })
  })
}

describe('bash completes', () => {
  it.each([
    ['commands', ['portico', 're'], ['reload', 'request']],
    ['files of an application', ['portico', 'app'], ['app.mjs', 'app.ts']],
    ['flags', ['portico', 'serve', '--soc'], ['--socket-group', '--socket-mode', '--socket-owner']],
    ['values', ['portico', 'serve', '--gateway', 'f'], ['fastcgi']],
    ['values after =', ['portico', 'serve', '--gateway', '=', 'f'], ['fastcgi']],
    ['all values after =', ['portico', 'serve', '--log', '='], ['json', 'text']],
    ['flags of serve without its name', ['portico', 'app.ts', '--work'], ['--workers']],
    ['a file with a space', ['portico', 'serve', 'wi'], ['with space.mjs', 'with-tsx']],
    ['commands after help', ['portico', 'help', 'st'], ['status', 'stop']],
    ['the words that a command takes', ['portico', 'completion', 'z'], ['zsh']],
  ])('%s', async (_, words, expected) => {
    expect(await completed(...words)).toEqual(expected)
  })
})

/** What fish completes. */
const FISH = '$argv[1] $argv[2] completion fish | source; complete -C "$argv[3]"'

/** Types into an interactive zsh, and prints the line that Tab makes of it. */
const ZSH = `zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "PS1=; autoload -Uz compinit; compinit -D -u; source <($1 $2 completion zsh); print REA''DY"
zpty -r shell output '*READY*'
zpty -w -n shell "$3"$'\t'
zpty -r shell output "*$4*"
print -r -- $output`

function printed(program: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(program, args, { cwd, timeout: 25_000 }, (error, stdout) => {
      if (error) reject(error)
      else resolve(stdout)
    })
  })
}

test.skipIf(!existsSync('/usr/bin/fish')).each([
  ['portico rel', ['reload']],
  ['portico serve --gateway f', ['fastcgi']],
  ['portico completion z', ['zsh']],
  ['portico app.ts --work', ['--workers']],
])('fish completes %j', async (line, expected) => {
  const text = await printed('fish', ['--no-config', '-c', FISH, process.execPath, BIN, line])
  expect(
    text
      .trimEnd()
      .split('\n')
      .map((each) => each.replace(/\t.*/, '')),
  ).toEqual(expected)
})

test.skipIf(!existsSync('/usr/bin/zsh')).each([
  ['portico rel', 'oad'],
  ['portico serve --gatew', 'ay'],
  ['portico serve --gateway f', 'astcgi'],
  ['portico serve --gateway=f', 'astcgi'],
  ['portico app.ts --wor', 'kers'],
  ['portico help rel', 'oad'],
])('zsh completes %j', async (line, rest) => {
  const args = ['-f', '-c', ZSH, 'zsh', process.execPath, BIN, line, rest]
  // It draws the line with control characters in between, and waits until the rest is there.
  expect(await printed('zsh', args)).toContain(rest)
})

const { typescript } = process.features as { readonly typescript?: unknown }

describe('TypeScript', () => {
  it('is served natively, or a line says what to install', async () => {
    const running = portico(['app.ts', '--dev', '--listen', ':0'], { cwd })
    if (typescript) {
      expect(await (await fetch(await running.url())).text()).toBe('hello')
      await running.stop()
    } else {
      expect(await running.ended).toBe(3)
      expect(running.output).toMatch(
        /^portico: .*app\.ts is TypeScript, which Node .* Install tsx .*\n$/,
      )
    }
  })

  it.each(['--dev', '--no-dev'])(
    'that a JavaScript file imports is served, or the exit code is 3 and a line says what to install (%s)',
    async (mode) => {
      directory.write('importing.mjs', "export { default } from './app.ts'\n")
      const running = portico(['importing.mjs', mode, '--listen', ':0'], { cwd })
      if (typescript) {
        const [url] = await running.printed(/http:\S+/)
        expect(await (await fetch(url)).text()).toBe('hello')
        await running.stop()
      } else {
        expect(await running.ended).toBe(3)
        expect(running.output).toMatch(
          /^\S+\/app\.ts is TypeScript, which Node .* Install tsx .*\n/,
        )
      }
    },
  )

  it("is served through the project's own tsx where Node cannot", async () => {
    const running = portico(['app.ts', '--dev', '--listen', ':0'], { cwd: `${cwd}/with-tsx` })
    expect(await (await fetch(await running.url())).text()).toBe('hello')
    await running.stop()
  })
})
