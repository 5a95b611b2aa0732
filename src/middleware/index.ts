/**
 * The public list of `portico/middleware`: layers, each of which wraps an application and is one, and
 * applications made of others. Each file can be imported alone, and loads only what it needs.
 */
export { accessLog, type AccessLogOptions } from './access-log.ts'
export { basicAuth, type BasicAuthOptions } from './basic-auth.ts'
export { bodyLimit } from './body-limit.ts'
export { cascade, type CascadeOptions } from './cascade.ts'
export { conditionalGet } from './conditional-get.ts'
export { contentLength } from './content-length.ts'
export { errorPage, type ErrorPageOptions } from './error-page.ts'
export { head } from './head.ts'
export { mount } from './mount.ts'
export { proxyFix, type ProxyField, type ProxyFixOptions } from './proxy-fix.ts'
export { ranges } from './ranges.ts'
export { sendfile, type SendfileOptions } from './sendfile.ts'
export { session, type Session, type SessionOptions } from './session.ts'
export { FileStore, MemoryStore, type SessionStore } from './session-stores.ts'
export { staticFiles, type StaticFilesOptions } from './static-files.ts'
