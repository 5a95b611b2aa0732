/** Bundles for Bun, which runs them without translating them first. */
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { bundle } from '../../src/bundle/bundle.ts'
import { callScript } from '../bundle/cgi.ts'
import { temporaryDirectory } from '../server/child.ts'
import { bun } from '../support/runtimes.ts'

const PROGRAMS: Readonly<Record<string, string>> = {
  'plain.cjs': `console.log('to the log')
    module.exports = (environ, startResponse) => {
      startResponse('200 OK', [['Content-Type', 'text/plain']])
      return [environ.PATH_INFO + ' ' + require('node:path').basename(__dirname)]
    }`,
  'express.mjs': `import express from 'express'
    const app = express()
    app.get('/a', (req, res) => res.send(req.path + ' by Express'))
    app.listen(3000)`,
  'await.mjs': `import { basename, dirname } from 'node:path'
    import { fileURLToPath } from 'node:url'
    const name = await Promise.resolve(basename(dirname(fileURLToPath(import.meta.url))))
    export default { fetch: (request) => new Response(new URL(request.url).pathname + ' ' + name) }`,
  'newest.mjs': `import { Database } from 'bun:sqlite'
    const ended = []
    { using it = { [Symbol.dispose]: () => ended.push('disposed') } }
    const { one } = new Database(':memory:').query('select 1 as one').get()
    export default { fetch: () => new Response(ended + ' ' + one) }`,
  'text.mjs': `const words = ['naïve', '…', '😀', /[é€]/u.test('€')]
    export default { fetch: () => new Response(words + \`\`) }`,
  'throws.cjs': `module.exports = () => {
      throw new Error('on purpose')
    }`,
}

const directory = temporaryDirectory()
afterAll(directory.remove)

beforeAll(() => {
  mkdirSync(join(directory.path, 'node_modules'))
  for (const name of ['express', 'esbuild', 'rolldown']) {
    symlinkSync(resolve('node_modules', name), join(directory.path, 'node_modules', name))
  }
  for (const [name, text] of Object.entries(PROGRAMS)) {
    writeFileSync(join(directory.path, name), text)
  }
})

describe.skipIf(!bun.available).each(['esbuild', 'rolldown'] as const)(
  `A bundle for Bun by %s${bun.hint}`,
  (bundler) => {
    const outputOf = (name: string) => join(directory.path, `out-${bundler}`, `${name}.cgi`)

    async function run(name: string) {
      const output = outputOf(name)
      const file = join(directory.path, name)
      const [runtime] = bun.command
      await bundle({ file, output, kind: 'cgi', target: 'bun', bundler, runtime })
      return callScript(output, { path: '/a' })
    }

    test.each([
      ['plain.cjs', `/a out-${bundler}`, 'to the log\n'],
      ['express.mjs', '/a by Express', ''],
      ['await.mjs', `/a out-${bundler}`, ''],
      ['newest.mjs', 'disposed 1', ''],
      ['text.mjs', 'naïve,…,😀,true', ''],
    ])('runs %s', async (name, body, stderr) => {
      expect(await run(name)).toMatchObject({ code: 0, body, stderr })
    })

    test('runs a bundle for Node with characters beyond ASCII', async () => {
      const output = outputOf('node')
      const file = join(directory.path, 'text.mjs')
      await bundle({ file, output, kind: 'cgi', bundler, runtime: bun.command[0] })
      expect(await callScript(output)).toMatchObject({
        code: 0,
        body: 'naïve,…,😀,true',
        stderr: '',
      })
    })

    test('loads node:buffer only for an application that does, because it takes Bun a millisecond', async () => {
      await run('plain.cjs')
      expect(readFileSync(outputOf('plain.cjs'), 'latin1')).not.toContain('node:buffer')
    })

    test('logs where an error was thrown', async () => {
      const { code, head, stderr } = await run('throws.cjs')
      expect([code, head]).toEqual([0, expect.stringMatching(/^Status: 500 /)])
      expect(stderr).toMatch(/Error: on purpose\n +at .*throws\.cjs\.cgi:\d+:\d+/)
    })
  },
)
