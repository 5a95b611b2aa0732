/**
 * The pages of docs/: their order, their links, and the commands and programs of the pages for
 * newcomers, which are run.
 */
import { execFile } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdir, rm, symlink, writeFile } from 'node:fs/promises'
import { delimiter, dirname, join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest'
import { temporaryDirectory } from '../server/child.ts'

const PAGES = readdirSync('docs', { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.md'))
  .map((name) => join('docs', name))
const TOP = ['README.md', 'SPEC.md', 'SECURITY.md', 'CONTRIBUTING.md', 'CHANGELOG.md']

/** The text without code, in which brackets are no links. */
const prose = (text: string): string =>
  text.replaceAll(/^```[^]*?^```$/gm, '').replaceAll(/`[^`\n]*`(?!\])/g, '')

/** The anchors of a page, as GitHub makes them from its headings. */
function anchorsOf(page: string): Set<string> {
  const text = readFileSync(page, 'utf8').replaceAll(/^```[^]*?^```$/gm, '')
  const anchors = new Set<string>()
  for (const [, heading = ''] of text.matchAll(/^#+ (.*)$/gm)) {
    const words = heading.toLowerCase().replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
    anchors.add(words.replaceAll(/\s/g, '-'))
  }
  return anchors
}

/** The files that a page links, with the anchors. */
function linksOf(page: string): { target: string; file: string; anchor: string | undefined }[] {
  return [...prose(readFileSync(page, 'utf8')).matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, target = '']) => target)
    .filter((target) => !/^[a-z]+:/.test(target))
    .map((target) => {
      const [path = '', anchor] = target.split('#')
      return { target, file: path === '' ? page : join(dirname(page), path), anchor }
    })
}

test('Every link between the pages leads to a file that exists, and to a heading in it', () => {
  const wrong = [...TOP, ...PAGES].flatMap((page) =>
    linksOf(page)
      .filter(({ file, anchor }) => !existsSync(file) || (anchor && !anchorsOf(file).has(anchor)))
      .map(({ target }) => `${page}: ${target}`),
  )
  expect(wrong).toEqual([])
})

test('Every page of docs/ can be reached from the README', () => {
  const reached = new Set(['README.md'])
  for (const page of reached) {
    for (const { file } of linksOf(page)) if (file.endsWith('.md')) reached.add(file)
  }
  expect(PAGES.filter((page) => !reached.has(page))).toEqual([])
})

test('docs/README.md links no page twice', () => {
  const linked = linksOf('docs/README.md').map(({ file }) => file)
  expect(linked).toEqual([...new Set(linked)])
})

test('README.md has at most 150 lines', () => {
  expect(readFileSync('README.md', 'utf8').split('\n').length).toBeLessThanOrEqual(151)
})

/** The rows of all tables of a page. */
const rowsOf = (page: string): string[][] =>
  readFileSync(`docs/${page}.md`, 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .map((line) => line.split('|').map((cell) => cell.trim()))

test('docs/which-gateway.md has the figures of docs/performance.md', () => {
  const measured = rowsOf('performance')
  const shown = rowsOf('which-gateway').filter((row) => /^\d{5}$/.test(row[2]!))
  expect(shown).toHaveLength(4)
  for (const [, name, requests, cpu, memory] of shown) {
    // The first table: behind nginx, kept-alive connections.
    const found = measured.find((row) => row[1] === 'hello' && row[2] === name)
    expect([name, requests, cpu, memory]).toEqual([found?.[2], found?.[3], found?.[5], found?.[9]])
  }
})

test('README.md and docs/which-gateway.md have the same figures, and name what measures them', () => {
  const readme = readFileSync('README.md', 'utf8').replaceAll('\n', ' ')
  const page = readFileSync('docs/which-gateway.md', 'utf8').replaceAll('\n', ' ')
  const rows = rowsOf('which-gateway')
  const cpuOf = (name: string) => rows.find((row) => row[1] === name)?.[3]
  const [, fastcgi, http] = /takes ([\d.]+) µs .*? and ([\d.]+) µs/.exec(readme) ?? []
  expect([fastcgi, http]).toEqual([cpuOf('Portico FastCGI'), cpuOf('node:http')])
  const shown = /A CGI request takes (\d+) ms, and an empty Node program takes (\d+)/.exec(readme)
  const measured = /(\d+) ms with `portico\.cjs`, where an empty Node program takes (\d+)/.exec(
    page,
  )
  expect(shown?.slice(1)).toEqual(measured?.slice(1))
  const [, express] = /Express over FastCGI takes ([\d.]+) of the CPU time/.exec(page) ?? []
  const row = rowsOf('performance').find((each) => each[2] === 'Express on FastCGIHandler')
  expect(express).toBe(row?.[6])
  const programs = [...page.matchAll(/`node (bench\/[\w-]+\.mjs)`/g)].map(([, name]) => name!)
  expect(programs).toEqual(['bench/engines.mjs', 'bench/cgi-start.mjs', 'bench/frameworks.mjs'])
  for (const name of programs) expect(existsSync(name)).toBe(true)
})

/** Programs in other languages that a page compares with; without one, its command is not run. */
const OTHERS: Readonly<Record<string, string[]>> = {
  python3: ['-c', 'import wsgiref'],
  perl: ['-MCGI', '-MPlack', '-e', '1'],
}

describe.each(['start', 'write', 'migrate', 'reference'])('docs/%s.md', (name) => {
  const { path, remove } = temporaryDirectory()
  const text = readFileSync(`docs/${name}.md`, 'utf8')
  const env = {
    PATH: [join(path, 'node_modules/.bin'), dirname(process.execPath), process.env['PATH']].join(
      delimiter,
    ),
  }
  const bash = (script: string) =>
    promisify(execFile)('bash', ['--norc', '-c', `npx() { "$@"; }\n${script}`], { cwd: path, env })

  beforeAll(async () => {
    await mkdir(join(path, 'node_modules/.bin'), { recursive: true })
    await symlink(resolve('.'), join(path, 'node_modules/portico'))
    await symlink(resolve('node_modules/express'), join(path, 'node_modules/express'))
    await symlink(resolve('bin/portico.cjs'), join(path, 'node_modules/.bin/portico'))
    await writeFile(join(path, 'package.json'), '{}')
    for (const [, code = '', file = ''] of text.matchAll(
      /```\w+\n((?:\/\/|#) (\S+\.\w+)\n[^]*?)```/g,
    )) {
      await writeFile(join(path, file), code)
    }
  })
  afterAll(() => rm(path, { recursive: true, force: true }).finally(remove))

  const commands = [...text.matchAll(/^```console\n([^]*?)^```$/gm)].flatMap(([, block = '']) =>
    [...block.matchAll(/^\$ (.*)\n((?:(?!\$ ).*\n)*)/gm)].map(([, command, output]) => ({
      command: command!,
      output: output!,
    })),
  )

  it.each(commands)('shows the output of $command', async ({ command, output }) => {
    for (const [program, args] of Object.entries(OTHERS)) {
      if (!new RegExp(`\\b${program} `).test(command)) continue
      const found = await promisify(execFile)(program, args).then(
        () => true,
        () => false,
      )
      if (!found && process.env['CI'] !== 'true') return
    }
    const { stdout, stderr } = await bash(command)
    expect(stdout.replaceAll('\r\n', '\n') + stderr).toBe(output)
  })

  it('has programs and commands', () => expect(commands.length).toBeGreaterThan(0))
})
