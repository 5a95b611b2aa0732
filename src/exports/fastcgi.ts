/** `portico/fastcgi`. */
export {
  FastCGIHandler,
  FastCGIRequestHandler,
  type FastCGIOptions,
} from '../../handlers/fastcgi.ts'
