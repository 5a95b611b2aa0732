/** `portico/scgi`. */
export { SCGIHandler, SCGIRequestHandler, type SCGIOptions } from '../../handlers/scgi.ts'
