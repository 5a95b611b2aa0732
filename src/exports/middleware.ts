/** `portico/middleware`: functions that take an application and return one. */
export { accessLog, type AccessLogOptions } from '../middleware/access-log.ts'
export { basicAuth, type BasicAuthOptions } from '../middleware/basic-auth.ts'
export { type BodyHooks, hook } from '../middleware/body-hooks.ts'
export { bodyLimit } from '../middleware/body-limit.ts'
export { cascade, type CascadeOptions } from '../middleware/cascade.ts'
export { cgiBin } from '../cgi-bin/cgi-bin.ts'
export type { CgiBinOptions } from '../cgi-bin/options.ts'
export { conditionalGet } from '../middleware/conditional-get.ts'
export { contentLength } from '../middleware/content-length.ts'
export type { Session, SessionData } from '../middleware/current-session.ts'
export { errorPage, type ErrorPageOptions } from '../middleware/error-page.ts'
export { FileStore } from '../middleware/file-store.ts'
export type { KeyvLike } from '../middleware/keyv-databases.ts'
export { KeyvStore, type KeyvStoreOptions } from '../middleware/keyv-store.ts'
export { head } from '../middleware/head.ts'
export {
  intercept,
  type InterceptedResponse,
  type InterceptOptions,
} from '../middleware/intercept.ts'
export type { MaybePromise } from '../types.ts'
export { mount } from '../middleware/mount.ts'
export { proxyFix, type ProxyField, type ProxyFixOptions } from '../middleware/proxy-fix.ts'
export { ranges } from '../middleware/ranges.ts'
export { sendfile, type SendfileOptions } from '../middleware/sendfile.ts'
export { session, type SessionOptions } from '../middleware/session.ts'
export { MemoryStore, type SessionStore } from '../middleware/session-store.ts'
export { staticFiles, type StaticFilesOptions } from '../middleware/static-files.ts'
