// Bytes and text without TextDecoder, atob or Buffer, which the engine of a
// mini-program does not have.

/** Orders two byte strings of any length bytewise: negative, 0 or positive. */
export function compare(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const n = Math.min(a.length, b.length);
  let i = 0;
  while (i < n && a[i] === b[i]) i++;
  return i < n ? a[i] - b[i] : a.length - b.length;
}

export const equal = (a: ArrayLike<number>, b: ArrayLike<number>): boolean => compare(a, b) === 0;

export function concat(...parts: ArrayLike<number>[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}

export const isZero = (b: Uint8Array): boolean => b.every((v) => v === 0);

/** Lower-case hex. */
export function hex(b: Uint8Array): string {
  let s = "";
  for (const v of b) s += (256 + v).toString(16).slice(1);
  return s;
}

/** The number that big-endian bytes write. */
export const bigEndian = (b: Uint8Array): bigint => BigInt("0x" + hex(b));

/** The number that little-endian bytes write. */
export const littleEndian = (b: Uint8Array): bigint => bigEndian(b.slice().reverse());

/** Reads lower-case hex; throws on anything else. */
export function unhex(s: string): Uint8Array {
  if (s.length % 2 !== 0 || !/^[0-9a-f]*$/.test(s)) throw new Error("not lower-case hex");
  const out = new Uint8Array(s.length / 2);
  for (let i = 0; i < out.length; i++) out[i] = parseInt(s.substr(2 * i, 2), 16);
  return out;
}

/** Decodes UTF-8; undefined when it is not valid: overlong, surrogate, cut off. */
export function text(b: Uint8Array): string | undefined {
  try {
    // The one strict decoder that every ECMAScript has (ECMA-262 section 19.2.6.5).
    return decodeURIComponent(hex(b).replace(/../g, "%$&"));
  } catch {
    return undefined;
  }
}

/** Encodes as UTF-8 what text decoded: a string without lone surrogates. */
export function utf8(s: string): Uint8Array {
  const units = encodeURIComponent(s).match(/%..|./g) || [];
  return Uint8Array.from(units, (u) => (u.length > 1 ? parseInt(u.slice(1), 16) : u.charCodeAt(0)));
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/**
 * Decodes padded base64; undefined when it is none. Unused bits of the last
 * digit may be anything, as in Go's StdEncoding: notes are judged alike.
 */
export function base64(s: string): Uint8Array | undefined {
  if (s.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(s)) return undefined;
  const out: number[] = [];
  let acc = 0;
  let bits = 0;
  for (const digit of s.replace(/=+$/, "")) {
    acc = (acc << 6) | alphabet.indexOf(digit); // its upper bits are of no more use
    bits += 6;
    if (bits > 7) out.push((acc >> (bits -= 8)) & 255);
  }
  return Uint8Array.from(out);
}
