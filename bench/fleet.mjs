/**
 * Hosts on one machine: network namespaces that a bridge connects, or, where this user may not make
 * them, loopback addresses.
 */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { promisify } from 'node:util'
import { cleanEnvironment, findProgram } from './common.mjs'

const run = promisify(execFile)

/** The hosts of examples/deploy/, and the balancer and the database beside them. */
const ADDRESSES = { balancer: 1, app1: 11, app2: 12, app3: 13, database: 20 }

/**
 * A new host has the hardware address of the old one. With another one, the balancer would send to the
 * old one for up to a minute, until its ARP entry expires.
 */
const hardwareAddress = (host) => `02:00:00:00:00:${ADDRESSES[host].toString(16).padStart(2, '0')}`

/** Whether network namespaces and virtual Ethernet work here, as root. */
export async function canMakeNetworks() {
  if (process.getuid() !== 0 || findProgram('ip') === undefined) return false
  const name = `portico-${process.pid}-try`
  try {
    await run('ip', ['netns', 'add', name])
    await run('ip', ['-n', name, 'link', 'add', 'name', 'end', 'type', 'veth'])
    await run('ip', ['-n', name, 'link', 'add', 'name', 'bridge', 'type', 'bridge'])
    return true
  } catch {
    return false
  } finally {
    await run('ip', ['netns', 'delete', name]).catch(() => {})
  }
}

const isRunning = (child) => child.exitCode === null && child.signalCode === null

function signalIfRunning(pid, signal) {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if (error.code !== 'ESRCH') throw error
  }
}

/** Hosts that are network namespaces, connected by a bridge in the balancer's. */
export class NamespaceFleet {
  kind = 'network namespaces'
  prefix = '10.0.0.'
  network = '10.0.0.0/24'
  #names = new Set()

  address(host) {
    return `${this.prefix}${ADDRESSES[host]}`
  }

  #name(host) {
    return `portico-${process.pid}-${host}`
  }

  async #ip(host, ...args) {
    await run('ip', ['-n', this.#name(host), ...args])
  }

  async open() {
    await this.#add('balancer')
    await this.#ip('balancer', 'link', 'add', 'name', 'bridge', 'type', 'bridge')
    await this.#ip('balancer', 'address', 'add', `${this.address('balancer')}/24`, 'dev', 'bridge')
    await this.#ip('balancer', 'link', 'set', 'bridge', 'up')
    for (const host of Object.keys(ADDRESSES)) if (host !== 'balancer') await this.connect(host)
  }

  async #add(host) {
    const name = this.#name(host)
    this.#names.add(name)
    await run('ip', ['netns', 'add', name])
    await this.#ip(host, 'link', 'set', 'lo', 'up')
  }

  /** A new machine with the address of `host`. */
  async connect(host) {
    await this.#add(host)
    const [peer, name] = [`to-${host}`, this.#name(host)]
    const ends = ['type', 'veth', 'peer', 'name', 'eth0', 'netns', name]
    await this.#ip('balancer', 'link', 'add', 'name', peer, ...ends)
    await this.#ip('balancer', 'link', 'set', peer, 'master', 'bridge', 'up')
    await this.#ip(host, 'address', 'add', `${this.address(host)}/24`, 'dev', 'eth0')
    await this.#ip(host, 'link', 'set', 'eth0', 'address', hardwareAddress(host), 'up')
  }

  /** Nothing from or to `host` arrives until `restore`. */
  async isolate(host) {
    await this.#ip('balancer', 'link', 'set', `to-${host}`, 'down')
  }

  async restore(host) {
    await this.#ip('balancer', 'link', 'set', `to-${host}`, 'up')
  }

  /** Ends `host` as a power failure does: no process says goodbye, and its network is gone. */
  async destroy(host) {
    await this.isolate(host)
    await this.#kill(this.#name(host))
    await this.#ip('balancer', 'link', 'delete', `to-${host}`)
    await this.#delete(this.#name(host))
  }

  async #kill(name) {
    const { stdout } = await run('ip', ['netns', 'pids', name])
    for (const pid of stdout.split('\n').filter(Boolean)) signalIfRunning(Number(pid), 'SIGKILL')
  }

  async #delete(name) {
    await run('ip', ['netns', 'delete', name])
    this.#names.delete(name)
  }

  command(host, command) {
    return ['ip', 'netns', 'exec', this.#name(host), ...command]
  }

  async close() {
    for (const name of this.#names) {
      await this.#kill(name)
      await this.#delete(name)
    }
  }
}

/** Hosts that are loopback addresses. A host is unreachable when its processes are stopped. */
export class LoopbackFleet {
  kind = 'loopback addresses'
  prefix = '127.0.1.'
  network = '127.0.0.0/8'
  #groups = new Map()

  address(host) {
    return `${this.prefix}${ADDRESSES[host]}`
  }

  async open() {}
  async connect() {}

  /** The processes of `host`: the master, and its workers, which have process groups of their own. */
  async #pids(host) {
    const roots = (this.#groups.get(host) ?? []).filter(isRunning)
    const { stdout } = await run('ps', ['-A', '-o', 'pid=,ppid='])
    const rows = stdout
      .trim()
      .split('\n')
      .map((line) => line.trim().split(/\s+/).map(Number))
    const pids = roots.map((child) => child.pid)
    for (let i = 0; i < pids.length; i += 1) {
      pids.push(...rows.filter(([, parent]) => parent === pids[i]).map(([pid]) => pid))
    }
    return pids
  }

  async #signal(host, signal) {
    for (const pid of await this.#pids(host)) signalIfRunning(pid, signal)
  }

  isolate(host) {
    return this.#signal(host, 'SIGSTOP')
  }

  restore(host) {
    return this.#signal(host, 'SIGCONT')
  }

  destroy(host) {
    return this.#signal(host, 'SIGKILL')
  }

  command(_host, command) {
    return command
  }

  /** Remembers what runs on a host. */
  started(host, child) {
    this.#groups.set(host, [...(this.#groups.get(host) ?? []), child])
  }

  async close() {
    for (const host of this.#groups.keys()) await this.destroy(host)
  }
}

/** Starts a program on a host. `ready` is text of its output. */
export async function startOn(
  fleet,
  host,
  command,
  { ready = '', env = {}, stdin = 'ignore' } = {},
) {
  const [program, ...args] = fleet.command(host, command)
  const child = spawn(program, args, {
    stdio: [stdin, 'pipe', 'pipe'],
    env: { ...cleanEnvironment(), ...env },
  })
  fleet.started?.(host, child)
  child.output = ''
  child.closed = once(child, 'close')
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      child.output += text
      child.emit('output')
    })
  }
  while (!child.output.includes(ready)) {
    await Promise.race([once(child, 'output'), child.closed])
    if (!isRunning(child)) {
      throw new Error(`${command.join(' ')} ended on ${host}: ${child.output}`)
    }
  }
  return child
}
