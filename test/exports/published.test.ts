/**
 * Runs published applications as docs/frameworks.md shows it: a registry of npm packages and a git
 * server, as FastCGI processes behind nginx. The clients are npm and git.
 *
 * The test installs them itself, because they are large and Portico does not need them.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { access, cp, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { afterAll, afterEach, describe, expect, it } from 'vitest'
import { startNginx } from '../servers/nginx.ts'
import { installed, makeDirectory, openSocket, type WebServer } from '../servers/process.ts'

const run = promisify(execFile)
const VERSIONS = { verdaccio: '6.8.0', 'node-git-server': '1.0.0' }
/** What verdaccio names by a tag, which not every registry has. */
const OVERRIDES = { 'node-fetch': '2.7.0' }

/** 330 packages: 7 s from a near registry. */
const INSTALL_TIMEOUT = 240_000
/** npm takes some seconds for each of its commands on a busy machine. */
const CLIENT_TIMEOUT = 120_000

const docs = await readFile('docs/frameworks.md', 'utf8')

/** A script of the documentation, by the name in its first line. */
function documented(name: string): string {
  const [, code] = new RegExp(`\`\`\`\\w+\\n(?:#|//) ${name}\\n([^]*?)\`\`\``).exec(docs) ?? []
  if (code === undefined) throw new Error(`docs/frameworks.md has no ${name}`)
  return code
}

/** Installs them; resolves to the reason if that is not possible, which is an error on CI. */
async function install(directory: string): Promise<string> {
  const missing = ['nginx', 'git', 'npm'].map((program) => installed(program).hint).join('')
  if (missing !== '') return missing
  await writeFile(
    join(directory, 'package.json'),
    JSON.stringify({ private: true, dependencies: VERSIONS, overrides: OVERRIDES }),
  )
  try {
    await run('npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts'], {
      cwd: directory,
      timeout: INSTALL_TIMEOUT,
    })
  } catch (error) {
    if (process.env['CI'] === 'true') throw error
    return ' (npm could not install them)'
  }
  await symlink(resolve('.'), join(directory, 'node_modules/portico'))
  return ''
}

const directory = await makeDirectory()
const hint = await install(directory)
if (hint !== '') await rm(directory, { recursive: true })

describe.skipIf(hint !== '')(`Published applications${hint}`, () => {
  let child: ChildProcess | undefined
  let nginx: WebServer | undefined
  let output = ''

  afterAll(() => rm(directory, { recursive: true, force: true }))

  afterEach(async () => {
    await nginx?.stop()
    nginx = undefined
    if (child?.exitCode === null) {
      child.kill('SIGTERM')
      await once(child, 'exit')
    }
    expect([child?.exitCode, child?.signalCode, output]).toEqual([0, null, ''])
  })

  /** Starts a documented script behind nginx, and resolves to its address. */
  async function start(name: string, mount: string): Promise<string> {
    const socket = join(directory, 'app.sock')
    nginx = await startNginx({ mounts: [{ at: mount || '/', to: `unix:${socket}` }] })
    const origin = `http://127.0.0.1:${nginx.port}`
    await writeFile(join(directory, name), documented(name))
    output = ''
    child = spawn(process.execPath, [name], {
      cwd: directory,
      env: {
        PATH: process.env['PATH'],
        PORTICO_GATEWAY: 'fastcgi',
        PORTICO_LISTEN: `unix:${socket}`,
        // Debian's fastcgi_params leave out the port of the header Host.
        VERDACCIO_PUBLIC_URL: origin,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const collect = (text: Buffer): void => {
      output += text.toString()
    }
    child.stdout!.on('data', collect)
    child.stderr!.on('data', collect)
    while (!(await exists(socket))) {
      if (child.exitCode !== null) throw new Error(output)
      await sleep(20)
    }
    // Its announcement is the last line before requests, and arrives on a pipe of its own pace.
    while (!output.includes('Serving')) await sleep(20)
    output = ''
    await openSocket(socket)
    return `${origin}${mount}/`
  }

  describe.each([{ mount: '' }, { mount: '/registry' }])("mounted at '$mount'", ({ mount }) => {
    it(
      'npm publishes a package to verdaccio and installs it from there',
      async () => {
        const workspace = join(directory, `npm${mount}`)
        await mkdir(join(workspace, 'package'), { recursive: true })
        await mkdir(join(workspace, 'consumer'), { recursive: true })
        const config = documented('config.yaml').replace('/registry/', `${mount}/`)
        await writeFile(join(directory, 'config.yaml'), config)
        await rm(join(directory, 'storage'), { recursive: true, force: true })
        await rm(join(directory, 'htpasswd'), { force: true })
        const registry = await start('verdaccio.mjs', mount)

        const env = {
          PATH: process.env['PATH'],
          HOME: workspace,
          npm_config_registry: registry,
          npm_config_cache: join(workspace, 'cache'),
          npm_config_update_notifier: 'false',
          npm_config_audit: 'false',
          npm_config_fund: 'false',
        }
        const npm = async (where: string, ...args: string[]): Promise<string> => {
          const { stdout } = await run('npm', args, { cwd: join(workspace, where), env })
          return stdout.trim()
        }

        // More than nginx buffers in memory, and nothing that would compress.
        const content = randomBytes(3_000_000)
        await writeFile(join(workspace, 'package/data.bin'), content)
        const description = { name: '@portico-test/parcel', version: '1.2.3', license: 'MIT' }
        await writeFile(join(workspace, 'package/package.json'), JSON.stringify(description))
        await writeFile(join(workspace, 'consumer/package.json'), '{"private":true}')

        await expect(npm('package', 'publish')).rejects.toThrow(/ENEEDAUTH/)
        await signUp(workspace, env)
        expect(await npm('package', 'whoami')).toBe('ada')
        expect(await npm('package', 'publish')).toBe('+ @portico-test/parcel@1.2.3')
        await expect(npm('package', 'publish')).rejects.toThrow(/E409|E403|previously published/)

        const tarball = await npm('consumer', 'view', '@portico-test/parcel', 'dist.tarball')
        expect(tarball).toBe(`${registry}@portico-test/parcel/-/parcel-1.2.3.tgz`)
        await npm('consumer', 'install', '@portico-test/parcel@^1')
        const arrived = join(workspace, 'consumer/node_modules/@portico-test/parcel/data.bin')
        expect(digest(await readFile(arrived))).toBe(digest(content))
        await expect(npm('consumer', 'view', 'no-such-parcel')).rejects.toThrow(/E404/)
      },
      CLIENT_TIMEOUT,
    )
  })

  it(
    'git pushes to node-git-server and clones from it',
    async () => {
      const url = `${await start('git.mjs', '/git')}works`
      const workspace = join(directory, 'git')
      await mkdir(join(workspace, 'mine'), { recursive: true })
      const env = {
        PATH: process.env['PATH'],
        HOME: workspace,
        GIT_CONFIG_NOSYSTEM: '1',
        GIT_TERMINAL_PROMPT: '0',
      }
      const git = async (where: string, ...args: string[]): Promise<string> => {
        const who = ['-c', 'user.name=Ada', '-c', 'user.email=ada@example.org']
        const { stdout } = await run('git', [...who, ...args], { cwd: join(workspace, where), env })
        return stdout.trim()
      }

      await git('mine', 'init', '-q', '-b', 'main')
      // Past http.postBuffer, 1 MiB: git sends it chunked.
      await writeFile(join(workspace, 'mine/data.bin'), randomBytes(3_000_000))
      await git('mine', 'add', '.')
      await git('mine', 'commit', '-q', '-m', 'First')
      // So many that a clone names them in a body of more than 1 KiB, which git sends compressed.
      for (let i = 0; i < 40; i += 1) {
        await git('mine', 'commit', '-q', '--allow-empty', '-m', `Number ${i}`)
        await git('mine', 'tag', `tag${i}`)
      }
      await git('mine', 'push', '-q', url, 'main', '--tags')
      await git('', 'clone', '-q', '-b', 'main', url, 'theirs')
      expect(await git('theirs', 'rev-parse', 'HEAD')).toBe(await git('mine', 'rev-parse', 'HEAD'))
      expect(digest(await readFile(join(workspace, 'theirs/data.bin')))).toBe(
        digest(await readFile(join(workspace, 'mine/data.bin'))),
      )
      expect(await git('theirs', 'fsck', '--strict')).toBe('')

      await cp(join(workspace, 'theirs'), join(workspace, 'again'), { recursive: true })
      await git('theirs', 'commit', '-q', '--allow-empty', '-m', 'Theirs')
      await git('theirs', 'push', '-q', url, 'main')
      await git('again', 'pull', '-q', url, 'main')
      expect(await git('again', 'log', '-1', '--format=%s')).toBe('Theirs')
      // The branch has moved on: git reports the refusal of the server.
      await git('mine', 'commit', '-q', '--allow-empty', '-m', 'Too late')
      await expect(git('mine', 'push', url, 'main')).rejects.toThrow(/rejected/)
    },
    CLIENT_TIMEOUT,
  )
})

function digest(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}

/** Responds to npm's prompts for a new user, one after the other. */
async function signUp(cwd: string, env: NodeJS.ProcessEnv): Promise<void> {
  const npm = spawn('npm', ['adduser', '--auth-type=legacy'], { cwd, env })
  const lines = ['ada', 'lovelace', 'ada@example.org']
  let said = ''
  npm.stdout.on('data', (text: Buffer) => {
    said += text.toString()
    if (/(?:Username|Password|Email)[^\n]*: ?$/.test(said)) {
      said += '\n'
      npm.stdin.write(`${lines.shift()}\n`)
    }
  })
  let errors = ''
  npm.stderr.on('data', (text: Buffer) => {
    errors += text.toString()
  })
  const [code] = (await once(npm, 'close')) as [number]
  if (code !== 0) throw new Error(said + errors)
}
