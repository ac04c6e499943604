// What the libraries call and engines of ECMAScript 2020 lack; build.mjs puts
// these in the place of the globals.

export const hasOwn = (o: object, key: PropertyKey): boolean => Object.prototype.hasOwnProperty.call(o, key);
