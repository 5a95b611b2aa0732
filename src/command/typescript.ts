/** TypeScript: natively where this Node can, else through the project's own tsx. */
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

/** The arguments that Node needs to load a file, or one line that says why it cannot. */
export type Loader = { readonly execArgv: readonly string[] } | { readonly missing: string }

const TYPESCRIPT = /\.[cm]?ts$/

/** Node's own arguments for a file of the application, such as ['--import', 'file:///…/tsx/…']. */
export function loaderOf(file: string): Loader {
  if (!TYPESCRIPT.test(file) || stripsTypes()) return { execArgv: [] }
  try {
    const tsx = createRequire(pathToFileURL(file)).resolve('tsx')
    return { execArgv: ['--import', pathToFileURL(tsx).href] }
  } catch {
    return {
      missing:
        `${file} is TypeScript, which Node ${process.versions.node} cannot run by itself. ` +
        'Install tsx in the project (npm install --save-dev tsx), or use Node 22.18 or later',
    }
  }
}

/** Whether this process loads TypeScript: natively, or because tsx was imported into it. */
function stripsTypes(): boolean {
  const features = process.features as { readonly typescript?: unknown }
  const { NODE_OPTIONS = '' } = process.env
  return (
    Boolean(features.typescript) || /\btsx\b/.test(`${process.execArgv.join(' ')} ${NODE_OPTIONS}`)
  )
}
