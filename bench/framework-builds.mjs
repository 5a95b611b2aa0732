#!/usr/bin/env node
/**
 * Builds NestJS, Astro and SvelteKit applications as their users do, bundles the builds, and requests
 * a page, a POST and a static file of each from a real Apache: in cgi-bin, from a `.htaccess` front
 * controller at the root and below a path, with mod_fcgid, and with a resident process. The scripts
 * run as the web server's user, in directories without `node_modules`.
 *
 * This needs the npm registry, Apache and some minutes, so no test runs it. It exits with 1 if a
 * response is wrong.
 */
import { execFileSync } from 'node:child_process'
import { chmodSync, cpSync, mkdirSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { dirname, join } from 'node:path'
import { apacheInstance } from '../dist/src/servers/apache-instance.js'
import {
  cleanEnvironment,
  findProgram,
  median,
  printTable,
  readOptions,
  root,
  show,
  temporaryDirectory,
} from './common.mjs'
import { freePort } from './nginx.mjs'
import { residents, ServerProcess, signalQuietly } from './process.mjs'

const options = readOptions('Bundles builds of frameworks, and runs them under Apache.', {
  only: [[], 'a framework, such as nestjs; may be repeated'],
})

/** Bytes of the POST. */
const LENGTH = 50_000

const POST = JSON.stringify({ text: 'x'.repeat(LENGTH) })

/** Requests to each mount that count for its time; as many before teach the code cache. */
const REQUESTS = 8

/** A response may wait for several starts on a busy machine, in ms. */
const TIMEOUT = 60_000

/**
 * @typedef {object} Framework
 * @property {string} name
 * @property {number} [node] the oldest major version of Node that it runs on
 * @property {object} packages exact versions, or ranges of patches
 * @property {Record<string, string>} files the application
 * @property {string[][]} build commands in `node_modules/.bin`
 * @property {string} entry the file to bundle
 * @property {string} [documents] the directory of the build that belongs into the document root
 * @property {string} [file] a static file that has a response: '/x.txt'
 */

/** @type {Framework} */
const nestjs = {
  name: 'nestjs',
  packages: {
    '@nestjs/common': '12.5.1',
    '@nestjs/core': '12.5.1',
    '@nestjs/platform-express': '12.5.1',
    '@types/node': '^22.0.0',
    'reflect-metadata': '~0.2.2',
    rxjs: '~7.8.2',
    typescript: '~5.9.3',
  },
  files: {
    'tsconfig.json': JSON.stringify({
      compilerOptions: {
        module: 'nodenext',
        target: 'es2023',
        outDir: 'dist',
        rootDir: 'src',
        experimentalDecorators: true,
        emitDecoratorMetadata: true,
        strict: true,
        skipLibCheck: true,
      },
    }),
    'src/app.service.ts': `import { Injectable } from '@nestjs/common'

@Injectable()
export class AppService {
  hello(name: string): string {
    return \`Hello, \${name}!\`
  }
}
`,
    'src/app.controller.ts': `import { Body, Controller, Get, Param, Post } from '@nestjs/common'
import { AppService } from './app.service.js'

@Controller()
export class AppController {
  constructor(private readonly service: AppService) {}

  @Get('hello/:name')
  hello(@Param('name') name: string): string {
    return this.service.hello(name)
  }

  @Post('echo')
  echo(@Body() body: { text: string }): string {
    return String(body.text.length)
  }
}
`,
    'src/app.module.ts': `import { Module } from '@nestjs/common'
import { AppController } from './app.controller.js'
import { AppService } from './app.service.js'

@Module({ controllers: [AppController], providers: [AppService] })
export class AppModule {}
`,
    'src/main.ts': `import { NestFactory } from '@nestjs/core'
import { AppModule } from './app.module.js'

async function bootstrap() {
  const app = await NestFactory.create(AppModule)
  await app.listen(process.env.PORT ?? 3000)
}
await bootstrap()
`,
  },
  build: [['tsc']],
  entry: 'dist/main.js',
}

const ASTRO_FILES = {
  'astro.config.mjs': `import node from '@astrojs/node'
import { defineConfig } from 'astro/config'

export default defineConfig({ output: 'server', adapter: node({ mode: 'middleware' }) })
`,
  'src/pages/hello/[name].astro': `---
const { name } = Astro.params
---
<html><body><h1>Hello, {name}!</h1></body></html>
`,
  'src/pages/echo.ts': `import type { APIRoute } from 'astro'

export const POST: APIRoute = async ({ request }) => {
  const { text } = await request.json()
  return new Response(String(text.length))
}
`,
  'public/static.txt': 'A static file\n',
}

/** SvelteKit 2 has a file for its configuration, version 3 takes it in that of Vite. */
const SVELTE_CONFIGS = {
  2: {
    'svelte.config.js': `import adapter from '@sveltejs/adapter-node'

export default { kit: { adapter: adapter() } }
`,
    'vite.config.js': `import { sveltekit } from '@sveltejs/kit/vite'
import { defineConfig } from 'vite'

export default defineConfig({ plugins: [sveltekit()] })
`,
  },
  3: {
    'vite.config.js': `import adapter from '@sveltejs/adapter-node'
import { sveltekit } from '@sveltejs/kit/vite'
import { defineConfig } from 'vite'

export default defineConfig({ plugins: [sveltekit({ adapter: adapter() })] })
`,
  },
}

const SVELTE_FILES = {
  'src/app.html': `<!doctype html>
<html><head>%sveltekit.head%</head><body><div>%sveltekit.body%</div></body></html>
`,
  'src/routes/hello/[name]/+page.server.js': `export const load = ({ params }) => ({ name: params.name })
`,
  'src/routes/hello/[name]/+page.svelte': `<script>
  let { data } = $props()
</script>
<h1>Hello, {data.name}!</h1>
`,
  'src/routes/echo/+server.js': `export async function POST({ request }) {
  const { text } = await request.json()
  return new Response(String(text.length))
}
`,
  'static/static.txt': 'A static file\n',
}

/** @returns {Framework} */
function astro(major, packages, node) {
  return {
    name: `astro ${major}`,
    node,
    packages,
    files: ASTRO_FILES,
    build: [['astro', 'build']],
    entry: 'dist/server/entry.mjs',
    documents: 'dist/client',
    file: '/static.txt',
  }
}

/** @returns {Framework} */
function svelteKit(major, packages, node) {
  return {
    name: `sveltekit ${major}`,
    node,
    packages,
    files: { ...SVELTE_FILES, ...SVELTE_CONFIGS[major] },
    build: [['vite', 'build']],
    entry: 'build/handler.js',
    file: '/static.txt',
  }
}

const frameworks = [
  nestjs,
  astro(5, { astro: '~5.18.0', '@astrojs/node': '9.5.5' }),
  astro(7, { astro: '~7.3.5', '@astrojs/node': '~11.1.6' }, 22),
  svelteKit(2, {
    '@sveltejs/adapter-node': '5.5.7',
    '@sveltejs/kit': '~2.70.0',
    '@sveltejs/vite-plugin-svelte': '~6.2.3',
    svelte: '~5.57.3',
    vite: '~7.3.8',
  }),
  svelteKit(
    3,
    {
      '@sveltejs/adapter-node': '~6.0.1',
      '@sveltejs/kit': '~3.2.0',
      '@sveltejs/vite-plugin-svelte': '~7.3.1',
      svelte: '~5.57.3',
      typescript: '~6.0.0',
      vite: '^8.0.12',
    },
    22,
  ),
]

/** As in docs/bundle.md. */
const FRONT = `RewriteEngine On
RewriteCond %{REQUEST_FILENAME} !-f
RewriteRule ^(.*)$ app.cgi/$1 [L]
`

/** The columns of the table: where each bundle is, and how it runs. */
const MOUNTS = [
  { title: 'cgi-bin', at: '/cgi-bin/app.cgi' },
  { title: '`.htaccess` at /', at: '' },
  { title: 'below a path', at: '/sub' },
  { title: 'mod_fcgid', at: '/fcgid' },
  { title: 'resident', at: '/resident/app.cgi' },
]

const directory = temporaryDirectory()
const runtime = join(directory, 'run')
/** Apache does not run scripts as root. */
const user = process.getuid() === 0 ? 'www-data' : undefined

/** Installs the packages and builds; returns the directory of the project. */
function build({ name, packages, files, build: commands }) {
  const project = join(directory, 'projects', name.replace(' ', '-'))
  const manifest = {
    private: true,
    type: 'module',
    dependencies: { ...packages, esbuild: '~0.28.0' },
  }
  for (const [path, text] of Object.entries({
    ...files,
    'package.json': JSON.stringify(manifest),
  })) {
    mkdirSync(dirname(join(project, path)), { recursive: true })
    writeFileSync(join(project, path), text)
  }
  // With NODE_EXTRA_CA_CERTS: behind a proxy that has a certificate of its own, npm tries each package for minutes.
  const env = { ...process.env, ASTRO_TELEMETRY_DISABLED: '1' }
  // The Node that runs this comes first, because npm and the builds are scripts for `env node`.
  env.PATH = `${dirname(process.execPath)}:${env.PATH}`
  const run = (program, args) => {
    try {
      execFileSync(program, args, { cwd: project, env, stdio: 'pipe' })
    } catch (error) {
      const output = `${error.stdout}${error.stderr}`.trim()
      throw new Error(`${name}: ${program} ${args.join(' ')} failed:\n${output}`, { cause: error })
    }
  }
  run('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline', '--loglevel=error'])
  for (const [program, ...args] of commands) {
    run(process.execPath, [join(project, 'node_modules/.bin', program), ...args])
  }
  return project
}

/** Bundles a build into the directories of its site; returns the report of the command. */
function bundle({ entry, documents }, project, site) {
  const command = (output, ...flags) =>
    execFileSync(
      process.execPath,
      [
        join(root, 'bin/portico.cjs'),
        'bundle',
        join(project, entry),
        '-o',
        join(site, output),
        '--node',
        process.execPath,
        ...flags,
      ],
      { env: cleanEnvironment(), encoding: 'utf8' },
    )
  const report = command('app.cgi')
  command('sub/app.cgi')
  command('cgi/app.cgi')
  command('fcgid/app.fcgi', '--fcgi')
  command('resident/app.cgi', '--resident')
  for (const at of ['', 'sub']) {
    writeFileSync(join(site, at, '.htaccess'), FRONT)
    if (documents) cpSync(join(project, documents), join(site, at), { recursive: true })
  }
  writeFileSync(join(site, 'resident/.htaccess'), 'RewriteEngine Off\n')
  return report
}

/** A virtual host: its root is the bundle. */
function hostOf(name, site) {
  return `<VirtualHost *>
ServerName ${name}.test
DocumentRoot "${site}"
SetEnv XDG_RUNTIME_DIR "${runtime}"
ScriptAlias "/cgi-bin/" "${site}/cgi/"
Alias "/fcgid" "${site}/fcgid/app.fcgi"
<Location "/fcgid">
  SetHandler fcgid-script
</Location>
<Directory "${site}">
  AllowOverride All
  Options +ExecCGI +FollowSymLinks
  AddHandler cgi-script .cgi
  Require all granted
</Directory>
</VirtualHost>`
}

/** Sends a request to a virtual host; resolves to the status and the body. */
function ask(port, host, path, body) {
  return new Promise((resolve, reject) => {
    const headers = { Host: `${host}.test` }
    if (body !== undefined) headers['Content-Type'] = 'application/json'
    const method = body === undefined ? 'GET' : 'POST'
    const sent = request({ host: '127.0.0.1', port, path, method, headers, timeout: TIMEOUT })
    sent.on('timeout', () => sent.destroy(new Error(`no response after ${TIMEOUT} ms`)))
    sent.on('error', reject)
    sent.on('response', (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk) => (text += chunk))
      response.on('end', () => resolve({ status: response.statusCode, text }))
      response.on('error', reject)
    })
    sent.end(body)
  })
}

/** What is wrong with the responses at a mount point; undefined if nothing is. */
async function check(port, host, at, { file }) {
  /** @type {[path: string, body: string | undefined, isRight: (text: string) => boolean][]} */
  const expected = [
    ['/hello/Zo%C3%AB?a=%20b', undefined, (text) => text.includes('Hello, Zoë!')],
    ['/echo', POST, (text) => text === String(LENGTH)],
  ]
  if (file && ['', '/sub'].includes(at)) {
    expected.push([file, undefined, (text) => text === 'A static file\n'])
  }
  for (const [path, body, isRight] of expected) {
    const { status, text } = await ask(port, host, at + path, body)
    if (status >= 300 || !isRight(text)) {
      return `${host}: ${at}${path} has status ${status}: ${text.slice(0, 500)}`
    }
  }
}

/** The median time of a page, in ms. */
async function timeOf(port, host, at) {
  const times = []
  for (let i = 0; i < 2 * REQUESTS; i += 1) {
    const start = performance.now()
    await ask(port, host, `${at}/hello/x`)
    times.push(performance.now() - start)
  }
  return median(times.slice(REQUESTS))
}

const apache = findProgram('apache2', 'httpd')
if (apache === undefined) throw new Error('Apache is not installed: run scripts/install-servers.sh')

const sites = new Map()
for (const framework of frameworks) {
  const { name, node = 0 } = framework
  if (options.only.length > 0 && !options.only.some((each) => name.startsWith(each))) continue
  if (Number.parseInt(process.versions.node, 10) < node) {
    console.error(`${name} needs Node ${node}, and is left out`)
    continue
  }
  console.error(
    `${name}: npm install, ${framework.build.map((words) => words.join(' ')).join(', ')}`,
  )
  const host = name.replace(' ', '-')
  const site = join(directory, 'sites', host)
  const report = bundle(framework, build(framework), site)
  console.error(report)
  sites.set(host, { framework, site, size: /: (.*?),/.exec(report)[1] })
}

mkdirSync(runtime, { mode: 0o700 })
const own = join(directory, 'apache')
mkdirSync(own)
const port = await freePort()
const file = join(own, 'apache2.conf')
const hosts = [...sites].map(([host, { site }]) => hostOf(host, site))
writeFileSync(
  file,
  apacheInstance(
    { directory: own, listen: `127.0.0.1:${port}`, user },
    ['cgid', 'fcgid'],
    [
      `FcgidIPCDir "${own}"`,
      `FcgidProcessTableFile "${own}/fcgid_shm"`,
      `FcgidInitialEnv PATH "${dirname(process.execPath)}:/usr/bin:/bin"`,
      ...hosts,
    ].join('\n'),
  ),
)
if (user) {
  chmodSync(directory, 0o755)
  execFileSync('chown', ['-R', user, join(directory, 'sites'), runtime, own])
}
const server = await ServerProcess.start([apache, '-f', file, '-DFOREGROUND'], {
  address: port,
  log: join(own, 'output.log'),
})
const faults = []
const rows = []
try {
  for (const [host, { framework, size }] of sites) {
    const cells = []
    for (const { at } of MOUNTS) {
      const fault = await check(port, host, at, framework)
      if (fault) faults.push(fault)
      cells.push(fault ? 'FAILED' : `${show(await timeOf(port, host, at), 0)} ms`)
    }
    rows.push([framework.name, size, ...cells])
  }
} finally {
  await server.stop()
  for (const { site } of sites.values()) {
    for (const pid of residents(join(site, 'resident/app.cgi'))) signalQuietly(pid, 'SIGTERM')
  }
}
console.log(`Node ${process.version}; the median time of a page with one client\n`)
printTable(['framework', 'bundle', ...MOUNTS.map(({ title }) => title)], rows, options)
for (const fault of faults) console.error(fault)
if (faults.length > 0) process.exitCode = 1
