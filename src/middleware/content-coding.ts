/** Which content coding a client prefers (RFC 9110, section 12.5.3). */

/**
 * The codings of `available` that the client accepts and prefers at least as much as plain content,
 * the best one first. If it prefers two equally, the first in `available` wins.
 */
export function acceptedCodings(header: string, available: readonly string[]): string[] {
  const weights = new Map<string, number>()
  for (const element of header.toLowerCase().split(',')) {
    const [name = '', weight] = element.split(';').map((part) => part.trim())
    const [, digits] = /^q\s*=\s*([01](?:\.\d{0,3})?)$/.exec(weight ?? 'q=1') ?? []
    // A malformed weight must not make a coding acceptable that the client may have refused.
    if (name !== '') weights.set(name.replace(/^x-/, ''), Math.min(Number(digits ?? 0), 1))
  }
  const weightOf = (coding: string): number => weights.get(coding) ?? weights.get('*') ?? 0
  const plain = weights.get('identity') ?? 0
  return available
    .filter((coding) => weightOf(coding) > 0 && weightOf(coding) >= plain)
    .toSorted((a, b) => weightOf(b) - weightOf(a))
}
