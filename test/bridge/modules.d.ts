/** As much of Express, which has no types of its own, as the tests call. */
declare module 'express' {
  import type { IncomingMessage, ServerResponse } from 'node:http'

  interface Express {
    (request: IncomingMessage, response: ServerResponse): void
    handle(...args: never[]): unknown
    use(...handlers: unknown[]): Express
  }
  function express(): Express
  namespace express {
    function Router(): Express
    function json(): unknown
  }
  export default express
}
