// Bytes, hashes and signatures: the only things that the verifier takes from a library.
//
// Hashes are BLAKE2b-256 with a person tag per use (docs/protocol.md §1). Signatures are judged
// as libsodium judges them, which is what the authorities use: canonical encodings, no key or R of
// small order, and the equation without the cofactor. The library's own verdict multiplies by the
// cofactor and so takes signatures that no node takes.

import { blake2b, ed25519, sha512 } from "../../kit/vendor/noble.js";

export const HASH_BYTES = 32;
export const SIGNATURE_BYTES = 64;
// The order of the group that the base point generates (RFC 8032 §5.1).
const ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;
const HEX = /^0x(?:[0-9a-f]{2})*$/;

/** What made a step fail: where, and why, in words that follow the name of the field. */
export class Refused extends Error {
  constructor(field, problem) {
    super(`${field} ${problem}`);
    this.field = field;
    this.problem = problem;
  }
}

/** Bytes of `0x` and lower-case hex digits, at most `sizeMax` bytes. Throws `Refused`. */
export function octets(value, field, sizeMax) {
  if (typeof value !== "string") throw new Refused(field, "is not a text of hex digits");
  if (value.length > 2 + 2 * sizeMax) throw new Refused(field, `is longer than ${sizeMax} bytes`);
  if (!HEX.test(value)) throw new Refused(field, "is not 0x and lower-case hex digits");
  const found = new Uint8Array((value.length - 2) / 2);
  for (let at = 0; at < found.length; at += 1) {
    found[at] = Number.parseInt(value.slice(2 + 2 * at, 4 + 2 * at), 16);
  }
  return found;
}

/** Bytes as `0x` and lower-case hex digits. */
export function hexed(bytes) {
  let text = "0x";
  for (const octet of bytes) text += octet.toString(16).padStart(2, "0");
  return text;
}

/** Whether two byte strings are the same. */
export function same(left, right) {
  return left.length === right.length && left.every((octet, at) => octet === right[at]);
}

/** −1, 0 or 1: the order of two byte strings. */
export function order(left, right) {
  const length = Math.min(left.length, right.length);
  for (let at = 0; at < length; at += 1) {
    if (left[at] !== right[at]) return left[at] < right[at] ? -1 : 1;
  }
  return Math.sign(left.length - right.length);
}

/** The bytes of all parts, one after the other. */
export function joined(...parts) {
  const found = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    found.set(part, at);
    at += part.length;
  }
  return found;
}

/** A number as `size` bytes, highest first. */
export function bigEndian(number, size) {
  const found = new Uint8Array(size);
  let rest = BigInt(number);
  for (let at = size - 1; at >= 0; at -= 1) {
    found[at] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  return found;
}

/** An ASCII text as bytes, padded with zeros to `size`. */
export function padded(text, size) {
  const found = new Uint8Array(size);
  for (let at = 0; at < text.length; at += 1) found[at] = text.charCodeAt(at);
  return found;
}

/** H(person, data) of docs/protocol.md §1: 32 bytes. */
export function hash(person, ...parts) {
  return blake2b(joined(...parts), { dkLen: HASH_BYTES, personalization: padded(person, 16) });
}

/** Whether `signature` of `key` over `message` holds. Bytes of any shape; never throws. */
export function signatureHolds(key, message, signature) {
  if (key.length !== HASH_BYTES || signature.length !== SIGNATURE_BYTES) return false;
  try {
    const scalar = littleEndian(signature.subarray(HASH_BYTES));
    if (scalar >= ORDER) return false;
    const commitment = signature.subarray(0, HASH_BYTES);
    const A = ed25519.Point.fromBytes(key, false);
    const R = ed25519.Point.fromBytes(commitment, false);
    if (A.isSmallOrder() || R.isSmallOrder()) return false;
    const challenge = littleEndian(sha512(joined(commitment, key, message))) % ORDER;
    const expected = ed25519.Point.BASE.multiply(scalar, false).subtract(
      A.multiply(challenge, false),
    );
    return same(expected.toBytes(), commitment);
  } catch {
    // The library throws on what is no point: then there is nothing that could hold.
    return false;
  }
}

function littleEndian(bytes) {
  let number = 0n;
  for (let at = bytes.length - 1; at >= 0; at -= 1) number = (number << 8n) | BigInt(bytes[at]);
  return number;
}
