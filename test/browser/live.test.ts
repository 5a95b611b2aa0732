/** Live reload of the development server in a real browser. */
import { chromium, type Browser, type Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { portico, project, type Portico } from '../command/portico.ts'
import { findProgram, installed } from '../servers/process.ts'
import { QUIET } from './quiet.ts'

const program = installed('chromium')

const PORTICO = (text: string) => `export default (environ, startResponse) => {
  startResponse('200 OK', [['Content-Type', 'text/html; charset=utf-8']])
  return ['<!DOCTYPE html><title>page</title><h1>${text}</h1>']
}\n`

const EXPRESS = (text: string) => `import express from 'express'
const app = express()
app.get('/', (request, response) => response.send('<!DOCTYPE html><h1>${text}</h1>'))
app.listen(3000)\n`

describe.skipIf(!program.available)(`In Chromium${program.hint}`, () => {
  let browser: Browser
  let directory: ReturnType<typeof project>
  let running: Portico
  let page: Page

  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: findProgram('chromium')!, args: QUIET })
  })
  afterAll(() => browser?.close())
  afterEach(async () => {
    await page?.close()
    await running?.stop()
    directory?.remove()
  })

  const heading = () => page.locator('h1').first().textContent()

  it.each([
    ['an application', PORTICO],
    ['Express', EXPRESS],
  ])(
    '%s: a page reloads itself after a save, shows the error of a file that does not load, and comes back',
    async (_, app) => {
      directory = project({ 'app.mjs': app('first') })
      running = portico(['serve', '--dev', '--listen', ':0'], { cwd: directory.path })
      page = await browser.newPage()
      const url = await running.url()
      const streamed = page.waitForResponse(`${url}.portico/live`)
      await page.goto(url)
      expect(await heading()).toBe('first')
      await streamed
      directory.write('app.mjs', app('second'))
      await expect.poll(heading).toBe('second')
      directory.write('app.mjs', `${app('third')}const = 1\n`)
      await expect.poll(() => page.locator('body').textContent()).toContain('const = 1')
      expect(await page.locator('body').textContent()).toContain('SyntaxError')
      directory.write('app.mjs', app('third'))
      await expect.poll(heading).toBe('third')
      // An error of a request has a page, too, which comes back in the same way.
      directory.write('app.mjs', `export default () => { throw new Error('of a request') }\n`)
      await expect.poll(() => page.locator('body').textContent()).toContain('of a request')
      directory.write('app.mjs', app('fourth'))
      await expect.poll(heading).toBe('fourth')
    },
  )
})
