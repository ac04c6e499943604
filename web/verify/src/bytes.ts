// Bytes and text without TextDecoder, atob or Buffer, which the engine of a
// mini-program does not have.

/** Compares two byte strings. */
export function equal(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Orders two byte strings of any length bytewise: negative, 0 or positive. */
export function compare(a: Uint8Array, b: Uint8Array): number {
  const n = a.length < b.length ? a.length : b.length;
  for (let i = 0; i < n; i++) if (a[i] !== b[i]) return a[i] - b[i];
  return a.length - b.length;
}

export function concat(...parts: Uint8Array[]): Uint8Array {
  let n = 0;
  for (const p of parts) n += p.length;
  const out = new Uint8Array(n);
  n = 0;
  for (const p of parts) {
    out.set(p, n);
    n += p.length;
  }
  return out;
}

export function isZero(b: Uint8Array): boolean {
  return b.every((v) => v === 0);
}

/** Lower-case hex. */
export function hex(b: Uint8Array): string {
  let s = "";
  for (const v of b) s += (v < 16 ? "0" : "") + v.toString(16);
  return s;
}

/** Reads lower-case hex; throws on anything else. */
export function unhex(s: string): Uint8Array {
  if (s.length % 2 !== 0 || !/^[0-9a-f]*$/.test(s)) throw new Error("not lower-case hex");
  const out = new Uint8Array(s.length / 2);
  for (let i = 0; i < out.length; i++) out[i] = parseInt(s.substr(2 * i, 2), 16);
  return out;
}

/** Decodes UTF-8; undefined when it is not valid: overlong, surrogate, cut off. */
export function text(b: Uint8Array): string | undefined {
  let s = "";
  for (let i = 0; i < b.length; ) {
    const c = b[i++];
    if (c < 0x80) {
      s += String.fromCharCode(c);
      continue;
    }
    const more = c >= 0xc2 && c < 0xe0 ? 1 : c >= 0xe0 && c < 0xf0 ? 2 : c >= 0xf0 && c < 0xf5 ? 3 : 0;
    if (more === 0 || i + more > b.length) return undefined;
    let r = c & (0x3f >> more);
    for (let k = 0; k < more; k++) {
      const d = b[i++];
      if (d >> 6 !== 2) return undefined;
      r = (r << 6) | (d & 0x3f);
    }
    if ((more === 2 && (r < 0x800 || (r >= 0xd800 && r < 0xe000))) || (more === 3 && (r < 0x10000 || r > 0x10ffff))) return undefined;
    s += String.fromCodePoint(r);
  }
  return s;
}

/** Encodes UTF-8; a lone surrogate, which no decoded text has, becomes U+FFFD. */
export function utf8(s: string): Uint8Array {
  const out: number[] = [];
  for (const ch of s) {
    let r = ch.codePointAt(0) as number;
    if (r >= 0xd800 && r < 0xe000) r = 0xfffd;
    if (r < 0x80) out.push(r);
    else if (r < 0x800) out.push(0xc0 | (r >> 6), 0x80 | (r & 63));
    else if (r < 0x10000) out.push(0xe0 | (r >> 12), 0x80 | ((r >> 6) & 63), 0x80 | (r & 63));
    else out.push(0xf0 | (r >> 18), 0x80 | ((r >> 12) & 63), 0x80 | ((r >> 6) & 63), 0x80 | (r & 63));
  }
  return Uint8Array.from(out);
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/**
 * Decodes padded base64; undefined when it is none. Unused bits of the last
 * digit may be anything, as in Go's StdEncoding: notes are judged alike.
 */
export function base64(s: string): Uint8Array | undefined {
  if (s.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(s)) return undefined;
  const digits = s.replace(/=+$/, "");
  const out = new Uint8Array(Math.floor((digits.length * 3) / 4));
  let acc = 0;
  let bits = 0;
  let at = 0;
  for (let i = 0; i < digits.length; i++) {
    acc = ((acc << 6) | alphabet.indexOf(digits[i])) & 0xffff;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      out[at++] = (acc >> bits) & 0xff;
    }
  }
  return out;
}
