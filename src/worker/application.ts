/** Makes one application of the files that a worker serves. */
import { load } from '../application/load.ts'
import { toApplication, type Runnable } from '../application/to-application.ts'
import type { WorkerSettings } from '../master/messages.ts'
import type { Application } from '../types.ts'

/**
 * Loads the application, and wraps it in `mount()` and `accessLog()` where the settings say so.
 * Unwrapped, it reaches the handler as it is: over HTTP a framework then gets Node's own requests.
 */
export async function loadApplication(settings: WorkerSettings): Promise<Runnable> {
  const { file, mounts, accessLog: format } = settings
  let application = await load(file)
  if (mounts.length > 0) {
    const { mount } = await import('../middleware/mount.ts')
    const map: Record<string, Application> = { '': await plain(application) }
    for (const { at, file: mounted } of mounts) map[at] = await plain(await load(mounted))
    application = mount(map)
  }
  if (format === undefined) return application
  const { accessLog } = await import('../middleware/access-log.ts')
  return accessLog(await plain(application), { format })
}

async function plain(application: Runnable): Promise<Application> {
  return (await toApplication(application)).application
}
