/** The public list of `portico/fetch`: between applications of ours and those of the Fetch API. */
export { fromFetch, type FetchApplication, type FetchHandler } from '../bridge/from-fetch.ts'
export { toFetch, type FetchFunction } from '../embedded/to-fetch.ts'
export { installLightFetch } from '../bridge/light-fetch.ts'
