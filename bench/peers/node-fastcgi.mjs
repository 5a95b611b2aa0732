/** Runs the node:http listener on the package node-fastcgi: `node node-fastcgi.mjs SOCKET`. */
import { createServer } from 'node-fastcgi'
import { listener } from '../application.mjs'

createServer(listener).listen(process.argv[2])
