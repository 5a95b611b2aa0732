#!/usr/bin/env node
/**
 * Runs the test suite of a framework or library through gateways of Portico, and prints how many
 * tests pass through each. `plain` is the suite as it is.
 *
 *     node test/suites/run.mjs CHECKOUT… [--gateways plain,fcgi,http,nginx] [--failures] [-- ARGUMENT…]
 *
 * CHECKOUT is a clone with its dependencies installed; build Portico before (`npm run build`). The
 * runner is the one of the `test` script: mocha, node --test or vitest. Arguments after `--` replace
 * those of that script, as for some files of Fastify: `-- test/listen.1.test.js`.
 */
import { spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const own = process.argv.slice(2)
const dashes = own.indexOf('--')
const { values, positionals } = parseArgs({
  args: dashes < 0 ? own : own.slice(0, dashes),
  allowPositionals: true,
  options: {
    gateways: { type: 'string', default: 'plain,fcgi,http,nginx' },
    failures: { type: 'boolean', default: false },
    timeout: { type: 'string', default: '300' },
  },
})
const further = dashes < 0 ? null : own.slice(dashes + 1)
const hook = fileURLToPath(new URL('hook.mjs', import.meta.url))

/** Tests that cannot pass through any gateway, or not through this one: file or title, and reason. */
const REASONS = JSON.parse(readFileSync(new URL('differences.json', import.meta.url), 'utf8'))

async function main() {
  const gateways = values.gateways.split(',')
  const rows = []
  for (const checkout of positionals.map((path) => resolve(path))) {
    const row = { suite: nameOf(checkout) }
    let plain = null
    for (const gateway of gateways) {
      const result = await runSuite(checkout, gateway)
      row[gateway] = `${result.passes} of ${result.passes + result.failures.length}`
      if (gateway === 'plain') plain = new Set(result.failures)
      const failures = result.failures.filter((title) => !plain?.has(title))
      explain(row.suite, gateway, failures)
    }
    rows.push(row)
  }
  console.table(rows)
}

function nameOf(checkout) {
  const { name, version } = JSON.parse(readFileSync(join(checkout, 'package.json'), 'utf8'))
  return `${name} ${version}`
}

/** Names the differences, with their reasons where there are some. */
function explain(suite, gateway, failures) {
  const counts = new Map()
  for (const title of failures) {
    const reason = REASONS.find(
      (it) =>
        suite.startsWith(`${it.suite} `) &&
        it.gateways.includes(gateway) &&
        title.includes(it.test),
    )
    const text = reason?.reason ?? 'no reason known'
    counts.set(text, [...(counts.get(text) ?? []), title])
  }
  for (const [reason, titles] of counts) {
    console.log(`${suite}, ${gateway}: ${titles.length} fail: ${reason}`)
    if (values.failures) for (const title of titles) console.log(`    ${title}`)
  }
}

async function runSuite(checkout, gateway) {
  const nginx = gateway === 'nginx' ? await startNginx() : null
  const env = {
    ...process.env,
    NODE_OPTIONS: `--import ${hook}`,
    NODE_ENV: 'test',
    SUITE_GATEWAY: gateway,
    ...(nginx && { SUITE_DIRECTORY: nginx.directory, SUITE_NGINX_PORT: String(nginx.port) }),
  }
  delete env.VITEST
  try {
    return await runTests(checkout, env)
  } finally {
    await nginx?.stop()
  }
}

/** Runs the suite's own runner, and reads its report. */
async function runTests(checkout, env) {
  const { scripts } = JSON.parse(readFileSync(join(checkout, 'package.json'), 'utf8'))
  const commands = scripts.test.split('&&').map((command) => command.trim())
  const words = (commands.find((it) => /^(?:mocha|vitest)\b/.test(it)) ?? commands[0]).split(/\s+/)
  const [runner] = words
  const report = join(mkdtempSync(join(tmpdir(), 'portico-suite-')), 'report')
  if (runner === 'mocha') {
    const rest = words
      .slice(1)
      .filter((word, i) => word !== '--reporter' && words[i] !== '--reporter')
      .filter((word) => word !== '--bail' && word !== '--no-exit')
    const args = [...(further ?? rest), '--exit', '--reporter', 'json', '-O', `output=${report}`]
    await execute(checkout, join(checkout, 'node_modules/.bin/mocha'), args, env)
    return mochaResult(report)
  }
  if (runner === 'vitest') {
    const args = ['run', ...(further ?? []), '--reporter=json', `--outputFile=${report}`]
    await execute(checkout, join(checkout, 'node_modules/.bin/vitest'), args, env)
    return vitestResult(report)
  }
  const reporter = ['--test-reporter=tap', `--test-reporter-destination=${report}`]
  const args = ['--test', '--test-timeout=30000', ...reporter, ...(further ?? [])]
  await execute(checkout, process.execPath, args, env)
  return tapResult(report)
}

function execute(cwd, command, args, env) {
  const stdio = ['ignore', 'ignore', values.failures ? 'inherit' : 'ignore']
  const child = spawn(command, args, { cwd, env, stdio, detached: true })
  const timer = setTimeout(() => process.kill(-child.pid, 'SIGKILL'), Number(values.timeout) * 1000)
  return new Promise((done) => child.on('close', done)).finally(() => clearTimeout(timer))
}

function mochaResult(report) {
  if (!existsSync(report)) return { passes: 0, failures: ['the whole suite: no report'] }
  const { passes, failures } = JSON.parse(readFileSync(report, 'utf8'))
  return { passes: passes.length, failures: failures.map(({ fullTitle }) => fullTitle) }
}

function vitestResult(report) {
  if (!existsSync(report)) return { passes: 0, failures: ['the whole suite: no report'] }
  const tests = JSON.parse(readFileSync(report, 'utf8')).testResults.flatMap(
    ({ assertionResults }) => assertionResults,
  )
  const failed = tests.filter(({ status }) => status === 'failed')
  return {
    passes: tests.filter(({ status }) => status === 'passed').length,
    failures: failed.map(({ fullName }) => fullName),
  }
}

/** Counts the tests, but not the suites: the details of an outcome say which of them it is. */
function tapResult(report) {
  const result = { passes: 0, failures: [] }
  if (!existsSync(report)) return { passes: 0, failures: ['the whole suite: no report'] }
  const path = []
  const lines = readFileSync(report, 'utf8').split('\n')
  for (const [i, line] of lines.entries()) {
    const subtest = /^( *)# Subtest: (.*)$/.exec(line)
    if (subtest) {
      path.length = subtest[1].length / 4
      path.push(subtest[2])
    }
    const outcome = /^( *)(not ok|ok) \d+ - (.*?)(?: # (?:SKIP|TODO).*)?$/.exec(line)
    if (!outcome || line.includes('# SKIP')) continue
    const details = lines.slice(i + 1, lines.indexOf(`${outcome[1]}  ...`, i))
    // With an exit code it is a file.
    if (details.some((it) => /^ *(?:type: 'suite'|exitCode: \d+)$/.test(it))) continue
    if (outcome[2] === 'ok') result.passes += 1
    else result.failures.push([...path.slice(0, outcome[1].length / 4), outcome[3]].join(' > '))
  }
  return result
}

/** One nginx for all servers of a suite: the PROXY protocol's port names the socket. */
async function startNginx() {
  const directory = mkdtempSync(join(tmpdir(), 'portico-suite-nginx-'))
  chmodSync(directory, 0o777)
  const port = await freePort()
  const configuration = join(directory, 'nginx.conf')
  writeFileSync(
    configuration,
    `daemon off; pid ${directory}/pid; error_log ${directory}/error.log; worker_processes 1;
     events { worker_connections 1024; }
     http {
       access_log off; client_max_body_size 0;
       client_body_temp_path ${directory}/body; fastcgi_temp_path ${directory}/fastcgi;
       proxy_temp_path ${directory}/proxy; scgi_temp_path ${directory}/scgi;
       uwsgi_temp_path ${directory}/uwsgi;
       server {
         listen 127.0.0.1:${port} proxy_protocol;
         set_real_ip_from 127.0.0.1; real_ip_header proxy_protocol;
         location / {
           fastcgi_param REQUEST_METHOD $request_method; fastcgi_param SCRIPT_NAME "";
           fastcgi_param PATH_INFO $fastcgi_script_name; fastcgi_param QUERY_STRING $query_string;
           fastcgi_param REQUEST_URI $request_uri; fastcgi_param SERVER_PROTOCOL $server_protocol;
           fastcgi_param SERVER_NAME localhost; fastcgi_param SERVER_PORT $server_port;
           fastcgi_param SERVER_ADDR $server_addr; fastcgi_param REMOTE_ADDR $remote_addr;
           fastcgi_param REMOTE_PORT $remote_port; fastcgi_param CONTENT_TYPE $content_type;
           fastcgi_param CONTENT_LENGTH $content_length; fastcgi_param HTTP_HOST $http_host;
           fastcgi_buffering off; fastcgi_request_buffering off;
           fastcgi_pass unix:${directory}/$proxy_protocol_server_port.sock;
         }
       }
     }`,
  )
  const child = spawn('nginx', ['-c', configuration, '-p', directory], { stdio: 'ignore' })
  while (!existsSync(join(directory, 'pid'))) await new Promise((done) => setTimeout(done, 50))
  return {
    directory,
    port,
    async stop() {
      const ended = new Promise((done) => child.once('close', done))
      child.kill('SIGQUIT')
      await ended
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

async function freePort() {
  const server = createServer()
  await new Promise((done) => server.listen(0, '127.0.0.1', done))
  const { port } = server.address()
  await new Promise((done) => server.close(done))
  return port
}

await main()
