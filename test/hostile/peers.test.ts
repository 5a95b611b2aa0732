/** Peers that use every freedom of a protocol, or violate it, against live servers in Node. */
import { testPeers } from './peer-cases.ts'

testPeers({
  protocols: ['fastcgi', 'scgi', 'http'],
  command: [process.execPath],
  withoutDescriptors: 'closes',
})
