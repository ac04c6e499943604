// What a criterion of a brand's rule counts.

export const single = 1; // the longest run beyond the limit
export const cumulative = 2; // all time beyond it
