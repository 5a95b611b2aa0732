/**
 * The programs in docs/: each block whose first line is the name of a file is written to it, beside
 * the package as it is built, and run.
 */
import { execFile } from 'node:child_process'
import { mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { makeFolder } from './servers/process.ts'
import { request, REQUEST } from './support/cgi.ts'

let folder: string

beforeAll(async () => {
  folder = await makeFolder()
  await mkdir(join(folder, 'node_modules'))
  await symlink(resolve('.'), join(folder, 'node_modules/portico'))
})

afterAll(() => rm(folder, { recursive: true, force: true }))

/** Writes a page's programs into a folder of their own. */
async function programsOf(page: string): Promise<{ place: string; names: string[] }> {
  const place = join(folder, page)
  await mkdir(place)
  const text = await readFile(`docs/${page}.md`, 'utf8')
  const names: string[] = []
  for (const [, code = '', name = ''] of text.matchAll(/```js\n(\/\/ (\S+\.mjs)\n[^]*?)```/g)) {
    names.push(name)
    await writeFile(join(place, name), code)
  }
  return { place, names }
}

async function node(place: string, ...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: place })
  return stdout
}

test('testing.md: the tests pass', async () => {
  const { place, names } = await programsOf('testing')
  expect(names).toEqual(['app.mjs', 'app.test.mjs', 'live.test.mjs'])
  const report = await node(place, '--test', '--test-reporter=tap', ...names.slice(1))
  expect(report).toMatch(/^# pass 2$/m)
  expect(report).toMatch(/^# fail 0$/m)
})

test('forms.md: the form greets, and weighs a photo', async () => {
  const { place, names } = await programsOf('forms')
  expect(names).toEqual(['greet.mjs'])
  await writeFile(
    join(place, 'check.mjs'),
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
  expect(await node(place, 'check.mjs')).toBe(
    '<p>Hello, &lt;Zoë&gt;! Your photo has 7 bytes.</p>\n\n',
  )
})

test('how-a-handler-works.md: the gateway by hand prints what CGIHandler prints', async () => {
  const { place, names } = await programsOf('how-a-handler-works')
  expect(names).toEqual(['gateway.mjs', 'script.mjs'])
  const byHand = await readFile(join(place, 'script.mjs'), 'utf8')
  const real = byHand
    .replace(
      "import { runWithCgi } from './gateway.mjs'",
      "import { CGIHandler } from 'portico/cgi'",
    )
    .replace('runWithCgi(', 'new CGIHandler().run(')
  expect(real).not.toBe(byHand)
  await writeFile(join(place, 'real.mjs'), real)
  for (const env of [
    { ...REQUEST, PATH_INFO: '' },
    { ...REQUEST, REQUEST_METHOD: 'POST', PATH_INFO: '/a b' },
  ]) {
    const answer = await request(join(place, 'script.mjs'), { env })
    expect(answer.stdout).toContain('\r\n\r\n')
    expect(answer).toEqual(await request(join(place, 'real.mjs'), { env }))
  }
})

const WRITE_AND_CLOSE = `
  async (environ, startResponse) => {
    const write = startResponse('200 OK', [])
    await write('a')
    return { *[Symbol.iterator]() { yield 'b' }, close: () => environ['wsgi.errors'].write('closed') }
  }`

test.each([
  ['write(), then a body that is closed', WRITE_AND_CLOSE, 'Status: 200 OK\r\n\r\nab', 'closed'],
  [
    'a head that is replaced',
    "(e, s) => { s('200 OK', []); s('500 No', [['X', '1']], new Error('x')); return [] }",
    'Status: 500 No\r\nX: 1\r\n\r\n',
    '',
  ],
  ['no startResponse', "() => ['x']", '', /A chunk before startResponse\(\)/],
  [
    'two of them',
    "(e, s) => { s('200 OK', []); s('200 OK', []); return [] }",
    '',
    /Headers already set!/,
  ],
])('how-a-handler-works.md: by hand %s', async (name, application, stdout, stderr) => {
  const script = join(folder, 'how-a-handler-works', `${name.replaceAll(/\W/g, '')}.mjs`)
  await writeFile(
    script,
    `import { runWithCgi } from './gateway.mjs'\nawait runWithCgi(${application.trim()})\n`,
  )
  const answer = await request(script)
  expect(answer.stdout).toBe(stdout)
  if (typeof stderr === 'string') expect(answer.stderr).toBe(stderr)
  else expect(answer.stderr).toMatch(stderr)
})
