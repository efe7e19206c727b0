// The canonical bytes of docs/protocol.md §1: msgpack of arrays, integers, byte strings, strings,
// nil, true and false, each in its one shortest form. Integers become BigInt, exact to 64 bits.

import { Refused, bigEndian, joined } from "./primitives.js";

export const NESTING_MAX = 8;
// Longest array unless the caller knows of longer ones: what a head claims is not believed.
export const COUNT_MAX = 4096;

/** The array that canonical bytes encode. Throws `Refused`: anything else in them is hostile. */
export function unpack(bytes, field, { sizeMax, countMax = COUNT_MAX }) {
  if (bytes.length > sizeMax) throw new Refused(field, `is longer than ${sizeMax} bytes`);
  const reader = new Reader(bytes, field, countMax);
  const value = reader.value(0);
  if (!Array.isArray(value)) throw new Refused(field, "is not an array");
  if (reader.at !== bytes.length) throw new Refused(field, "has bytes after its end");
  return value;
}

/** The canonical bytes of nested arrays of BigInt (not negative), Uint8Array and ASCII strings. */
export function pack(value) {
  if (Array.isArray(value)) {
    return joined(head(value.length, 0x90, 15, [null, 0xdc, 0xdd]), ...value.map(pack));
  }
  if (typeof value === "bigint") return packInteger(value);
  if (value instanceof Uint8Array) return joined(head(value.length, 0, -1, [0xc4, 0xc5, 0xc6]), value);
  const text = new TextEncoder().encode(value);
  return joined(head(text.length, 0xa0, 31, [0xd9, 0xda, 0xdb]), text);
}

function packInteger(value) {
  if (value < 0x80n) return bigEndian(value, 1);
  const width = [1, 2, 4, 8].find((size) => value < 1n << BigInt(8 * size));
  return joined([0xcc + Math.log2(width)], bigEndian(value, width));
}

function head(length, short, shortMax, [one, two, four]) {
  if (length <= shortMax) return [short | length];
  if (one !== null && length < 0x100) return [one, length];
  if (length < 0x10000) return joined([two], bigEndian(length, 2));
  return joined([four], bigEndian(length, 4));
}

class Reader {
  constructor(bytes, field, countMax) {
    this.bytes = bytes;
    this.field = field;
    this.countMax = countMax;
    this.at = 0;
  }

  /** Read one value; `depth` arrays are open around it. */
  value(depth) {
    const mark = Number(this.number(1));
    if (mark < 0x80) return BigInt(mark);
    if (mark >= 0xe0) return BigInt(mark - 0x100);
    if (mark >= 0x90 && mark < 0xa0) return this.array(mark - 0x90, depth);
    if (mark >= 0xa0 && mark < 0xc0) return this.text(mark - 0xa0);
    switch (mark) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
        return this.take(this.length(1, 0));
      case 0xc5:
        return this.take(this.length(2, 0x100));
      case 0xc6:
        return this.take(this.length(4, 0x10000));
      case 0xd9:
        return this.text(this.length(1, 32));
      case 0xda:
        return this.text(this.length(2, 0x100));
      case 0xdb:
        return this.text(this.length(4, 0x10000));
      case 0xdc:
        return this.array(this.length(2, 16), depth);
      case 0xdd:
        return this.array(this.length(4, 0x10000), depth);
      default:
        return this.integer(mark);
    }
  }

  integer(mark) {
    if (mark >= 0xcc && mark <= 0xcf) {
      const size = 1 << (mark - 0xcc);
      const value = this.number(size);
      const least = size === 1 ? 0x80n : 1n << BigInt(4 * size);
      if (value < least) this.refuse("has a number that is not in its shortest form");
      return value;
    }
    if (mark >= 0xd0 && mark <= 0xd3) {
      const size = 1 << (mark - 0xd0);
      const value = BigInt.asIntN(8 * size, this.number(size));
      const most = size === 1 ? -0x20n : -(1n << BigInt(4 * size - 1));
      if (value >= most) this.refuse("has a number that is not in its shortest form");
      return value;
    }
    return this.refuse(`has a value of a kind (0x${mark.toString(16)}) that the format lacks`);
  }

  array(length, depth) {
    if (depth >= NESTING_MAX) this.refuse(`is nested deeper than ${NESTING_MAX} levels`);
    if (length > this.countMax) this.refuse(`has more than ${this.countMax} items in one array`);
    const found = [];
    for (let index = 0; index < length; index += 1) found.push(this.value(depth + 1));
    return found;
  }

  text(length) {
    const bytes = this.take(length);
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch {
      return this.refuse("has a text that is not UTF-8");
    }
  }

  length(size, least) {
    const found = Number(this.number(size));
    if (found < least) this.refuse("has a length that is not in its shortest form");
    return found;
  }

  number(size) {
    let value = 0n;
    for (const octet of this.take(size)) value = (value << 8n) | BigInt(octet);
    return value;
  }

  take(length) {
    if (this.at + length > this.bytes.length) this.refuse("ends in the middle of a value");
    const found = this.bytes.subarray(this.at, this.at + length);
    this.at += length;
    return found;
  }

  refuse(problem) {
    throw new Refused(this.field, problem);
  }
}
