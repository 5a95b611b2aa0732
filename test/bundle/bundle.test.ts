/** `portico bundle`: applications as one file, run in an empty directory. */
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { stripVTControlCharacters } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { bundle } from '../../src/bundle/bundle.ts'
import { main } from '../../src/command/main.ts'
import { temporaryDirectory } from '../server/child.ts'
import { callScript } from './cgi.ts'

const project = temporaryDirectory()
const empty = temporaryDirectory()
afterAll(() => {
  project.remove()
  empty.remove()
})

/** A program in CommonJS that sends the value of an expression. */
function reads(expression: string): string {
  return readsAs(expression, 'module.exports =')
}

function readsAs(expression: string, exported: string): string {
  return `${exported} (environ, startResponse) => {
    startResponse('200 OK', [['Content-Type', 'text/plain']])
    return [${expression}]
  }`
}

const FILES: Readonly<Record<string, string>> = {
  'express.mjs': `import express from 'express'
    const app = express()
    app.get('/', (req, res) => res.send('Hello, Express'))
    app.post('/', express.text(), (req, res) => res.send(req.body))
    export default app`,
  'listens.cjs': `const app = require('express')()
    console.log('printed while it loads')
    app.get('/', (req, res) => res.send('Hello, listener'))
    const server = app.listen(3000, () => console.log('port', server.address().port))`,
  'fastify.mjs': `import Fastify from 'fastify'
    export const app = Fastify()
    app.get('/', async () => 'Hello, Fastify')`,
  'koa.mjs': `import Koa from 'koa'
    const app = new Koa()
    app.use((ctx) => { ctx.body = 'Hello, Koa' })
    export default app`,
  'hono.ts': `import { Hono } from 'hono'
    const app: Hono = new Hono()
    app.get('/', (c) => c.text('Hello, Hono'))
    export default app`,
  'plain.cjs': `module.exports = (environ, startResponse) => {
      startResponse('200 OK', [['Content-Type', 'text/plain']])
      return ['Hello, environ']
    }`,
  'listener.mjs': `export const handler = (req, res) => { res.end('Hello, listener') }`,
  'astro.mjs': `export const handler = async (...args) => {
      const [req, res, next, locals] = args
      res.end('Hello, middleware' + (next ?? ''))
    }`,
  // As in the build of Astro's Node adapter.
  'server/entry.mjs': `export { handler } from './chunks/adapter.mjs'`,
  'server/chunks/adapter.mjs': `import path from 'node:path'
    import url from 'node:url'
    const options = { client: 'file:///build/dist/client/', server: 'file:///build/dist/server/' }
    function resolveClientDir(options) {
      const rel = path.relative(url.fileURLToPath(options.server), url.fileURLToPath(options.client))
      const serverFolder = path.basename(options.server)
      let serverEntryFolderURL = path.dirname(import.meta.url)
      let previous = ''
      while (!serverEntryFolderURL.endsWith(serverFolder)) {
        if (serverEntryFolderURL === previous) throw new Error(\`nothing above \${import.meta.url}\`)
        previous = serverEntryFolderURL
        serverEntryFolderURL = path.dirname(serverEntryFolderURL);
      }
      return url.fileURLToPath(new URL(rel + '/', serverEntryFolderURL + '/entry.mjs'))
    }
    const client = resolveClientDir(options)
    export const handler = (req, res) => { res.end(client) }`,
  // As in the build of SvelteKit's Node adapter.
  'kit/handler.mjs': `export { handler } from './server/chunks/handler.mjs'`,
  'kit/env.mjs': `import path from 'node:path'
    import { fileURLToPath } from 'node:url'
    const dir = path.dirname(fileURLToPath(import.meta.url))
    const env = {}
    export { dir, env }`,
  'kit/server/chunks/handler.mjs': `import fs from 'node:fs'
    import path from 'node:path'
    import { env, dir as base } from '../../env.mjs'
    const client = path.join(base, 'client'), prerendered = path.join(base, 'prerendered')
    export const handler = (req, res) => {
      res.end(fs.readFileSync(path.join(client, 'file.txt'), 'utf8') + fs.existsSync(prerendered))
    }`,
  'kit/client/file.txt': 'Hello, client ',
  'runs.mjs': `import { run } from 'portico'
    run((environ, startResponse) => {
      startResponse('200 OK', [['Content-Type', 'text/plain']])
      return [environ.SCRIPT_NAME]
    }, { scriptName: '/mounted' })`,
  'await.mjs': `const { greeting } = await import('./lib/greeting.mjs')
    export default (environ, startResponse) => {
      startResponse('200 OK', [['Content-Type', 'text/plain']])
      return [greeting]
    }`,
  'lib/greeting.mjs': `import { readFile } from 'node:fs/promises'
    export const greeting = await readFile(new URL('./hello.txt', import.meta.url), 'utf8')`,
  'lib/hello.txt': 'Hello, file',
  'directory.cjs': `const { readFileSync } = require('node:fs')
    module.exports = (environ, startResponse) => {
      startResponse('200 OK', [['Content-Type', 'text/plain']])
      return [require('./lib/reader.cjs').text]
    }`,
  'lib/reader.cjs': `const { join } = require('node:path')
    exports.text = require('node:fs').readFileSync(join(__dirname, 'hello.txt'), 'utf8')`,
  'engine.mjs': `import express from 'express'
    const app = express()
    app.set('view engine', 'fake-engine')
    app.get('/', (req, res) => res.render('page', { name: 'engine' }))
    export default app`,
  'views/page.fake-engine': 'Hello, NAME',
  'node_modules/fake-engine/index.js': `const fs = require('fs')
    exports.__express = (file, options, done) =>
      fs.readFile(file, 'utf8', (error, text) => done(error, text && text.replace('NAME', options.name)))`,
  'addon.cjs': `module.exports = require('native-thing')`,
  'node_modules/native-thing/index.js': `module.exports = require('./build/thing.node')`,
  'node_modules/native-thing/build/thing.node': 'ELF',
  'wasm.mjs': `import * as m from './m.wasm'
    export default m`,
  'm.wasm': 'wasm',
  'outside/app.mjs': `import { readFileSync } from 'node:fs'
    export default readFileSync(new URL('../lib/hello.txt', import.meta.url))`,
  'tables.mjs': `import table from 'tables/table.json'
    import { tables } from 'tables'
    export default (environ, startResponse) => {
      startResponse('200 OK', [['Content-Type', 'text/plain']])
      return [String(table.numbers.length), tables.end]
    }`,
  'node_modules/tables/package.json': '{"type":"module","exports":{".":"./index.js","./*":"./*"}}',
  'node_modules/tables/index.js': `export { default as tables } from './table.json'`,
  'node_modules/tables/table.json': JSON.stringify({
    numbers: Array.from({ length: 10_000 }, (_, i) => i),
    end: ' */ €',
  }),
  'sum.cjs': reads("require('node:fs').readFileSync(__dirname + '/lib/hello.txt', 'utf8')"),
  'template.cjs': reads('require("node:fs").readFileSync(`${__dirname}/lib/hello.txt`, "utf8")'),
  'working.cjs': reads(
    "require('node:fs').readFileSync(require('node:path').join(process.cwd(), 'lib', 'hello.txt'), 'utf8')",
  ),
  'relative.cjs': reads("require('node:fs').readFileSync('./lib/hello.txt', 'utf8')"),
  'up.cjs': "module.exports = require('./routes/up.cjs')",
  'routes/up.cjs': reads(
    "require('node:fs').readFileSync(require('node:path').join(__dirname, '..', 'lib', 'hello.txt'), 'utf8')",
  ),
  'url.mjs': `import { readFileSync } from 'node:fs'
    const file = new URL('lib/hello.txt', import.meta.url)
    ${readsAs('readFileSync(file, "utf8")', 'export default')}`,
  'root.cjs': `const app = require('express')()
    app.get('/', (req, res) => res.sendFile('page.txt', { root: __dirname }))
    module.exports = app`,
  'page.txt': 'Hello, page',
  'names.mjs': `import { __dirname } from './lib/names.mjs'
    ${readsAs('__dirname', 'export default')}`,
  'lib/names.mjs': "export const __dirname = 'own'",
  'meta.mjs': `import { readFileSync } from 'node:fs'
    import { fileURLToPath } from 'node:url'
    const { url } = import.meta
    const pathOf = (meta) => meta.filename
    const text = readFileSync(fileURLToPath(import.meta.resolve('./lib/hello.txt')), 'utf8')
    ${readsAs("[text, url.slice(-8), pathOf(import.meta).slice(-8)].join(' ')", 'export default')}`,
  'meta-await.mjs': `await 0
    const pathOf = (meta) => meta.filename.slice(-14)
    ${readsAs('pathOf(import.meta)', 'export default')}`,
  'require.mjs': `import { createRequire } from 'node:module'
    const require = createRequire(import.meta.url)
    const load = createRequire(import.meta.url)
    const { end } = require('tables/table.json')
    ${readsAs("end + load('./lib/data.json').text", 'export default')}`,
  'lib/data.json': '{"text":"data"}',
  'worker.mjs': `import { Worker } from 'node:worker_threads'
    export default () => new Worker(new URL('./lib/worker.mjs', import.meta.url))`,
  'lib/worker.mjs': "import './names.mjs'\nimport express from 'express'\nimport 'node:fs'",
  'variable.mjs': `const name = './lib/names.mjs'
    export default async () => import(name)`,
  'found-addon.cjs': "module.exports = require('finds-addon')",
  'node_modules/finds-addon/index.js': "module.exports = require('node-gyp-build')(__dirname)",
  'optional-addon.cjs': reads("require('has-fallback')"),
  'node_modules/has-fallback/index.js':
    "try { module.exports = require('node-gyp-build')(__dirname) } catch { module.exports = 'fallback' }",
  'node_modules/node-gyp-build/index.js': "module.exports = () => { throw new Error('no addon') }",
  'shorthand.cjs': `const { readFileSync } = require('node:fs')
    const read = ({ __dirname: directory, name }) => readFileSync(directory + '/lib/' + name, 'utf8')
    // A file in the directory __dirname.
    const text = read({ __dirname, name: 'hello.txt' }) + " not the __dirname's " + \`__filename\${1}\`
    require('node:path').join(__dirname, 'lib', 'hello.txt')
    ${reads('text')}`,
  'head.cjs': `#!/usr/bin/env node
    /* A comment, ** and another. */ 'use strict'
    ${reads('typeof __dirname')}`,
  'meta-names.mjs': `import { readFileSync } from 'node:fs'
    import { join } from 'node:path'
    const { dirname } = import.meta
    ${readsAs("readFileSync(join(dirname, 'lib', 'hello.txt'), 'utf8') + ' import.meta.url'", 'export default')}`,
  'open.cjs': reads(
    "((name) => require('node:fs').readFileSync(require('node:path').join(__dirname, 'texts', name + '.txt'), 'utf8'))('en')",
  ),
  'open-template.cjs': reads(
    "((name) => require('node:fs').readFileSync(`${__dirname}/texts/${name}.txt`, 'utf8'))('en')",
  ),
  'open-url.mjs': `import { readFileSync } from 'node:fs'
    const read = (name) => readFileSync(new URL(\`./texts/\${name}.txt\`, import.meta.url), 'utf8')
    ${readsAs("read('en')", 'export default')}`,
  'texts/en.txt': 'Hello, text',
  ...Object.fromEntries(
    [
      ['require.cjs', 'require.main === module'],
      ['parent.cjs', '!module.parent'],
      ['meta.mjs', 'import.meta.main'],
      ['path.mjs', 'process.argv[1] === fileURLToPath(import.meta.url)'],
      ['url.mjs', 'import.meta.url === pathToFileURL(process.argv[1]).href'],
      ['template.mjs', 'import.meta.url == `file://${process.argv[1]}`'],
    ].map(([name, condition]) => [
      `main-${name}`,
      `${name!.endsWith('.mjs') ? "import { createServer } from 'node:http'; import { fileURLToPath, pathToFileURL } from 'node:url'" : "const { createServer } = require('node:http')"}
       if (${condition}) createServer((req, res) => res.end('Hello, main')).listen(3000)`,
    ]),
  ),
  'worker-path.mjs': `import { Worker } from 'node:worker_threads'
    import { once } from 'node:events'
    export default async (environ, startResponse) => {
      const [text] = await once(new Worker('./lib/says.mjs'), 'message')
      startResponse('200 OK', [['Content-Type', 'text/plain']])
      return [text]
    }`,
  'lib/says.mjs':
    "import { parentPort } from 'node:worker_threads'\nparentPort.postMessage('Hello, worker')",
  'itself.cjs':
    "const { Worker } = require('node:worker_threads')\nmodule.exports = () => new Worker(__filename)",
  'made.mjs':
    "import { createRequire as make } from 'node:module'\nexport default make(import.meta.url)('./lib/data.json')",
  'passed-on.cjs': 'module.exports = { directory: __dirname }',
  'settings.mjs': 'process.loadEnvFile()\nexport default 1',
  'settings-path.cjs': "module.exports = process.loadEnvFile(__dirname + '/.env')",
  '.env': 'PASSWORD=secret',
  'open-name.cjs': 'module.exports = (name) => require(`./texts/${name}`)',
  'imports.cjs': reads("(await import('node:path')).sep").replace('(environ', 'async (environ'),
  'searches.cjs': reads("require('searches')()"),
  'node_modules/searches/index.js': `const paths = ['./build/x.node', '@searches/linux/x.node']
    module.exports = () => { for (const path of paths) try { return require(path) } catch {} }`,
  'uninstalled.mjs': "import missing from 'is-not-installed'\nexport default missing",
  'await-outside.mjs': "import outside from 'fake-engine'\nexport default await outside",
  'public.mjs': `import express from 'express'
    export default express().use(express.static('site'))`,
  'site/index.html': 'Hello, site',
  'throws.mjs': "throw new Error('while it loads')",
  'throws-await.mjs': "throw await new Error('while it loads')",
  'never.mjs': 'await new Promise(() => {})',
  'nothing.mjs': 'export const x = 1',
  'syntax.mjs': 'export default (',
}

beforeAll(() => {
  for (const [name, text] of Object.entries(FILES)) {
    mkdirSync(dirname(join(project.path, name)), { recursive: true })
    writeFileSync(join(project.path, name), text)
  }
  for (const name of ['express', 'fastify', 'koa', 'hono', 'rolldown']) {
    symlinkSync(resolve('node_modules', name), join(project.path, 'node_modules', name))
  }
  symlinkSync(resolve('.'), join(project.path, 'node_modules/portico'))
})

let count = 0
/** Bundles a file into a directory of its own. */
async function bundled(name: string, kind: 'cgi' | 'fcgi' = 'cgi') {
  const output = join(empty.path, `${(count += 1)}`, 'app.cgi')
  const report = await bundle({ file: join(project.path, name), output, kind })
  return { output, report }
}

describe('A bundle in a directory without node_modules serves', () => {
  test.each([
    ['express.mjs', 'Hello, Express'],
    ['listens.cjs', 'Hello, listener'],
    ['fastify.mjs', 'Hello, Fastify'],
    ['koa.mjs', 'Hello, Koa'],
    ['hono.ts', 'Hello, Hono'],
    ['plain.cjs', 'Hello, environ'],
    ['listener.mjs', 'Hello, listener'],
    ['astro.mjs', 'Hello, middleware'],
    ['runs.mjs', '/mounted'],
    ['await.mjs', 'Hello, file'],
    ['directory.cjs', 'Hello, file'],
    ['engine.mjs', 'Hello, engine'],
    ['tables.mjs', '10000 */ €'],
    ['kit/handler.mjs', 'Hello, client false'],
    ['sum.cjs', 'Hello, file'],
    ['template.cjs', 'Hello, file'],
    ['working.cjs', 'Hello, file'],
    ['relative.cjs', 'Hello, file'],
    ['up.cjs', 'Hello, file'],
    ['url.mjs', 'Hello, file'],
    ['root.cjs', 'Hello, page'],
    ['names.mjs', 'own'],
    ['meta.mjs', 'Hello, file meta.mjs meta.mjs'],
    ['meta-await.mjs', 'meta-await.mjs'],
    ['require.mjs', ' */ €data'],
    ['optional-addon.cjs', 'fallback'],
    ['imports.cjs', '/'],
    ['shorthand.cjs', "Hello, file not the __dirname's __filename1"],
    ['head.cjs', 'string'],
    ['meta-names.mjs', 'Hello, file import.meta.url'],
    ['open.cjs', 'Hello, text'],
    ['open-template.cjs', 'Hello, text'],
    ['open-url.mjs', 'Hello, text'],
    ['main-require.cjs', 'Hello, main'],
    ['main-parent.cjs', 'Hello, main'],
    ['main-meta.mjs', 'Hello, main'],
    ['main-path.mjs', 'Hello, main'],
    ['main-url.mjs', 'Hello, main'],
    ['main-template.mjs', 'Hello, main'],
    ['worker-path.mjs', 'Hello, worker'],
  ])('%s', async (name, body) => {
    const { output } = await bundled(name)
    expect(statSync(output).mode & 0o777).toBe(0o755)
    const first = await callScript(output)
    expect(first).toMatchObject({ code: 0, body })
    // Once more, from the code cache that the first request has made.
    expect(await callScript(output)).toMatchObject({ code: 0, head: first.head, body })
  })
})

test('the first request makes a code cache that only its owner can read', async () => {
  const { output } = await bundled('express.mjs')
  const cache = `.ht-app.cgi-${process.version}-${process.platform}-${process.arch}.cache`
  await callScript(output)
  const path = join(dirname(output), cache)
  expect(statSync(path).mode & 0o777).toBe(0o600)
  const { ino } = statSync(path)
  // A new upload: the cache of the old program is replaced.
  await bundle({ file: join(project.path, 'koa.mjs'), output, kind: 'cgi' })
  expect(await callScript(output)).toMatchObject({ body: 'Hello, Koa' })
  expect(statSync(path).ino).not.toBe(ino)
})

test('a bundle works in a directory that it cannot write', async () => {
  const { output } = await bundled('plain.cjs')
  chmodSync(dirname(output), 0o555)
  try {
    expect(await callScript(output)).toMatchObject({ code: 0, body: 'Hello, environ' })
  } finally {
    chmodSync(dirname(output), 0o755)
  }
})

test('a bundle reads the body of a request', async () => {
  const { output } = await bundled('express.mjs')
  const call = { method: 'POST', body: 'Zoë' }
  expect(await callScript(output, call)).toMatchObject({ code: 0, body: 'Zoë' })
})

test('a bundle for mod_fcgid is a CGI script where the server starts it as one', async () => {
  const { output } = await bundled('hono.ts', 'fcgi')
  expect(await callScript(output)).toMatchObject({ code: 0, body: 'Hello, Hono' })
})

test('files that the program reads are copied, and reported', async () => {
  const { output, report } = await bundled('await.mjs')
  expect(report.copied).toEqual(['lib/hello.txt'])
  expect(report.esm).toBe(true)
  expect(readdirSync(join(dirname(output), 'lib'))).toEqual(['hello.txt'])
})

test('a directory is copied whose parent is a variable of another file', async () => {
  const { output, report } = await bundled('kit/handler.mjs')
  expect(report.copied).toEqual(['client/ (1 files)'])
  expect(readdirSync(dirname(output))).toEqual(['app.cgi', 'client'])
})

test("Astro's Node adapter finds the directory of its client beside that of the bundle, whatever their names", async () => {
  const { output } = await bundled('server/entry.mjs')
  const client = `${join(dirname(output), '../client')}/`
  expect(await callScript(output)).toMatchObject({ code: 0, body: client })
})

const TRY = ': upload what it needs, and test the bundle in an empty directory'
const SECRET =
  ' is not copied, because the web server could send it to anyone. Set its variables in the web server, or upload it and forbid access to it'

test.each([
  ['worker.mjs', 'lib/worker.mjs is copied as it is, without what it loads: ./names.mjs, express'],
  [
    'variable.mjs',
    'variable.mjs has import(name), a module that may not be in the bundle. Write its name out',
  ],
  ['itself.cjs', `itself.cjs has new Worker(__filename, which is not followed${TRY}`],
  ['made.mjs', `made.mjs has createRequire as, which is not followed${TRY}`],
  ['passed-on.cjs', `passed-on.cjs passes its directory on${TRY}`],
  [
    'searches.cjs',
    'searches loads a native addon, which is not in the bundle. If the program uses it, keep it outside with --external searches and upload its node_modules',
  ],
  ['settings.mjs', `.env${SECRET}`],
  ['settings-path.cjs', `.env${SECRET}`],
  [
    'open-name.cjs',
    'open-name.cjs has require(`./texts/${name}`), a module that may not be in the bundle. Write its name out',
  ],
])('the report of %s warns', async (name, warning) => {
  expect((await bundled(name)).report.warnings).toEqual([warning])
})

test.each([
  ['throws.mjs', 1, 'while it loads'],
  ['throws-await.mjs', 1, 'while it loads'],
  ['never.mjs', 13, 'A top-level await of this program never settles'],
])(
  '%s, which does not load, says why and does not print the whole program',
  async (name, code, text) => {
    const { output } = await bundled(name)
    const result = await callScript(output)
    expect([result.code, result.stderr]).toEqual([code, expect.stringContaining(text)])
    expect(result.stderr.length).toBeLessThan(2_000)
  },
)

test('bundle refuses a package outside for an ES module, which cannot find it', async () => {
  const file = join(project.path, 'await-outside.mjs')
  const output = join(empty.path, 'await-outside.cgi')
  await expect(bundle({ file, output, kind: 'cgi', external: ['fake-engine'] })).rejects.toThrow(
    'an ES module in a bundle finds no package outside (--external fake-engine)',
  )
})

test('bundle refuses to write into a directory that it has to copy', async () => {
  const file = join(project.path, 'public.mjs')
  const output = join(project.path, 'site/app.cgi')
  await expect(bundle({ file, output, kind: 'cgi' })).rejects.toThrow(
    'is inside site, which the program reads',
  )
  expect(readdirSync(join(project.path, 'site'))).toEqual(['index.html'])
})

test('the report has the bytes of each package', async () => {
  const { output, report } = await bundled('koa.mjs')
  expect(report.bytes).toBe(readFileSync(output).length)
  expect(report.packages.map(([name]) => name)).toEqual(
    expect.arrayContaining(['koa', 'portico', '']),
  )
})

describe('bundle refuses', () => {
  test.each([
    ['addon.cjs', /thing\.node of the package native-thing is a native addon/],
    ['wasm.mjs', /m\.wasm is imported as a module/],
    ['outside/app.mjs', /hello\.txt, which is outside of/],
    ['missing.mjs', /no such file: .*missing\.mjs/],
    ['syntax.mjs', /syntax\.mjs cannot be bundled/],
    ['found-addon.cjs', /^The package finds-addon is a native addon/],
    ['uninstalled.mjs', /^\S+ imports is-not-installed, which is not installed$/],
  ])('%s', async (name, message) => {
    await expect(bundled(name)).rejects.toThrow(message)
  })
})

test('bundle does not overwrite a file of the program, also through a symbolic link', async () => {
  const file = join(project.path, 'plain.cjs')
  const before = readFileSync(file, 'utf8')
  const link = join(project.path, 'link.cgi')
  symlinkSync(file, link)
  for (const output of [file, link]) {
    const made = bundle({ file, output, kind: 'cgi' })
    await expect(made).rejects.toThrow(`-o ${output} is a file of the program`)
  }
  expect(readFileSync(file, 'utf8')).toBe(before)
})

test('bundle leaves nothing where it cannot write, and says why', async () => {
  const directory = join(empty.path, 'taken')
  mkdirSync(join(directory, 'app.cgi'), { recursive: true })
  const output = join(directory, 'app.cgi')
  const made = bundle({ file: join(project.path, 'plain.cjs'), output, kind: 'cgi' })
  await expect(made).rejects.toThrow(`${output} cannot be written: EISDIR`)
  expect(readdirSync(directory)).toEqual(['app.cgi'])
})

test('the error of a bundler has no colours', async () => {
  const error = await bundled('syntax.mjs').catch((reason: unknown) => reason)
  expect(stripVTControlCharacters(String(error))).toBe(String(error))
})

test('a program without an application responds with a 500 and says what to export', async () => {
  const { output } = await bundled('nothing.mjs')
  const result = await callScript(output)
  expect(result.head).toMatch(/^Status: 500/)
  expect(result.stderr).toContain('exports no application. Export it as default')
})

describe('the command', () => {
  test('portico bundle writes the file and a report', async () => {
    const output = join(empty.path, 'command', 'x.cgi')
    let out = ''
    const code = await main(['bundle', join(project.path, 'engine.mjs'), '-o', output], {
      out: (text) => (out += text),
      err: () => {},
    })
    expect(code).toBe(0)
    expect(out).toMatch(/^\S+x\.cgi: \d+(?: KiB|\.\d MiB), by rolldown\n {2}\S.*express \d+ KiB/)
    expect(out).toContain('with views/ (1 files): upload it beside the file\n')
  })

  test.each([
    [['--resident', '--fcgi'], 'bundle: --resident and --fcgi exclude each other'],
    [['--idle', '1m'], 'bundle: --idle needs --resident'],
    [['--resident', '--target', 'bun'], 'bundle: --resident runs on Node; leave out --target bun'],
    [['--residnt'], "unknown flag --residnt. Did you mean '--resident'?"],
  ])('portico bundle x.js %j is refused in one line', async (flags, message) => {
    let err = ''
    const code = await main(['bundle', 'x.js', ...flags], {
      out: () => {},
      err: (text) => (err += text),
    })
    expect([code, err]).toEqual([2, `portico: ${message}\n`])
  })
})
