// Kinds of chains in anchors and trust files.

export const comet = 1;
export const evm = 2;
