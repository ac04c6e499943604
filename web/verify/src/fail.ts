// One way to refuse, short because this code travels to phones.

declare global {
  /** Whether errors say why in words, which the build decides: phones get the codes only. */
  const TEXTS: boolean;
}

/** Throws an Error of these words. */
export function fail(words: string): never {
  throw new Error(TEXTS ? words : "");
}

/** Throws an Error of these words unless ok. */
export function need(ok: unknown, words: string): asserts ok {
  if (!ok) fail(words);
}

/** What a build that leaves something out for size throws instead of judging: neither yes nor no. */
export class Unsupported extends Error {}

/** Throws Unsupported; the words name what this build does not check. */
export function unsupported(words: string): never {
  throw new Unsupported(TEXTS ? `this build does not check ${words}` : "");
}

/** Runs step and says of what it throws what that was about. */
export function about<T>(what: string, step: () => T): T {
  if (!TEXTS) return step();
  try {
    return step();
  } catch (e) {
    fail(`${what}: ${(e as Error).message}`);
  }
}
