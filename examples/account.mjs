// Signing in, for the framework examples: the pages, a hashed password, and a session that is kept in
// its cookie, because a CGI script keeps nothing else from one request to the next.
import { createHmac, randomBytes, scryptSync, timingSafeEqual } from 'node:crypto'

const page = (title, content) =>
  `<!DOCTYPE html>\n<html lang="en">\n<title>${title}</title>\n${content}</html>\n`

// A form without an action is sent to its own address, whatever the mount point.
const FORM = `<form method="post">
<label>Name <input name="user" autocomplete="username" required></label>
<label>Password <input name="password" type="password" autocomplete="current-password"></label>
<button>Sign in</button>
</form>
`

export const signInPage = page('Sign in', FORM)
export const refusedPage = page('Sign in', `<p>The name or the password is wrong.</p>\n${FORM}`)
export const uploadPage = page(
  'Upload',
  `<form method="post" enctype="multipart/form-data">
<label>Note <input name="note"></label>
<label>File <input name="file" type="file" required></label>
<button>Upload</button>
</form>
`,
)

/** @param {string} user one that `userOf` has returned */
export const welcomePage = (user) => page('Signed in', `<p>Hello, ${user}!</p>\n`)

/** A password, here 'lovelace', is stored as a salt and the hash that scrypt makes from both. */
const users = new Map([
  [
    'ada',
    {
      salt: Buffer.from('jPpmVxJYnUlqDGXuO0hCaA', 'base64url'),
      hash: Buffer.from('OhUYjbjmbpS8hBLat0-HDSOGcrhriizVyzvIMLi1CPM', 'base64url'),
    },
  ],
])
/** Compared if the user does not exist, so that the response time does not reveal who does. */
const dummy = { salt: randomBytes(16), hash: randomBytes(32) }

/** Whether the fields of a form, which may have any value, are a user and the right password. */
export function isPassword(user, password) {
  const { salt, hash } = users.get(user) ?? dummy
  return timingSafeEqual(hash, scryptSync(String(password), salt, 32))
}

// Several processes (and CGI) need a common secret.
const secret = process.env.SESSION_SECRET ?? randomBytes(32).toString('hex')

/** The value of the session's cookie: the user, and a signature. */
function sign(user) {
  return `${user}.${createHmac('sha256', secret).update(user).digest('base64url')}`
}

/**
 * Who is signed in, or undefined.
 *
 * @param {string | null | undefined} header the request's header Cookie
 */
export function userOf(header) {
  const [, value, user] = /(?:^|; )session=(([a-z]+)\.[\w-]{43})(?:;|$)/.exec(header ?? '') ?? []
  if (value === undefined) return undefined
  const isOurs = timingSafeEqual(Buffer.from(value), Buffer.from(sign(user)))
  return isOurs && users.has(user) ? user : undefined
}

/** The header Set-Cookie. The cookie is only sent below the mount point, and hidden from scripts. */
export function sessionCookie(user, mount = '') {
  return `session=${sign(user)}; Path=${mount}/; HttpOnly; SameSite=Lax`
}
