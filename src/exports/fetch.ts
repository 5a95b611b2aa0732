/** `portico/fetch`: converts between applications of the Fetch API and Portico's. */
export { fromFetch, type FetchApplication, type FetchHandler } from '../bridge/from-fetch.ts'
export { toFetch, type FetchFunction } from '../embedded/to-fetch.ts'
export { installLightFetch } from '../bridge/light-fetch.ts'
