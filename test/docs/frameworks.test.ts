/**
 * What docs/frameworks.md says about the mount point. Each framework's program is extracted from the
 * page and runs as a CGI script and as a FastCGI process behind nginx.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { access, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { valuesOf } from '../../src/response/cgi-response.ts'
import { cgiClient, httpClient, type Client } from '../../src/exports/testing.ts'
import { startNginx } from '../servers/nginx.ts'
import { installed, makeDirectory, openSocket } from '../servers/process.ts'

const docs = await readFile('docs/frameworks.md', 'utf8')
const frameworks = ['express', 'koa', 'fastify', 'hono']
const nginx = installed('nginx')
let directory: string

beforeAll(async () => {
  directory = await makeDirectory()
  await mkdir(join(directory, 'node_modules'))
  await symlink(resolve('.'), join(directory, 'node_modules/portico'))
  for (const name of frameworks) {
    await symlink(resolve('node_modules', name), join(directory, 'node_modules', name))
    const [, code] = new RegExp(`\`\`\`js\\n// ${name}\\.mjs\\n([^]*?)\`\`\``).exec(docs) ?? []
    await writeFile(join(directory, `${name}.mjs`), code!)
  }
})
afterAll(() => rm(directory, { recursive: true, force: true }))

async function expectMounted(client: Client, mount: string): Promise<void> {
  const page = await client.request({ target: '/here?x=1' })
  expect(page.status).toBe('200 OK')
  expect(JSON.parse(String(page.body))).toEqual({
    path: '/here',
    mount,
    whole: `${mount}/here?x=1`,
  })
  const redirect = await client.request({ target: '/' })
  expect(redirect.status.slice(0, 3)).toBe('302')
  expect(valuesOf(redirect.headers, 'Location')).toEqual([`${mount}/here`])
}

describe.each(frameworks)('The %s program of docs/frameworks.md', (name) => {
  it('runs as a CGI script, without the mount point in its paths but with it in redirects', async () => {
    const mount = `/cgi-bin/${name}.mjs`
    const script = join(directory, `${name}.mjs`)
    const client = cgiClient({ command: [process.execPath, script], mount, scriptFilename: script })
    await expectMounted(client, mount)
  })

  it.skipIf(!nginx.available)(`runs behind nginx${nginx.hint}`, async () => {
    const socket = join(directory, `${name}.sock`)
    const env = {
      PATH: process.env['PATH'],
      PORTICO_GATEWAY: 'fastcgi',
      PORTICO_LISTEN: `unix:${socket}`,
    }
    const child = spawn(process.execPath, [join(directory, `${name}.mjs`)], {
      env,
      stdio: 'ignore',
    })
    try {
      while (!(await exists(socket)) && child.exitCode === null) await sleep(20)
      await openSocket(socket)
      const server = await startNginx({ mounts: [{ at: '/app', to: `unix:${socket}` }] })
      try {
        const client = httpClient({ port: server.port }, { mount: '/app' })
        await expectMounted(client, '/app')
        await client.close()
      } finally {
        await server.stop()
      }
    } finally {
      const exited = once(child, 'exit')
      child.kill('SIGTERM')
      await exited
    }
  })
})

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}
