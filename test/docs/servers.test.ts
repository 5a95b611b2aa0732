/**
 * docs/servers/ has what `portico init` writes. After a change of src/servers/, update the pages
 * with `npx vitest run test/docs/servers.test.ts -u`.
 */
import { readFileSync } from 'node:fs'
import { basename, resolve } from 'node:path'
import { describe, expect, it, test } from 'vitest'
import { cgiServers } from '../../src/servers/cgi-servers.ts'
import { descriptions } from '../../src/servers/descriptions.ts'
import { nginx } from '../../src/servers/nginx.ts'
import { exceptions } from '../../src/servers/exceptions.ts'
import { DEFAULTS, type ServerDescription, type Site } from '../../src/servers/site.ts'

/** What users of shared hosting write into their document root. */
const SCRIPTS = new Set(['cgi', 'fcgi', 'htaccess'])

/** The site of the documentation. */
function siteOf({ name, gateways }: ServerDescription, gateway = gateways[0]!): Site {
  const program = SCRIPTS.has(name) ? '/home/me/app/app.mjs' : '/srv/app/app.mjs'
  return {
    ...DEFAULTS,
    gateway,
    mount: '/app',
    program,
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

const languageOf = (name: string, path: string): string | undefined =>
  /\.(?:cgi|fcgi|json)$/.test(path) ? undefined : LANGUAGES[name]

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
    .map(
      ({ path, text }) =>
        `\`${path}\`:\n\n${code(withoutThisMachine(text), languageOf(name, path))}`,
    )
  const activate = description.activate(site)
  const mount = SCRIPTS.has(name) ? ' app.mjs --write ~/public_html' : ' --mount /app'
  const parts = [
    `# ${title}`,
    `${packages ? `On Debian and Ubuntu: \`apt-get install ${packages.join(' ')}\`. ` : ''}\`--gateway\` is ${choices(gateways)}. \`portico init ${name} --help\` lists every flag.`,
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

/** "`fastcgi` (the default), `scgi` or `http`" */
function choices([first, ...others]: readonly string[]): string {
  if (others.length === 0) return `always \`${first}\` here`
  const names = [`\`${first}\` (the default)`, ...others.map((name) => `\`${name}\``)]
  return `${names.slice(0, -1).join(', ')} or ${names.at(-1)}`
}

/** Rows of the conformance suite that have another result through this server. */
function differences({ name, gateways }: ServerDescription): string[] {
  const rows = rowsOf(name, gateways)
  return rows.length === 0 ? [] : ['## What the server changes', ...rows]
}

function rowsOf(name: string, gateways: readonly Site['gateway'][]): string[] {
  const unique = new Map<string, string[]>()
  for (const gateway of gateways) {
    for (const { row, reason, where: settings } of exceptions) {
      const prefix = `${name} ${gateway}`
      const where =
        settings.includes(name) || settings.includes(prefix)
          ? [gateway]
          : settings
              .filter((each) => each.startsWith(`${prefix}, `))
              .map((each) => each.slice(name.length + 1))
      if (where.length === 0) continue
      const key = `${row} | ${reason}`
      unique.set(key, [...(unique.get(key) ?? []), ...where])
    }
  }
  if (unique.size === 0) return []
  return [
    'These rows of the [conformance suite](../testing.md) have another result through this server:',
    [
      '| gateway | row | because |',
      '|---|---|---|',
      ...[...unique].map(([key, names]) => `| ${names.join('; ')} | ${key} |`),
    ].join('\n'),
  ]
}

/** The page of the servers for which there is no site to write. */
function cgiPage(): string {
  const example = {
    root: '/srv/www',
    host: '127.0.0.1',
    port: 8080,
    user: 'www-data',
    socket: '/run/fcgiwrap.socket',
  }
  const sections = cgiServers.map(({ name, title, packages, file, command, limits }) =>
    [
      `## ${title}`,
      `On Debian and Ubuntu: \`apt-get install ${packages.join(' ')}\`.`,
      ...(file ? [`\`${file.name}\`:`, code(file.text(example), file.language)] : []),
      code(
        command(example)
          .map((word) => (word === 'FILE' ? file!.name : word.includes('*') ? `'${word}'` : word))
          .join(' '),
        'sh',
      ),
      limits.map((line) => `- ${line}`).join('\n'),
      ...rowsOf(name, ['cgi']),
    ].join('\n\n'),
  )
  return `${[
    '# CGI elsewhere',
    'These web servers run the scripts of a directory. Here it is `/srv/www/cgi-bin`, with scripts that `portico init cgi` writes. The tests start each server in this way.',
    ...sections,
  ].join('\n\n')}\n`
}

describe('docs/servers/ has what portico init writes:', () => {
  it.each(descriptions)('$name.md', async (description) => {
    await expect(page(description)).toMatchFileSnapshot(`../../docs/servers/${description.name}.md`)
  })
})

test('nginx.conf.example is what portico init nginx writes for an application at /', async () => {
  const [file] = nginx.configure({ ...siteOf(nginx), mount: '' })
  await expect(file!.text).toMatchFileSnapshot('../../nginx.conf.example')
})

test('docs/servers/cgi-elsewhere.md has what the tests start', async () => {
  await expect(cgiPage()).toMatchFileSnapshot('../../docs/servers/cgi-elsewhere.md')
})

test('docs/servers/README.md links every page', () => {
  const text = readFileSync('docs/servers/README.md', 'utf8')
  const linked = [...text.matchAll(/\]\(([\w-]+)\.md\)/g)].map(([, name]) => basename(name!))
  const names = ['cgi-elsewhere', ...descriptions.map(({ name }) => name)]
  expect([...new Set(linked)].toSorted()).toEqual(names.toSorted())
})
