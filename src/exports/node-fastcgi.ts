/** `portico/node-fastcgi`: FastCGI on the npm package node-fastcgi. */
export {
  NodeFastCGIHandler,
  type NodeFastCGIMessage,
  type NodeFastCGIOptions,
  NodeFastCGIRequestHandler,
} from '../../handlers/node-fastcgi.ts'
