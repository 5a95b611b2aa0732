/** The frameworks that are measured, and the servers that each runs on. */
import { join } from 'node:path'
import { resolves, root } from '../common.mjs'
import { ServerProcess } from '../process.mjs'

/** `size` and `expected` are the bytes of the request body and of the response body. */
export const WORKLOADS = [
  { name: 'hello', path: '/hello', size: 0, expected: 14 },
  { name: '64 KiB', path: '/64k', size: 0, expected: 65_536 },
]

const listenAndHandlers = (name, suffix = '', note = '') => {
  const base = `${name}'s own listen()${note}`
  return [
    { name: base, protocol: 'http', gateway: `own${suffix}`, base },
    { name: `${name} on HTTPHandler${note}`, protocol: 'http', gateway: `http${suffix}`, base },
    {
      name: `${name} on FastCGIHandler${note}`,
      protocol: 'fastcgi',
      gateway: `fastcgi${suffix}`,
      base,
    },
  ]
}

/**
 * By framework: what it needs, and its servers, each with the name of the one that it is compared
 * with. Hono runs with the light Request and Response classes and with Node's.
 */
export const frameworks = {
  express: { needs: ['express'], servers: listenAndHandlers('Express') },
  koa: { needs: ['koa'], servers: listenAndHandlers('Koa') },
  fastify: { needs: ['fastify'], servers: listenAndHandlers('Fastify') },
  hono: {
    needs: ['hono', '@hono/node-server'],
    servers: [
      ...listenAndHandlers('Hono', '-light', ', light classes'),
      ...listenAndHandlers('Hono', '', ', Node’s classes'),
    ],
  },
}

/** The frameworks that are installed here. */
export function installedFrameworks() {
  return Object.keys(frameworks).filter((name) => frameworks[name].needs.every(resolves))
}

let started = 0

/**
 * Starts all servers of a framework on Unix sockets.
 *
 * @param {{ directory: string, node: string }} settings
 */
export async function startFramework(framework, { directory, node }) {
  const serve = join(root, 'bench/frameworks/serve.mjs')
  const running = []
  for (const each of frameworks[framework].servers) {
    started += 1
    const path = join(directory, `framework${started}.sock`)
    const command = [node, serve, framework, each.gateway, path]
    const server = await ServerProcess.start(command, { address: path, log: `${path}.log` })
    running.push({ ...each, server, pid: server.pid, path, host: `framework${started}` })
  }
  return running
}
