/**
 * Runs the framework examples in a real browser: a user signs in and uploads a file. The browser
 * itself handles cookies, redirects and forms without an action.
 */
import { Buffer } from 'node:buffer'
import { rm } from 'node:fs/promises'
import { chromium, type Browser, type BrowserContext, type Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Runnable } from '../../src/application/to-application.ts'
import { frameworks, loadExample, settings, type Served } from '../bridge/frameworks.ts'
import { findProgram, installed, makeDirectory } from '../servers/process.ts'
import { QUIET } from './quiet.ts'

const program = installed('chromium')

const mounted = settings
  .filter(({ name }) => name === 'HTTPHandler' || name === 'FastCGIHandler behind nginx')
  .flatMap((setting) =>
    ['', '/mnt'].map((mount) => ({ setting, mount, where: `${setting.name} at '${mount}'` })),
  )

describe.skipIf(!program.available)(`In Chromium${program.hint}`, () => {
  let directory: string
  let browser: Browser

  beforeAll(async () => {
    directory = await makeDirectory()
    // Its profile is a new directory, which playwright removes.
    browser = await chromium.launch({ executablePath: findProgram('chromium')!, args: QUIET })
  })
  afterAll(async () => {
    await browser?.close()
    await rm(directory, { recursive: true, force: true })
  })

  describe.each(frameworks)('with $name', ({ file }) => {
    let app: Runnable
    beforeAll(async () => {
      app = await loadExample(file)
    })

    describe.each(mounted)('through $where', ({ setting, mount }) => {
      let served: Served
      let context: BrowserContext
      let page: Page

      beforeAll(async () => {
        served = await setting.serve(app, mount, directory, file)
      })
      afterAll(() => served?.close())
      beforeEach(async () => {
        context = await browser.newContext()
        page = await context.newPage()
      })
      afterEach(() => context?.close())

      /** Sends the form on the page; resolves to the status of the page that comes of it. */
      async function send(button: string): Promise<number | undefined> {
        const isPage = page.waitForResponse(
          (response) => response.request().isNavigationRequest() && response.status() !== 303,
        )
        await page.getByRole('button', { name: button }).click()
        const response = await isPage
        await page.waitForLoadState()
        return response.status()
      }

      it('a user with the right password stays signed in, and a wrong password is refused', async () => {
        const address = `${served.url}/signin`
        await page.goto(address)
        await page.getByLabel('Name').fill('ada')
        await page.getByLabel('Password').fill('byron')
        expect(await send('Sign in')).toBe(403)
        expect(await page.textContent('p')).toBe('The name or the password is wrong.')
        expect(await context.cookies()).toEqual([])

        await page.getByLabel('Name').fill('ada')
        await page.getByLabel('Password').fill('lovelace')
        expect(await send('Sign in')).toBe(200)
        expect(page.url()).toBe(address)
        expect(await page.textContent('p')).toBe('Hello, ada!')
        expect(await context.cookies()).toEqual([
          expect.objectContaining({
            name: 'session',
            value: expect.stringMatching(/^ada\.[\w-]{43}$/) as string,
            path: `${mount}/`,
            httpOnly: true,
            sameSite: 'Lax',
            expires: -1,
          }),
        ])
        expect(await page.evaluate('document.cookie')).toBe('')

        await page.reload()
        expect(await page.textContent('p')).toBe('Hello, ada!')
        await context.clearCookies()
        await page.reload()
        expect(await page.getByLabel('Password').count()).toBe(1)
      })

      it('a form uploads a file of 700 KiB', async () => {
        await page.goto(`${served.url}/upload`)
        await page.getByLabel('Note').fill('Zoë & <co>')
        await page.getByLabel('File').setInputFiles({
          name: 'a file.bin',
          mimeType: 'application/x-anything',
          // Looks like the end of parts and of lines.
          buffer: Buffer.alloc(700 * 1024, '\r\n--\0ü'),
        })
        expect(await send('Upload')).toBe(200)
        expect(page.url()).toBe(`${served.url}/upload`)
        expect(JSON.parse(await page.innerText('body'))).toEqual({
          name: 'a file.bin',
          type: 'application/x-anything',
          size: 700 * 1024,
          note: 'Zoë & <co>',
        })
      })
    })
  })
})
