/** `portico/cgi`: one request, then the process ends. */
export { CGIHandler, IISCGIHandler } from '../../handlers/cgi.ts'
