/** `forwardTo`: gives the objects of a light class every member of the real class. */

/** A light class has some members of its own, and can create the real object of one of its own. */
export interface Light {
  readonly prototype: object
  readonly unwrap: (this: void, value: object) => object
}

/**
 * Makes the objects of a light class look like those of the real one. Members that the light class
 * does not define, in this version of Node or a later one, are forwarded to the real object.
 */
export function forwardTo(
  real: { prototype: object },
  proxy: object,
  { prototype, unwrap }: Light,
): void {
  const from = real.prototype
  // There is more than one prototype if the global class had been replaced with a subclass.
  for (let it = from; it !== Object.prototype; it = Object.getPrototypeOf(it) as object) {
    for (const key of Reflect.ownKeys(it)) {
      const enumerable = Object.prototype.propertyIsEnumerable.call(it, key)
      // Some libraries copy a Request with `for…in`.
      if (Object.hasOwn(prototype, key)) Object.defineProperty(prototype, key, { enumerable })
      else forwardProperty(it, prototype, key, unwrap)
    }
  }
  // `new request.constructor(request)` must accept a light Request.
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
  // Looked up at each access, because a program may replace a method of the class or of the object.
  // What is not a light object, such as the prototype, fails as it does with the real class.
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
