// One way to refuse, short because this code travels to phones.

/** Throws an Error of these words unless ok. */
export function need(ok: boolean, words: string): asserts ok {
  if (!ok) throw new Error(words);
}
