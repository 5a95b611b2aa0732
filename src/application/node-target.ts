/** The URL that an application of node:http sees below a mount point, for handlers. */
export { targetOf } from '../bridge/request-target.ts'
