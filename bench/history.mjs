#!/usr/bin/env node
/**
 * Measures the main ratios of the current commit and appends a row for each Node to history.md, so
 * that slow changes become visible. Run it on a quiet machine, with a clean work tree and a build.
 */
import { execFileSync } from 'node:child_process'
import { appendFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  medianRatio,
  NODES,
  readOptions,
  root,
  show,
  takeTurns,
  temporaryDirectory,
  versionOf,
} from './common.mjs'
import { startFramework, WORKLOADS as FRAMEWORK_WORKLOADS } from './frameworks/frameworks.mjs'
import { driveEngine } from './load/load.mjs'
import { BASE, peers, requireLoad, startPeers, stopPeers, WORKLOADS } from './peers/peers.mjs'

const options = readOptions('Appends the main ratios of this commit to bench/history.md.', {
  node: NODES,
  rounds: [5, 'turns of each server'],
  seconds: [1, 'for each turn'],
  print: [false, 'print the rows without appending them'],
})

const directory = temporaryDirectory()
const program = requireLoad(directory)

const settings = { rounds: options.rounds, seconds: options.seconds, warmUp: 1 }
const names = new Set([BASE, 'Portico FastCGI', 'Portico HTTP'])

function drive({ pid, protocol, path: socket }, workload, seconds) {
  return driveEngine(pid, {
    program,
    protocol,
    socket,
    ...workload,
    connections: 32,
    kept: true,
    seconds,
  })
}

async function cellsOf(node) {
  const running = await startPeers(
    peers.filter(({ name }) => names.has(name)),
    { directory, processes: 1, node },
  )
  const values = await takeTurns(running, WORKLOADS, drive, settings)
  const [base, fastcgi, http] = running
  const ratio = (server, workload, field) =>
    medianRatio(values(server, workload, field), values(base, workload, field))
  const cells = [
    ...WORKLOADS.map((workload) => ratio(fastcgi, workload, 'time')),
    ratio(http, WORKLOADS[0], 'rate'),
  ]
  await stopPeers(running)

  const express = await startFramework('express', { directory, node })
  const hello = FRAMEWORK_WORKLOADS[0]
  const all = await takeTurns(express, [hello], drive, settings)
  const [own, onHttp, onFastcgi] = express.map((server) => all(server, hello, 'time'))
  await stopPeers(express)
  return [...cells, medianRatio(onFastcgi, own), medianRatio(onHttp, own)]
}

const git = (...args) => execFileSync('git', args, { cwd: root, encoding: 'utf8' }).trim()
const dirty = git('status', '--porcelain') === '' ? '' : ' + changes'
const commit = `${git('rev-parse', '--short', 'HEAD')}${dirty}`
const date = git('log', '-1', '--format=%cs')
for (const node of options.node) {
  const ratios = (await cellsOf(node)).map((ratio) => show(ratio, 2))
  const row = `| ${[commit, date, versionOf(node), ...ratios].join(' | ')} |\n`
  process.stdout.write(row)
  if (!options.print) appendFileSync(join(root, 'bench/history.md'), row)
}
