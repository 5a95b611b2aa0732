/** `portico/node`: converts between applications of node:http and Portico's. */
export {
  fromNode,
  type ListenerFactory,
  type NodeApplication,
  type NodeListener,
  type NodeRequest,
  type ReadyRouter,
} from '../bridge/from-node.ts'
export { toNode } from '../embedded/to-node.ts'
