// The constants of SHA-2 by their definition (FIPS 180-4, sections 4.2 and 5.3).

/**
 * The first 64 bits of the fractional parts of the roots (2: square, 3: cube) of
 * the first count primes, as pairs of 32-bit words, the upper half first.
 */
export function fractions(root, count) {
  const words = new Uint32Array(2 * count);
  let at = 0;
  for (let p = 2; at < 2 * count; p++) {
    let d = 2;
    while (p % d > 0) d++;
    if (d < p) continue; // not a prime
    let r = 0n; // the root times 2^64, bit by bit; no root here is over 32
    for (let bit = 1n << 69n; bit > 0n; bit >>= 1n) {
      const up = r + bit;
      if ((root > 2 ? up * up : up) * up <= BigInt(p) << BigInt(64 * root)) r = up;
    }
    words[at++] = Number((r >> 32n) & 0xffffffffn);
    words[at++] = Number(r & 0xffffffffn);
  }
  return words;
}
