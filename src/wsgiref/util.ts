/** The functions of wsgiref.util. They accept any object that has the keys they read. */
export { FileWrapper, isFileWrapper } from '../response/file-wrapper.ts'
export { isHopByHop } from '../response/head.ts'
export type { FileWrapperOptions } from '../types.ts'
export { shiftPathInfo } from './shift-path-info.ts'
export { setupTestingDefaults } from './testing-defaults.ts'
export { applicationUri, guessScheme, requestUri } from './uri.ts'
