/**
 * Counts in sessions through a balancer: `node deploy-sessions.mjs URL SESSIONS`. It runs in the
 * balancer's network, apart from the program that controls the hosts, and prints its counts as one
 * line of JSON when its stdin ends.
 *
 * Each session alternates between POST /count, which adds one, and GET /count, which shows the sum. A
 * session is lost if its data is gone. It is overwritten if it shows less than the POSTs that were
 * acknowledged: the write of a request that got no response may arrive late, and the last write wins.
 */
import { Agent, request } from 'node:http'

const [url, sessions] = process.argv.slice(2)
const agent = new Agent({ keepAlive: true })

const counts = {
  posts: 0,
  postsFailed: 0,
  gets: 0,
  getsFailed: 0,
  sessionsLost: 0,
  overwritten: 0,
  statuses: {},
}
const end = new AbortController()
process.stdin.on('end', () => end.abort()).resume()

/** The status and the JSON of a response; status 0 without one. */
function send(method, headers) {
  return new Promise((resolve) => {
    const message = request(`${url}count`, { method, agent, headers }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk) => (text += chunk))
      response.on('error', () => resolve({ status: 0 }))
      response.on('end', () => {
        const ok = response.statusCode === 200
        const [cookie] = response.headers['set-cookie'] ?? []
        resolve({
          status: response.statusCode,
          count: ok ? JSON.parse(text).count : undefined,
          cookie: cookie?.split(';')[0],
        })
      })
    })
    message.on('error', () => resolve({ status: 0 }))
    // A POST without a length would be chunked, which HAProxy refuses over FastCGI.
    message.end()
  })
}

async function visitor() {
  let cookie
  let acknowledged = 0
  while (!end.signal.aborted) {
    const headers = { ...(cookie && { cookie }), 'content-length': '0' }
    const post = await send('POST', headers)
    counts.posts += 1
    if (post.status === 200) {
      cookie = post.cookie ?? cookie
      // A repeated or unacknowledged POST may have counted, too: more is not a loss.
      if (post.count <= acknowledged) counts[post.count === 1 ? 'sessionsLost' : 'overwritten'] += 1
      acknowledged = post.count
    } else {
      counts.postsFailed += 1
      counts.statuses[`POST ${post.status}`] = (counts.statuses[`POST ${post.status}`] ?? 0) + 1
    }
    if (cookie === undefined) continue
    const get = await send('GET', { cookie })
    counts.gets += 1
    if (get.status !== 200) {
      counts.getsFailed += 1
      counts.statuses[`GET ${get.status}`] = (counts.statuses[`GET ${get.status}`] ?? 0) + 1
    } else if (get.count < acknowledged) {
      counts[get.count === 0 ? 'sessionsLost' : 'overwritten'] += 1
      acknowledged = get.count
    }
  }
}

await Promise.all(Array.from({ length: Number(sessions) }, visitor))
agent.destroy()
console.log(JSON.stringify(counts))
