#!/usr/bin/env node
/**
 * Measures how much later than `node app.mjs` the development server gives its first response.
 *
 * Both run the same file, an Express application that listens; the runs alternate. CPU times are those
 * of the processes up to the response. They depend less than the time on what else the machine runs.
 */
import { spawn } from 'node:child_process'
import { readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { median, readOptions, root, temporaryDirectory } from './common.mjs'

const options = readOptions('Measures the start of the development server.', {
  node: [process.execPath, 'the Node to measure'],
  runs: [15, 'starts of each kind'],
})

const directory = temporaryDirectory()
symlinkSync(join(root, 'node_modules'), join(directory, 'node_modules'))
writeFileSync(
  join(directory, 'app.mjs'),
  `import express from 'express'
const app = express()
app.get('/', (request, response) => response.send('<p>Hello</p>'))
app.listen(process.env.PORT, '127.0.0.1')
`,
)

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((listening) => server.once('listening', listening))
  const { port } = server.address()
  await new Promise((closed) => server.close(closed))
  return port
}

/** The CPU time of a process and its children in ms. */
function cpuTime(pid) {
  let sum = 0
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    const read = (name) => readFileSync(`/proc/${pid}/task/${task}/${name}`, 'utf8').trim()
    sum += Number(read('schedstat').split(' ')[0]) / 1e6
    for (const child of read('children').split(' ')) if (child !== '') sum += cpuTime(child)
  }
  return sum
}

async function firstResponse(args) {
  const port = await freePort()
  const began = performance.now()
  const child = spawn(options.node, args(port), {
    cwd: directory,
    env: { ...process.env, PORT: String(port) },
    stdio: 'ignore',
  })
  for (;;) {
    try {
      await (await fetch(`http://127.0.0.1:${port}/`, { headers: { connection: 'close' } })).text()
      break
    } catch {
      await new Promise((later) => setTimeout(later, 1))
    }
  }
  const took = performance.now() - began
  const cpu = cpuTime(child.pid)
  child.kill('SIGTERM')
  await new Promise((gone) => child.once('exit', gone))
  return { took, cpu }
}

const bare = []
const served = []
for (let run = 0; run < options.runs; run += 1) {
  bare.push(await firstResponse(() => ['app.mjs']))
  served.push(
    await firstResponse((port) => [
      join(root, 'bin/portico.cjs'),
      'serve',
      'app.mjs',
      '--dev',
      '--listen',
      `127.0.0.1:${port}`,
    ]),
  )
}
const show = (name, key) => {
  const [first, second] = [bare, served].map((runs) => median(runs.map((run) => run[key])))
  console.log(
    `${name}: node app.mjs ${first.toFixed(0)} ms, portico serve --dev ${second.toFixed(0)} ms, ` +
      `difference ${(second - first).toFixed(0)} ms`,
  )
}
show('time', 'took')
show('CPU time', 'cpu')
console.log(`(medians of ${options.runs} runs)`)
