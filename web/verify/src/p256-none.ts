// Stands in for p256.ts in builds that leave ES256 out for size.

export const p256Verify: ((x: Uint8Array, y: Uint8Array, message: Uint8Array, sig: Uint8Array) => boolean) | undefined = undefined;
