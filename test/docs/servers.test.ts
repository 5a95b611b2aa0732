/**
 * docs/servers/ has what `portico init` writes. After a change of src/servers/, update the pages
 * with `npx vitest run test/docs/servers.test.ts -u`.
 */
import { readFileSync } from 'node:fs'
import { basename, resolve } from 'node:path'
import { describe, expect, it, test } from 'vitest'
import { descriptions } from '../../src/servers/descriptions.ts'
import { exceptionsOf } from '../../src/servers/exceptions.ts'
import type { ServerDescription, Site } from '../../src/servers/site.ts'

/** The site of the documentation. */
function siteOf({ name, gateways }: ServerDescription, gateway = gateways[0]!): Site {
  const program = name === 'cgi' || name === 'fcgi' ? '/home/me/app/app.mjs' : '/srv/app/app.mjs'
  return {
    gateway,
    to: 'unix:/run/portico/app.sock',
    mount: '/app',
    program,
    hostname: '_',
    listen: '80',
    streaming: true,
    keepAlive: 16,
    maxBody: 64,
    timeout: 60,
    user: 'www-data',
    group: 'www-data',
  }
}

const LANGUAGES: Readonly<Record<string, string>> = {
  nginx: 'nginx',
  apache: 'apache',
  'apache-fcgid': 'apache',
  htaccess: 'apache',
  systemd: 'ini',
  docker: 'dockerfile',
  kubernetes: 'yaml',
  h2o: 'yaml',
}

const code = (text: string, language = 'text'): string =>
  `\`\`\`${language}\n${text.trimEnd()}\n\`\`\``

/** Paths as they are on a server. */
const withoutThisMachine = (text: string): string =>
  text
    .replaceAll(process.execPath, '/usr/bin/node')
    .replaceAll(resolve('bin/portico.cjs'), '/srv/app/node_modules/portico/bin/portico.cjs')

function page(description: ServerDescription): string {
  const { name, title, gateways, quirks, packages } = description
  const site = siteOf(description)
  const files = description
    .configure(site)
    .map(({ path, text }) => `\`${path}\`:\n\n${code(withoutThisMachine(text), LANGUAGES[name])}`)
  const activate = description.activate(site)
  const mount = name === 'cgi' || name === 'fcgi' || name === 'htaccess' ? '' : ' --mount /app'
  const parts = [
    `# ${title}`,
    `${packages ? `On Debian and Ubuntu: \`apt-get install ${packages.join(' ')}\`. ` : ''}It works with ${gateways
      .map((gateway) => `\`--gateway ${gateway}\``)
      .join(', ')}; the first is the default. \`portico init ${name} --help\` lists every flag.`,
    code(`portico init ${name}${mount}${description.instance ? ' --try' : ''}`, 'sh'),
    ...(description.instance
      ? [
          'This starts a temporary instance of the server, sends it the requests of the conformance suite, and changes nothing. ' +
            'Without `--try` the command prints the files, and `--write DIR` writes them.',
        ]
      : []),
    '## Files',
    ...files,
    ...(activate.length > 0 ? ['Then:', code(activate.join('\n'), 'sh')] : []),
    '## What to know',
    [
      '| version | symptom | remedy |',
      '|---|---|---|',
      ...quirks.map((row) => `| ${row.versions} | ${row.symptom} | ${row.remedy} |`),
    ].join('\n'),
    ...differences(description),
  ]
  return `${parts.join('\n\n')}\n`
}

/** Rows of the conformance suite that hold in another way through this server. */
function differences({ name, gateways }: ServerDescription): string[] {
  const rows = gateways.flatMap((gateway) =>
    exceptionsOf(name, gateway).map(({ row, reason }) => ({ gateway, row, reason })),
  )
  if (rows.length === 0) return []
  const unique = new Map<string, string[]>()
  for (const { gateway, row, reason } of rows) {
    const key = `${row} | ${reason}`
    unique.set(key, [...(unique.get(key) ?? []), gateway])
  }
  return [
    '## What the server changes',
    'These rows of the [conformance suite](../testing.md) hold in another way:',
    [
      '| gateway | row | because |',
      '|---|---|---|',
      ...[...unique].map(([key, names]) => `| ${names.join(', ')} | ${key} |`),
    ].join('\n'),
  ]
}

describe('docs/servers/ has what portico init writes:', () => {
  it.each(descriptions)('$name.md', async (description) => {
    await expect(page(description)).toMatchFileSnapshot(`../../docs/servers/${description.name}.md`)
  })
})

test('docs/servers/README.md links every page', () => {
  const text = readFileSync('docs/servers/README.md', 'utf8')
  const linked = [...text.matchAll(/\]\(([\w-]+)\.md\)/g)].map(([, name]) => basename(name!))
  expect(linked.toSorted()).toEqual(descriptions.map(({ name }) => name).toSorted())
})
