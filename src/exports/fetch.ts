/** `portico/fetch`: applications of the Fetch API as Portico's, and the reverse. */
export { fromFetch, type FetchApplication, type FetchHandler } from '../bridge/from-fetch.ts'
export { toFetch, type FetchFunction } from '../embedded/to-fetch.ts'
export { installLightFetch } from '../bridge/light-fetch.ts'
