/** The page of `npm run demo` in a real browser. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { chromium, type Browser, type Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest'
import { PTY } from '../command/portico.ts'
import { findProgram, installed } from '../servers/process.ts'
import { QUIET } from './quiet.ts'

const program = installed('chromium')

describe.skipIf(!program.available)(`The demo in Chromium${program.hint}`, () => {
  let browser: Browser
  let page: Page
  let url: string
  let stop: () => Promise<unknown>

  beforeAll(async () => {
    // With the package of 'dist/', as `npm run demo` runs it.
    const child = spawn(process.execPath, ['examples/demo.mjs'], {
      env: { ...process.env, PORTICO_LISTEN: '127.0.0.1:0' },
      stdio: ['ignore', 'inherit', 'pipe'],
    })
    const ended = once(child, 'close')
    stop = () => {
      child.kill()
      return ended
    }
    for await (const line of createInterface({ input: child.stderr })) {
      url = /http:\S+/.exec(line)?.[0] ?? ''
      if (url !== '') break
    }
    browser = await chromium.launch({ executablePath: findProgram('chromium')!, args: QUIET })
    page = await browser.newPage()
  })
  afterAll(async () => {
    await browser?.close()
    await stop?.()
  })

  it('has no icon, and says so without an error', async () => {
    expect((await fetch(new URL('/favicon.ico', url))).status).toBe(204)
  })

  it('says what Portico is, and shows the request of the browser through four gateways', async () => {
    await page.goto(`${url}?from=the+browser`)
    expect(await page.textContent('h1')).toBe('Portico')
    const introduction = (await page.textContent('p')) ?? ''
    expect(introduction).toMatch(/^Portico runs one Node application behind any web server: .*\./s)
    expect(introduction.match(/\.(?:\s|$)/g)).toHaveLength(2)
    expect(await page.textContent('code')).toBe('GET /?from=the+browser')

    const heads = await page.locator('table').first().locator('thead th').allTextContents()
    expect(heads.map((text) => text.trim())).toEqual(['', 'HTTP', 'CGI', 'FastCGI', 'SCGI'])
    /** The cells of a row, and whether it is marked. */
    const row = async (name: string) => {
      const found = page.locator('tr', { has: page.locator(`th:text-is("${name}")`) })
      const cells = await found.locator('td').allTextContents()
      return { cells: cells.map((text) => text.trim()), class: await found.getAttribute('class') }
    }
    expect(await row('portico.gateway')).toEqual({
      cells: ['http', 'cgi', 'fastcgi', 'scgi'],
      class: 'differs',
    })
    expect((await row('wsgi.run_once')).cells).toEqual(['false', 'true', 'false', 'false'])
    const query = 'from=the+browser'
    expect(await row('QUERY_STRING')).toEqual({ cells: [query, query, query, query], class: null })
    const { cells } = await row('HTTP_USER_AGENT')
    expect(new Set(cells)).toEqual(new Set([await page.evaluate('navigator.userAgent')]))
    expect((await row('REMOTE_PORT')).class).toBeNull()
  })

  it('links to the small tools, which work', async () => {
    await page.goto(url)
    expect(await page.locator('li a').allTextContents()).toEqual([
      'base64',
      'environ',
      'form',
      'hello',
    ])
    await page.getByRole('link', { name: 'base64' }).click()
    await page.getByLabel('Text').fill('Zoë')
    await page.getByRole('button', { name: 'Encode' }).click()
    expect(await page.locator('code').allTextContents()).toEqual(['Zoë', 'Wm/Dqw=='])
  })
})

async function startInTerminal() {
  const [python, ...args] = [...PTY, process.execPath, 'examples/demo.mjs']
  const env = { ...process.env }
  delete env['PORTICO_LISTEN']
  const child = spawn(python, args, { env, stdio: ['pipe', 'pipe', 'inherit'] })
  for await (const line of createInterface({ input: child.stdout })) {
    const found = /http:\S+/.exec(line)?.[0]
    if (found !== undefined) return { child, url: found }
  }
  throw new Error('The demo has ended')
}

test('In a terminal the demo takes the next port if the usual one is in use', async () => {
  const first = await startInTerminal()
  const second = await startInTerminal()
  expect(second.url).not.toBe(first.url)
  for (const { child } of [first, second]) {
    child.stdin.end('\x03') // Ctrl-C
    await once(child, 'close')
  }
})
