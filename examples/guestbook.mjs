#!/usr/bin/env node
// A guestbook with two pages, routed by hand: `/` shows all visitors, `/sign` asks for a name.
import { appendFile, readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { run } from 'portico'
import { escapeHtml, FieldStorage } from 'portico/forms'

// A file, because under CGI each request is a separate process.
const book = process.env.GUESTBOOK ?? join(tmpdir(), 'guestbook.txt')

function page(startResponse, status, content, headers = []) {
  startResponse(status, [['Content-Type', 'text/html; charset=utf-8'], ...headers])
  return [`<!DOCTYPE html>\n<html lang="en">\n<title>Guestbook</title>\n${content}</html>\n`]
}

async function show(environ, startResponse) {
  const text = await readFile(book, 'utf8').catch(() => '')
  const names = text.split('\n').filter((name) => name !== '')
  const list = names.map((name) => `<li>${escapeHtml(name)}\n`).join('')
  // Links are relative, so they work wherever the application is mounted.
  return page(startResponse, '200 OK', `<ul>\n${list}</ul>\n<p><a href="sign">Sign</a></p>\n`)
}

const FORM = '<form method="post"><input name="name" required><button>Sign</button></form>\n'

async function sign(environ, startResponse) {
  if (environ.REQUEST_METHOD !== 'POST') return page(startResponse, '200 OK', FORM)
  const form = await FieldStorage.parse(environ, { maxTotalSize: 1000, maxNumFiles: 0 })
  const name = form.getFirst('name', '').replaceAll(/\s+/g, ' ').trim()
  if (name === '') return page(startResponse, '400 Bad Request', `<p>A name, please.</p>\n${FORM}`)
  await appendFile(book, `${name}\n`)
  return page(startResponse, '303 See Other', '', [['Location', './']])
}

function nothing(environ, startResponse) {
  return page(startResponse, '404 Not Found', '<p>There is no such page.</p>\n')
}

const PAGES = { '/': show, '/sign': sign }

run((environ, startResponse) => {
  const handler = Object.hasOwn(PAGES, environ.PATH_INFO) ? PAGES[environ.PATH_INFO] : nothing
  return handler(environ, startResponse)
})
