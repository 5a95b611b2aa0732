/** `portico/scgi`: an SCGI server. */
export { SCGIHandler, SCGIRequestHandler, type SCGIOptions } from '../../handlers/scgi.ts'
