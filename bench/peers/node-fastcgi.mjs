/** The package node-fastcgi, which takes what `node:http` takes: `node node-fastcgi.mjs SOCKET`. */
import { createServer } from 'node-fastcgi'
import { listener } from '../application.mjs'

createServer(listener).listen(process.argv[2])
