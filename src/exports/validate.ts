/** `portico/validate`: checks an application or middleware against SPEC.md. */
export { validator, type ValidatorOptions } from '../validate/validator.ts'
