/** Text on its way into a page. */

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#x27;',
}

/**
 * `text` made safe for HTML, both between tags and inside a quoted attribute; Python's
 * `html.escape`. Not enough inside `<script>`, `<style>` or an unquoted attribute.
 */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character] ?? character)
}
