// The texts that payloads and records name things by.

import { textOf } from "./cbor.ts";

/** An optional text: absent rather than empty. */
export const label = textOf(0, 256);
export const name = textOf(1, 64);
export const uri = textOf(1, 256);
