// Proofs that a key of the state has a value, or none (docs/protocol.md §8), and what an account's
// records say of its balances.

import { U32_MAX, digest, integer, items, text } from "./forms.js";
import { rootOfPath } from "./lists.js";
import { pack, unpack } from "./msgpack.js";
import { Refused, hash, hexed, joined, octets, padded, same } from "./primitives.js";

// 64 full branches and the path to a module; also more than any record of an account has.
const STATE_PROOF_BYTES_MAX = 32_768;
const DEPTH_MAX = 64;
const MODULES_MAX = 65_536n;
const MODULE_PATH_MAX = 16;
const INCLUSION = 0;
const EMPTY_SLOT = 1;
const OTHER_LEAF = 2;

/** The root of the module tree in which `proof` shows `key` → `value` (null: none), or null. */
export function treeRoot(key, value, proof) {
  if (proof.length < 3 || proof[0] !== 1) return null;
  const [, kind, count] = proof;
  if (kind > OTHER_LEAF || count > DEPTH_MAX || (kind === INCLUSION) !== (value !== null)) {
    return null;
  }
  const keyHash = hash("claw.tree.key", key);
  const read = readBranches(proof, keyHash, kind, count);
  if (read === null || read.tail.length !== (kind === OTHER_LEAF ? 64 : 0)) return null;
  const { branches, tail } = read;
  let found;
  if (kind === EMPTY_SLOT) {
    if (branches.length === 0) return new Uint8Array(32);
    const last = branches.pop();
    found = hash("claw.tree.branch", last.bitmap, last.others);
  } else if (kind === INCLUSION) {
    found = hash("claw.tree.leaf", keyHash, hash("claw.tree.value", value));
  } else {
    const other = tail.subarray(0, 32);
    if (same(other, keyHash)) return null;
    for (let depth = 0; depth < count; depth += 1) {
      if (nibble(other, depth) !== nibble(keyHash, depth)) return null;
    }
    found = hash("claw.tree.leaf", other, tail.subarray(32));
  }
  for (const { bitmap, before, others } of branches.reverse()) {
    const at = 32 * before;
    found = hash("claw.tree.branch", bitmap, others.subarray(0, at), found, others.subarray(at));
  }
  return found;
}

function readBranches(proof, keyHash, kind, count) {
  const branches = [];
  let at = 3;
  for (let depth = 0; depth < count; depth += 1) {
    if (at + 2 > proof.length) return null;
    const bits = (proof[at] << 8) | proof[at + 1];
    const slot = nibble(keyHash, depth);
    const onPath = (bits >> slot) & 1;
    const isLast = depth === count - 1;
    if ((onPath === 1) === (isLast && kind === EMPTY_SLOT)) return null;
    const others = ones(bits) - onPath;
    // A leaf alone below a branch would have moved up; an empty slot needs neighbours.
    if (isLast && others === 0) return null;
    const end = at + 2 + 32 * others;
    if (end > proof.length) return null;
    branches.push({
      bitmap: proof.subarray(at, at + 2),
      before: ones(bits & ((1 << slot) - 1)),
      others: proof.subarray(at + 2, end),
    });
    at = end;
  }
  return { branches, tail: proof.subarray(at) };
}

function nibble(bytes, depth) {
  return depth % 2 === 0 ? bytes[depth >> 1] >> 4 : bytes[depth >> 1] & 15;
}

function ones(bits) {
  let count = 0;
  for (let rest = bits; rest !== 0; rest &= rest - 1) count += 1;
  return count;
}

/** Throws `Refused` unless `proof` shows, under a header's state root, that `key` has `value`. */
export function checkStateProof(stateRoot, module, key, value, proof) {
  const wire = unpack(proof, "proof", { sizeMax: STATE_PROOF_BYTES_MAX });
  if (wire.length !== 6 || wire[0] !== 1n) {
    throw new Refused("proof", "is of a form that is not known here");
  }
  const version = integer(wire[1], "proof.moduleVersion", 0n, U32_MAX);
  const size = integer(wire[3], "proof.modules", 1n, MODULES_MAX);
  const index = integer(wire[2], "proof.module", 0n, size - 1n);
  const path = items(wire[4], "proof.path", MODULE_PATH_MAX).map((one) =>
    digest(one, "proof.path"),
  );
  if (!(wire[5] instanceof Uint8Array)) throw new Refused("proof", "has no tree proof");
  if (value !== null && value.length === 0) throw new Refused("value", "is empty");
  const root = treeRoot(key, value, wire[5]);
  if (root === null) throw new Refused("proof", "shows something else than this value");
  const leaf = pack([text(module, "module", 32), version, root]);
  const found = rootOfPath(leaf, index, size, path, "claw.staterot");
  if (found === null || !same(found, stateRoot)) {
    throw new Refused("proof", "does not lead to the header's state root");
  }
}

/** The key in the kernel's tree under which an account (32 bytes) has an asset's balance. */
export function balanceKey(account, asset) {
  if (asset === "CLAW") return joined(padded("a", 1), account);
  return joined(padded("b", 1), account, padded(asset, asset.length));
}

/** `{amount, held}` as BigInt of a proven record (null: there is none, so both are 0). */
export function readBalance(asset, record) {
  if (record === null) return { amount: 0n, held: 0n };
  const wire = unpack(record, "value", { sizeMax: STATE_PROOF_BYTES_MAX });
  const at = asset === "CLAW" ? 2 : 1;
  if (wire[0] !== 1n) throw new Refused("value", "is of a version that is not known here");
  return { amount: integer(wire[at], "value"), held: integer(wire[at + 1], "value") };
}

/** Refuses an answer about another key than the one that was asked for. */
export function sameKey(given, wanted) {
  if (!same(octets(given, "key", 256), wanted)) {
    throw new Refused("key", `is ${given}, asked was ${hexed(wanted)}`);
  }
}
