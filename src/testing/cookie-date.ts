/** The dates of Expires, as browsers read them (RFC 6265, section 5.1.1). */

const DELIMITER = /[\t -/;-@[-`{-~]+/
const TIME = /^(\d{1,2}):(\d{1,2}):(\d{1,2})(?!\d)/
const DAY = /^(\d{1,2})(?!\d)/
const MONTH = /^(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)/i
const YEAR = /^(\d{2,4})(?!\d)/
const MONTHS = 'janfebmaraprmayjunjulaugsepoctnovdec'

/** Milliseconds since 1970; undefined for text that is not a date, such as '0' and '-1'. */
export function parseCookieDate(text: string): number | undefined {
  const tokens = text.split(DELIMITER)
  // Each token is the first of these that is still missing.
  const take = (pattern: RegExp): string[] => {
    const at = tokens.findIndex((token) => pattern.test(token))
    return at < 0 ? [] : pattern.exec(tokens.splice(at, 1)[0]!)!.slice(1)
  }
  const [hour, minute, second] = take(TIME).map(Number)
  const [day] = take(DAY).map(Number)
  const [month] = take(MONTH)
  const [year] = take(YEAR).map(Number)
  if (hour === undefined || minute === undefined || second === undefined) return undefined
  if (day === undefined || month === undefined || year === undefined) return undefined
  const index = MONTHS.indexOf(month.toLowerCase()) / 3
  const date = new Date(0)
  date.setUTCFullYear(year < 70 ? year + 2000 : year < 100 ? year + 1900 : year, index, day)
  // Date would turn an impossible day or hour into another one.
  if (date.getUTCDate() !== day || date.getUTCFullYear() < 1601) return undefined
  if (hour > 23 || minute > 59 || second > 59) return undefined
  return date.setUTCHours(hour, minute, second)
}
