/** `portico/validate`. */
export { validator, type ValidatorOptions } from '../validate/validator.ts'
