/** `portico/fastcgi`: a FastCGI server. */
export {
  FastCGIHandler,
  FastCGIRequestHandler,
  type FastCGIOptions,
} from '../../handlers/fastcgi.ts'
