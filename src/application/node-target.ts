/** Re-exported because handlers may not import bridges. */
export { targetOf } from '../bridge/request-target.ts'
