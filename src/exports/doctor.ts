/** `portico/doctor`: an application for `portico doctor URL` to ask. */
export { doctor } from '../doctor/application.ts'
