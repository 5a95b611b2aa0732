/** The public list of `portico/node`: between applications of ours and those of node:http. */
export {
  fromNode,
  type ListenerFactory,
  type NodeApplication,
  type NodeListener,
  type NodeRequest,
  type ReadyRouter,
} from '../bridge/from-node.ts'
export { toNode } from '../embedded/to-node.ts'
