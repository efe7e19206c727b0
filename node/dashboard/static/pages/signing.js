// Who signed which block, read from certificates. Pure.

/** Indexes of the set bits of a bitmap `0x0b`: bit 0 of the first byte is the first authority. */
export function signersOf(bitmap, count) {
  const bytes = (bitmap ?? "0x").slice(2).match(/../g) ?? [];
  return Array.from({ length: count }, (_, at) => (parseInt(bytes[at >> 3] ?? "0", 16) >> (at & 7) & 1) === 1);
}

/** What a letter of consensus_getSigning means: glyph, word and the sheet's class. */
export const MARKS = {
  p: { glyph: "◆", word: "proposed" },
  s: { glyph: "■", word: "signed" },
  o: { glyph: "○", word: "not in certificate" },
  "-": { glyph: "·", word: "no data" },
};

/** One row an authority of its marks, oldest first: [{authority, name, cells: [{height, mark}]}]. */
export function signingRows({ authorities, blocks }) {
  return authorities.map((one, at) => ({
    ...one, cells: blocks.map(({ height, marks }) => ({ height, mark: marks[at] ?? "-" })),
  }));
}

/** The share of blocks that an authority proposed or signed, of those it decided; null for none. */
export function signedShare(cells) {
  const known = cells.filter(({ mark }) => mark !== "-");
  return known.length ? known.filter(({ mark }) => mark !== "o").length / known.length : null;
}
