// Leaves of the lists whose roots stand in headers (docs/protocol.md §1 and §9).

import { Refused, hash, joined, octets, same } from "./primitives.js";

// A path in a list of 2^32 entries; longer ones are not paths.
export const PATH_MAX = 32;

export function leafHash(leaf, person = "claw.list") {
  return hash(person, [0], leaf);
}

export function nodeHash(left, right, person = "claw.list") {
  return hash(person, [1], joined(left, right));
}

/**
 * The turns of a path that leads from a leaf to a root: `1` for a sibling on the left, `0` for one
 * on the right, lowest first. Throws `Refused`.
 */
export function turnsToRoot(leaf, path, field, root) {
  if (!Array.isArray(path) || path.length > PATH_MAX) {
    throw new Refused(field, `has a path that is not a list of at most ${PATH_MAX}`);
  }
  let found = leafHash(leaf);
  let turns = "";
  for (const step of path) {
    if (!Array.isArray(step) || step.length !== 2 || !["left", "right"].includes(step[0])) {
      throw new Refused(field, 'has a path with something else than ["left"|"right", hash]');
    }
    const sibling = octets(step[1], field, 32);
    if (sibling.length !== 32) throw new Refused(field, "has a path with a hash that is not 32 bytes");
    found = step[0] === "left" ? nodeHash(sibling, found) : nodeHash(found, sibling);
    turns += step[0] === "left" ? "1" : "0";
  }
  if (!same(found, root)) {
    throw new Refused(field, "is not in the block: its path does not lead to the header");
  }
  return turns;
}

/** Whether a leaf with these turns can be number `index` (BigInt) of a list of some length. */
export function placeFits(index, turns) {
  for (let level = 0; level <= turns.length; level += 1) {
    const rest = index >> BigInt(level);
    const ones = rest.toString(2).replaceAll("0", "").length;
    if (turns.slice(level) === "1".repeat(ones)) return true;
    if (level === turns.length || turns[level] !== ((rest & 1n) === 1n ? "1" : "0")) return false;
  }
  return false;
}

/** The root over a leaf at `index` of `size` (RFC 9162 §2.1.3.2), or null if the path is no fit. */
export function rootOfPath(leaf, index, size, path, person) {
  if (index >= size) return null;
  let found = leafHash(leaf, person);
  let place = index;
  let last = size - 1n;
  const rest = [...path];
  while (last > 0n) {
    if ((place & 1n) === 1n || place < last) {
      const sibling = rest.shift();
      if (sibling === undefined) return null;
      found =
        (place & 1n) === 1n ? nodeHash(sibling, found, person) : nodeHash(found, sibling, person);
    }
    place >>= 1n;
    last >>= 1n;
  }
  return rest.length === 0 ? found : null;
}
