// Shared by the scripts in this directory: decodes bytes from the web server, and escapes text for HTML.

'use strict'

/** A CGI value as text. Each of its characters is a byte (PEP 3333), usually of UTF-8. */
const decodeText = (value) => Buffer.from(value, 'latin1').toString()

const ENTITIES = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }

const escapeHtml = (text) => text.replace(/[&<>"']/g, (character) => ENTITIES[character])

/** A template tag that escapes the inserted values. */
const markup = (strings, ...values) => String.raw({ raw: strings }, ...values.map(escapeHtml))

const percent = (byte) => '%' + byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')

/**
 * A URL within the application that works wherever the application is mounted.
 *
 * The '/.' prevents a mount point that begins with '//' from being read as the name of another host
 * (RFC 3986, section 4.2).
 */
const link = (environ, path) =>
  environ.SCRIPT_NAME.replace(/[^\w.~/-]/g, percent).replace(/^\/\//, '/.//') + path

/** The beginning of a document. HTML needs no closing tags for it, so anything can follow. */
const page = (title, content) =>
  markup`<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${title}</title>
<style>
  body { font: 1rem/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 50rem; padding: 0 1rem }
  th { font-weight: normal; padding-right: 1rem; text-align: left; white-space: nowrap }
  th, td { vertical-align: top }
  td { font-family: monospace; overflow-wrap: anywhere; white-space: pre-wrap }
</style>
<h1>${title}</h1>
` + content

module.exports = { decodeText, link, markup, page }
