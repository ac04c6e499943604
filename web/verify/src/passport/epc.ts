// SGTIN-96: the trade item and serial number in a tag's EPC memory (GS1 TDS).

/** The GTIN-14 and serial of an SGTIN-96 tag; undefined for any other memory. */
export function sgtin(tag: Uint8Array): { gtin: string; serial: string } | undefined {
  if (tag.length !== 12 || tag[0] !== 0x30) return undefined;
  let at = 11; // after the header and the filter
  const bits = (n: number): number => {
    let v = 0;
    for (; n > 0; n--, at++) v = v * 2 + ((tag[at >> 3] >> (7 - (at & 7))) & 1);
    return v;
  };
  const partition = bits(3);
  if (partition > 6) return undefined;
  const width = [40, 37, 34, 30, 27, 24, 20][partition];
  const company = String(bits(width)).padStart(12 - partition, "0");
  const item = String(bits(44 - width)).padStart(1 + partition, "0");
  if (company.length > 12 - partition || item.length > 1 + partition) return undefined;
  const digits = item[0] + company + item.slice(1);
  let sum = 0;
  for (let i = 0; i < 13; i++) sum += Number(digits[i]) * (i % 2 === 0 ? 3 : 1);
  return { gtin: digits + ((10 - (sum % 10)) % 10), serial: `${bits(38)}` };
}
