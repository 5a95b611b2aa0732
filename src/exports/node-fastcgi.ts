/** `portico/node-fastcgi`: a FastCGI server that uses the npm package node-fastcgi. */
export {
  NodeFastCGIHandler,
  type NodeFastCGIMessage,
  type NodeFastCGIOptions,
  NodeFastCGIRequestHandler,
} from '../../handlers/node-fastcgi.ts'
