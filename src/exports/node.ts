/** `portico/node`: applications of node:http as Portico's, and the reverse. */
export {
  fromNode,
  type ListenerFactory,
  type NodeApplication,
  type NodeListener,
  type NodeRequest,
  type ReadyRouter,
} from '../bridge/from-node.ts'
export { toNode } from '../embedded/to-node.ts'
