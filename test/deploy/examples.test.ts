/**
 * examples/deploy/ has what `portico init` writes. After a change of src/servers/, update the files
 * with `npx vitest run test/deploy/examples.test.ts -u`.
 */
import { readFileSync } from 'node:fs'
import { basename, resolve } from 'node:path'
import { describe, expect, it, test } from 'vitest'
import { openMetrics } from '../../src/master/metrics.ts'
import type { Status } from '../../src/master/status.ts'
import { docker, kubernetes } from '../../src/servers/containers.ts'
import { haproxy } from '../../src/servers/haproxy.ts'
import { nginx } from '../../src/servers/nginx.ts'
import { systemd } from '../../src/servers/services.ts'
import { DEFAULTS, type Site } from '../../src/servers/site.ts'

const SITE: Site = {
  ...DEFAULTS,
  gateway: 'fastcgi',
  program: '/srv/app/app.mjs',
  user: 'www-data',
  group: 'www-data',
}

describe('examples/deploy/ has the files of', () => {
  it.each([
    ['docker', docker, ''],
    ['kubernetes', kubernetes, ''],
    ['systemd', systemd, 'systemd/'],
  ] as const)('portico init %s', async (_name, description, directory) => {
    for (const { path, text } of description.configure(SITE)) {
      const onAServer = text
        .replaceAll(process.execPath, '/usr/bin/node')
        .replaceAll(resolve('bin/portico.cjs'), '/srv/app/node_modules/portico/bin/portico.cjs')
      const file = `../../examples/deploy/${directory}${basename(path)}`
      await expect(onAServer).toMatchFileSnapshot(file)
    }
  })
})

describe('examples/deploy/ adds the other hosts to', () => {
  const fleet: Site = { ...SITE, to: '10.0.0.11:9000', timeout: 5, streaming: false }
  it.each([
    ['nginx', nginx, 'nginx.conf'],
    ['haproxy', haproxy, 'haproxy.cfg'],
  ] as const)(
    'what portico init %s writes, and changes nothing in it',
    (_name, description, file) => {
      const example = readFileSync(`examples/deploy/${file}`, 'utf8').split('\n')
      const [{ text } = { text: '' }] = description.configure(fleet)
      let at = 0
      for (const line of text.split('\n')) {
        // The example may add parameters to a server, and lines.
        const found = example.findIndex(
          (each, i) => i >= at && each.replace(/(9000)( .*)?;$/, '$1;') === line,
        )
        expect(found, `${file} lacks ${JSON.stringify(line)}`).toBeGreaterThanOrEqual(at)
        at = found + 1
      }
      expect(
        example.filter((line) => /^ +server \S*.* ?10\.0\.0\.1[123]:9000/.test(line)),
      ).toHaveLength(3)
    },
  )
})

test('The metric that examples/deploy/kubernetes-metrics.yaml scales by is one of portico serve', () => {
  const yaml = readFileSync('examples/deploy/kubernetes-metrics.yaml', 'utf8')
  const [, metric] = /metric: \{ name: (\w+) \}/.exec(yaml) ?? []
  const status = {
    totals: {},
    workers: {},
    processes: [],
    restarts: {},
    limits: {},
    since: '2026-01-01',
  } as unknown as Status
  expect(openMetrics(status)).toContain(`# TYPE ${metric} gauge\n`)
})
