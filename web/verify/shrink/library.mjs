// @noble without what a verifier has no use for. Each cut must be found exactly,
// so that another version of the library fails the build instead of changing it.

import { readFileSync } from "node:fs";

const bytes = `import { littleEndian as bytesToNumberLE } from ${JSON.stringify(new URL("../src/bytes.ts", import.meta.url).pathname)};\n`;
const fractions = `import { fractions } from ${JSON.stringify(new URL("fractions.mjs", import.meta.url).pathname)};\n`;

/** By file: [what is written there, what stands for it, how often it is found]. */
const cuts = {
  // Tables of 2.5 KB that a few lines compute; the state as an array instead of 24
  // fields; and no streams, for src/hash.ts has whole messages.
  "hashes/sha2.js": [
    [/^/, fractions],
    [/const SHA256_K = .*\[[^\]]*\]\);/, ""],
    [/^( +const T1 = .*)SHA256_K/m, "$1SHA512_Kh"],
    [/u64\.split\(\[[^\]]*\]\.map\(n => BigInt\(n\)\)\)/, "[0, 1].map((half) => fractions(3, 80).filter((_, i) => i % 2 === half))"],
    [/^    [A-H][hl]? = 0;\n/gm, "", 24],
    [/super\(\d+, outputLen, .*\n( +this\.[A-H][hl]? = IV\[\d+\] \| 0;\n)+/g, "super(IV);\n", 2],
    [/    get\(\) \{[^]*?\n    \}\n/g, "", 2],
    [/    set\([A-H][^]*?\n    \}\n/g, "", 2],
    [/let \{ (A[^}]*H|Ah[^}]*Hl) \} = this;/g, "let [$1] = this.state;", 2],
    [/( +[A-H] = \([A-H] \+ this\.[A-H]\) \| 0;\n){8} +this\.set\((.*)\);/, "this.state = [$2].map((v, i) => (v + this.state[i]) | 0);"],
    [
      /( +\(\{ h: [A-H]h, l: [A-H]l \} = u64\.add\(this\..*;\n){8} +this\.set\((.*)\);/,
      `const end = [$2];
      for (let i = 0; i < 16; i += 2) {
        const { h, l } = u64.add(this.state[i], this.state[i + 1], end[i], end[i + 1]);
        this.state[i] = h;
        this.state[i + 1] = l;
      }`,
    ],
  ],
  "hashes/_md.js": [
    [/^/, fractions],
    [/(const SHA512_IV = .*?)Uint32Array\.from\(\[[^\]]*\]\);/, "$1fractions(2, 8);"],
    [/export const SHA256_IV = .*?\[[^\]]*\]\);/, ""],
    [/$/, "\nexport const SHA256_IV = /* @__PURE__ */ SHA512_IV.filter((_, i) => i % 2 === 0);\n"],
    [
      /export class HashMD \{[^]*?\n\}\n/,
      "export class HashMD { constructor(iv) { this.state = Array.from(iv); } get() { return this.state; } }\n",
    ],
  ],
  // What is handed over are points and bytes: TypeScript says so.
  "ed25519/index.js": [
    [/const abytes = \(value, length, title = ''\) => \{[^]*?\n\};/, "const abytes = (value) => value;"],
    [/const apoint = \(p\) => \{[^]*?\n\};/, "const apoint = (p) => p;"],
    [/    if \(typeof n !== 'bigint'\)\n.*\n/, ""],
    // Assertions that its own arithmetic holds, in the middle of every addition.
    [/this\.([XYZT]) = arange\(\1, .*\);/g, "this.$1 = $1;", 4],
    [/^        freeze\(this\);\n/m, ""],
    [/^        const max = B256;\n/m, ""],
    [/^    if \(num < 0n\)\n.*\n/m, ""],
    [/^    if \(modulo <= 1n\)\n.*\n/m, ""],
    [/^    if \(gcd !== 1n\)\n.*\n/m, ""],
    [/^        if \(modP\(Z \* iz\) !== 1n\)\n.*\n/m, ""],
    [/^    get [xy]\(\) \{[^]*?\n    \}\n/gm, "", 2],
    [/^const bytesToNumberLE = .*\n/m, bytes],
    [/^const ed25519_CURVE = freeze\(\{[^]*?\}\);\n/m, ""],
    // Steps that only make signing take the same time, and a fast path.
    [/^    const noRoot = .*\n/m, ""],
    [/^    if \(useRoot1\)\n.*\n/m, ""],
    [/useRoot2 \|\| noRoot/, "useRoot2"],
    [/^    if \(\(mod\(x\) & 1n\) === 1n\)\n.*\n/m, ""],
    [/^        if \(this\.equals\(I\)\)\n.*\n/m, ""],
    // src/ed25519.ts decodes the base point from its 32 bytes.
    [/^const G = new Point\(.*\n/m, ""],
    [/^Point\.BASE = G;\n/m, ""],
    // The one way it is called: every encoding of a point, checked afterwards.
    [/static fromBytes\(bytes, zip215 = false\) \{/, "static fromBytes(bytes) {\n        const zip215 = true;"],
  ],
};

/** An esbuild plugin; the words that the library has in quotes, some of them names of properties, go into quoted. */
export const library = (quoted = new Set()) => ({
  name: "library",
  setup(b) {
    b.onLoad({ filter: /@noble\/.*\.js$/ }, ({ path }) => {
      let contents = readFileSync(path, "utf8");
      const file = path.replace(/.*@noble\//, "");
      for (const [what, by, times = 1] of cuts[file] || []) {
        const found = contents.match(new RegExp(what, what.flags.replace("g", "") + "g")) || [];
        if (found.length !== times) throw new Error(`${file}: ${what} found ${found.length} times, want ${times}`);
        contents = contents.replace(what, by);
      }
      // Only the curves reach properties by names in quotes.
      if (file.startsWith("curves/")) for (const [, word] of contents.matchAll(/'(\w+)'/g)) quoted.add(word);
      return { contents, loader: "ts" };
    });
  },
});
