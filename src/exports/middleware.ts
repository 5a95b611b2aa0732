/**
 * The public list of `portico/middleware`: layers, each of which wraps an application and is one, and
 * applications made of others. Each file can be imported alone, and loads only what it needs.
 */
export { accessLog, type AccessLogOptions } from '../middleware/access-log.ts'
export { basicAuth, type BasicAuthOptions } from '../middleware/basic-auth.ts'
export { bodyLimit } from '../middleware/body-limit.ts'
export { cascade, type CascadeOptions } from '../middleware/cascade.ts'
export { conditionalGet } from '../middleware/conditional-get.ts'
export { contentLength } from '../middleware/content-length.ts'
export { errorPage, type ErrorPageOptions } from '../middleware/error-page.ts'
export { head } from '../middleware/head.ts'
export { mount } from '../middleware/mount.ts'
export { proxyFix, type ProxyField, type ProxyFixOptions } from '../middleware/proxy-fix.ts'
export { ranges } from '../middleware/ranges.ts'
export { sendfile, type SendfileOptions } from '../middleware/sendfile.ts'
export { session, type Session, type SessionOptions } from '../middleware/session.ts'
export { FileStore, MemoryStore, type SessionStore } from '../middleware/session-stores.ts'
export { staticFiles, type StaticFilesOptions } from '../middleware/static-files.ts'
