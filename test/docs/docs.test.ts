/**
 * The programs in docs/: each block whose first line is a file name is written to that file, next to
 * the built package, and run.
 */
import { execFile } from 'node:child_process'
import { mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { rolldown } from 'rolldown'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { suite } from '../../src/exports/testing.ts'
import { makeDirectory } from '../servers/process.ts'
import { request, REQUEST } from '../support/cgi.ts'

let directory: string

beforeAll(async () => {
  directory = await makeDirectory()
  await mkdir(join(directory, 'node_modules'))
  await symlink(resolve('.'), join(directory, 'node_modules/portico'))
})

afterAll(() => rm(directory, { recursive: true, force: true }))

/** Writes a page's programs into a directory of their own. */
async function programsOf(page: string): Promise<{ project: string; names: string[] }> {
  const project = join(directory, page)
  await mkdir(project)
  const text = await readFile(`docs/${page}.md`, 'utf8')
  const names: string[] = []
  for (const [, code = '', name = ''] of text.matchAll(
    /```[jt]s\n(\/\/ (\S+\.(?:mjs|ts))\n[^]*?)```/g,
  )) {
    names.push(name)
    await writeFile(join(project, name), code)
  }
  return { project, names }
}

async function node(project: string, ...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: project })
  return stdout
}

test('The tests in docs/testing.md pass', async () => {
  const { project, names } = await programsOf('testing')
  expect(names).toEqual(['app.mjs', 'app.test.mjs', 'live.test.mjs', 'suite.test.mjs'])
  const report = await node(project, '--test', '--test-reporter=tap', ...names.slice(1))
  expect(report).toMatch(new RegExp(`^# pass ${2 + suite.length}$`, 'm'))
  expect(report).toMatch(/^# fail 0$/m)
})

test('The form in docs/forms.md greets, and shows the size of a photo', async () => {
  const { project, names } = await programsOf('forms')
  expect(names).toEqual(['greet.mjs'])
  await writeFile(
    join(project, 'check.mjs'),
    `import { TestApp } from 'portico/testing'
import { greet } from './greet.mjs'
const app = new TestApp(greet)
await app.get('/').expect(200, /^<form /)
const form = new FormData()
form.set('name', '<Zoë>')
form.set('photo', new Blob(['1234567']), 'me.jpg')
console.log((await app.post('/').send(form).expect(200)).text)
await app.post('/').send(new FormData()).expect(/^<form /)
`,
  )
  expect(await node(project, 'check.mjs')).toBe(
    '<p>Hello, &lt;Zoë&gt;! Your photo has 7 bytes.</p>\n\n',
  )
})

const WRITE_AND_CLOSE = `
  async (environ, startResponse) => {
    const write = startResponse('200 OK', [])
    await write('a')
    return { *[Symbol.iterator]() { yield 'b' }, close: () => environ['wsgi.errors'].write('closed') }
  }`

/** Compiles a script to a program next to it, because Node 20 cannot run TypeScript. */
async function compile(script: string): Promise<string> {
  const build = await rolldown({ input: script, platform: 'node', external: /^portico/ })
  const file = script.replace(/ts$/, 'mjs')
  await build.write({ file, format: 'esm' })
  await build.close()
  return file
}

describe('The gateway in docs/how-a-handler-works.md', () => {
  let project: string
  beforeAll(async () => {
    const programs = await programsOf('how-a-handler-works')
    expect(programs.names).toEqual(['gateway.ts', 'script.ts'])
    project = programs.project
  })

  test('has forty lines and compiles with the types of the package', async () => {
    const code = await readFile(join(project, 'gateway.ts'), 'utf8')
    expect(code.trimEnd().split('\n').slice(1)).toHaveLength(40)
    const options = {
      compilerOptions: {
        module: 'nodenext',
        strict: true,
        noEmit: true,
        allowImportingTsExtensions: true,
        types: ['node'],
        typeRoots: [resolve('node_modules/@types')],
      },
    }
    await writeFile(join(project, 'tsconfig.json'), JSON.stringify(options))
    const compiler = resolve('node_modules/typescript/bin/tsc')
    expect(await node(project, compiler, '-p', '.')).toBe('')
  })

  test('prints the same as CGIHandler', async () => {
    const script = join(project, 'script.ts')
    const text = await readFile(script, 'utf8')
    const real = text
      .replace(
        "import { runWithCgi } from './gateway.ts'",
        "import { CGIHandler } from 'portico/cgi'",
      )
      .replace('runWithCgi(', 'new CGIHandler().run(')
    expect(real).not.toBe(text)
    await writeFile(join(project, 'real.ts'), real)
    const programs = await Promise.all([compile(script), compile(join(project, 'real.ts'))])
    for (const env of [
      { ...REQUEST, SCRIPT_NAME: '/script', PATH_INFO: '' },
      { ...REQUEST, REQUEST_METHOD: 'POST', PATH_INFO: '/a b' },
    ]) {
      const [ours, theirs] = await Promise.all(programs.map((program) => request(program, { env })))
      expect(ours!.stdout).toContain('\r\n\r\n')
      expect(ours).toEqual(theirs)
    }
  })

  test.each([
    ['write(), then a body that is closed', WRITE_AND_CLOSE, 'Status: 200 OK\r\n\r\nab', 'closed'],
    [
      'a head that is replaced',
      "(e, s) => { s('200 OK', []); s('500 No', [['X', '1']], new Error('x')); return [] }",
      'Status: 500 No\r\nX: 1\r\n\r\n',
      '',
    ],
    ['a missing startResponse', "() => ['x']", '', /A chunk before startResponse\(\)/],
    [
      'two calls of startResponse',
      "(e, s) => { s('200 OK', []); s('200 OK', []); return [] }",
      '',
      /Headers already set!/,
    ],
  ])('handles %s', async (name, application, stdout, stderr) => {
    const script = join(project, `${name.replaceAll(/\W/g, '')}.ts`)
    await writeFile(
      script,
      `import { runWithCgi } from './gateway.ts'\nawait runWithCgi(${application.trim()})\n`,
    )
    const response = await request(await compile(script))
    expect(response.stdout).toBe(stdout)
    if (typeof stderr === 'string') expect(response.stderr).toBe(stderr)
    else expect(response.stderr).toMatch(stderr)
  })
})
