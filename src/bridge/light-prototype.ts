/**
 * How a light object passes for a real one of the Fetch API, from the side of whoever holds it: the
 * light class has some members of its own, and asks a real object for all others.
 */

/** A light class: what it has not got itself is asked of a real object. */
export interface Light {
  readonly prototype: object
  readonly unwrap: (this: void, value: object) => object
}

/**
 * Makes the objects of a light class look like those of the real one. Whatever the light class has
 * not got itself, in this version of Node and in those to come, it gets from a real object.
 */
export function forwardTo(
  real: { prototype: object },
  proxy: object,
  { prototype, unwrap }: Light,
): void {
  const from = real.prototype
  // More than one where somebody has replaced the globals before.
  for (let it = from; it !== Object.prototype; it = Object.getPrototypeOf(it) as object) {
    for (const key of Reflect.ownKeys(it)) {
      const enumerable = Object.prototype.propertyIsEnumerable.call(it, key)
      // `for…in` is how some copy a Request.
      if (Object.hasOwn(prototype, key)) Object.defineProperty(prototype, key, { enumerable })
      else forwardProperty(it, prototype, key, unwrap)
    }
  }
  // `new request.constructor(request)` has to take a light one.
  Object.defineProperty(prototype, 'constructor', { value: proxy, enumerable: false })
  Object.setPrototypeOf(prototype, from)
}

function forwardProperty(
  real: object,
  light: object,
  key: string | symbol,
  unwrap: (value: object) => object,
): void {
  const property = Object.getOwnPropertyDescriptor(real, key)!
  // Looked up when it is asked for, for somebody may replace it, and in the object, for what it has
  // of its own; what is no light object, as the prototype, is as wrong here as in the real class.
  const lookUp = (from: object, it: object): unknown =>
    Reflect.get(it === from ? real : it, key, it)
  if (property.get) {
    property.get = function (this: object) {
      return lookUp(this, unwrap(this))
    }
  } else if (typeof property.value === 'function') {
    property.value = function (this: object, ...args: unknown[]) {
      const it = unwrap(this)
      return (lookUp(this, it) as (...args: unknown[]) => unknown).apply(it, args)
    }
  }
  Object.defineProperty(light, key, property)
}

/**
 * The same for what Node keeps inside of `sample`, a real object. In Node 20 and 22 (undici 6) these
 * are properties whose names are symbols, which its own code asks for: `new Request(it)`,
 * `fetch(it)`, the getters of the class. False where there are none: Node 24 has private fields.
 */
export function forwardInsides(sample: object, { prototype, unwrap }: Light): boolean {
  const keys = Object.getOwnPropertySymbols(sample)
  for (const key of keys) {
    Object.defineProperty(prototype, key, {
      configurable: true,
      get(this: object) {
        return Reflect.get(unwrap(this), key) as unknown
      },
    })
  }
  return keys.length > 0
}
