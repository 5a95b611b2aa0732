/** `portico/cgi`: runs an application as a CGI script. */
export { CGIHandler, IISCGIHandler } from '../../handlers/cgi.ts'
