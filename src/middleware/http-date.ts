/** HTTP dates (RFC 9110, section 5.6.7). */

export const MONTHS = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split(' ')

const TIME = String.raw`(?<h>\d\d):(?<m>\d\d):(?<s>\d\d)`
const FORMS = [
  // IMF-fixdate, as everyone sends it: Sun, 06 Nov 1994 08:49:37 GMT
  String.raw`[A-Z][a-z]{2}, (?<day>\d\d) (?<month>[A-Z][a-z]{2}) (?<year>\d{4}) ${TIME} GMT`,
  // RFC 850: Sunday, 06-Nov-94 08:49:37 GMT
  String.raw`[A-Z][a-z]{5,8}, (?<day>\d\d)-(?<month>[A-Z][a-z]{2})-(?<year>\d\d) ${TIME} GMT`,
  // asctime: Sun Nov  6 08:49:37 1994
  String.raw`[A-Z][a-z]{2} (?<month>[A-Z][a-z]{2}) (?<day>[ \d]\d) ${TIME} (?<year>\d{4})`,
].map((form) => new RegExp(`^${form}$`))

/** Milliseconds since 1970 of an HTTP date in any of its three forms; undefined for other text. */
export function parseHttpDate(text: string | null | undefined): number | undefined {
  for (const form of text ? FORMS : []) {
    const { day, month, year, h, m, s } = form.exec(text!)?.groups ?? {}
    const index = MONTHS.indexOf(month ?? '')
    if (index < 0) continue
    const date = new Date(0)
    date.setUTCFullYear(fullYear(year!), index, Number(day))
    // Date would turn an impossible day or hour into another one.
    if (date.getUTCDate() !== Number(day) || Number(h) > 23 || Number(m) > 59) return undefined
    return date.setUTCHours(Number(h), Number(m), Number(s))
  }
}

/** A year of two digits is at most 50 years ahead (section 5.6.7). */
function fullYear(digits: string): number {
  const year = Number(digits)
  if (digits.length === 4) return year
  const now = new Date().getUTCFullYear()
  const full = now - (now % 100) + year
  return full > now + 50 ? full - 100 : full
}
