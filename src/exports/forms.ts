/** `portico/forms`: query strings, forms and uploads. */
export { escapeHtml } from '../forms/escape.ts'
export type { FormField, TextField } from '../forms/field.ts'
export type { FileDescription, IncomingFile, UploadedFile } from '../forms/file.ts'
export { type PartHeaders, parseHeader } from '../forms/header.ts'
export {
  type FormLimits,
  MAX_NUM_FIELDS,
  MAX_NUM_FILES,
  MAX_PART_HEADER_SIZE,
  MAX_TEXT_SIZE,
  MAX_TOTAL_SIZE,
} from '../forms/limits.ts'
export { parseQs, parseQsl, type QueryOptions } from '../forms/query.ts'
export { FieldStorage, type FieldStorageOptions, type FormValue } from '../forms/storage.ts'
