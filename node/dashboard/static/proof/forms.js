// What the verifier reads: genesis, header, certificate, authority set, receipt, event and body.
// Each reader takes bytes and returns an object, or throws `Refused` naming the field. Tables and
// bounds are those of docs/protocol.md §3, §4, §6 and §7.

import { unpack } from "./msgpack.js";
import { Refused, hash, order } from "./primitives.js";

export const U32_MAX = 2n ** 32n - 1n;
// Sign bytes have four bytes with a sign for it.
const ROUND_MAX = 2n ** 31n - 1n;
export const U64_MAX = 2n ** 64n - 1n;
export const AUTHORITIES_MAX = 100;
export const GENESIS_BYTES_MAX = 64_000_000;
const ASSETS_MAX = 256;
const GENESIS_COUNT_MAX = 1_000_000;
export const HEADER_BYTES_MAX = 1024;
export const CERTIFICATE_BYTES_MAX = 16_384;
export const AUTHORITIES_BYTES_MAX = 4096;
export const RECEIPT_BYTES_MAX = 65_536;
export const EVENT_BYTES_MAX = 65_536;
export const BODY_BYTES_MAX = 65_536;
const CHAIN_ID_MAX = 32;
const PRINTABLE = /^[\x20-\x7e]*$/;

// -- fields

export function digest(value, field) {
  if (!(value instanceof Uint8Array) || value.length !== 32) {
    throw new Refused(field, "is not 32 bytes");
  }
  return value;
}

export function integer(value, field, low = 0n, high = U64_MAX) {
  if (typeof value !== "bigint") throw new Refused(field, "is not an integer");
  if (value < low || value > high) throw new Refused(field, `is ${value}, outside ${low}…${high}`);
  return value;
}

export function text(value, field, most, least = 1) {
  if (typeof value !== "string") throw new Refused(field, "is not a string");
  if (value.length < least || value.length > most || !PRINTABLE.test(value)) {
    throw new Refused(field, `is not ${least}…${most} printable characters`);
  }
  return value;
}

export function binary(value, field, most, least = 0) {
  if (!(value instanceof Uint8Array)) throw new Refused(field, "is not a byte string");
  if (value.length < least || value.length > most) {
    throw new Refused(field, `is ${value.length} bytes, ${least}…${most} are allowed`);
  }
  return value;
}

export function items(value, field, most) {
  if (!Array.isArray(value)) throw new Refused(field, "is not an array");
  if (value.length > most) throw new Refused(field, `has more than ${most} items`);
  return value;
}

function fields(wire, field, count) {
  if (items(wire, field, count).length !== count) {
    throw new Refused(field, `has ${wire.length} fields, ${count} are required`);
  }
  return wire;
}

function version(value, field) {
  if (value !== 1n) throw new Refused(field, "is of a version that is not known here");
}

// -- records

/** Genesis: `{chainId, timeMs, authorities, hash, decimals}` of its bytes. */
export function readGenesis(bytes) {
  const limits = { sizeMax: GENESIS_BYTES_MAX, countMax: GENESIS_COUNT_MAX };
  const wire = fields(unpack(bytes, "genesis", limits), "genesis", 12);
  version(wire[0], "genesis");
  const decimals = new Map();
  for (const asset of items(wire[5], "genesis.assets", ASSETS_MAX)) {
    const [name, places] = fields(asset, "genesis.assets[]", 3);
    decimals.set(text(name, "genesis.assets[]", 16), Number(integer(places, "decimals", 0n, 18n)));
  }
  return {
    chainId: text(wire[1], "genesis.chainId", CHAIN_ID_MAX),
    timeMs: integer(wire[2], "genesis.time"),
    authorities: keySet(wire[3], "genesis.authorities"),
    hash: hash("claw.genesis", bytes),
    decimals,
  };
}

const HEADER_DIGESTS = [
  "proposer",
  "parentId",
  "parentCertificateHash",
  "transactionsRoot",
  "receiptsRoot",
  "eventsRoot",
  "evidenceRoot",
  "stateRoot",
  "authoritiesHash",
  "nextAuthoritiesHash",
  "paramsHash",
];

/** A header by the names of docs/protocol.md §6 in camelCase, and its `blockId`. */
export function readHeader(bytes) {
  const wire = fields(unpack(bytes, "header", { sizeMax: HEADER_BYTES_MAX }), "header", 19);
  version(wire[0], "header");
  const header = {
    chainId: text(wire[1], "header.chainId", CHAIN_ID_MAX),
    genesisHash: digest(wire[2], "header.genesisHash"),
    recoveryEpoch: integer(wire[3], "header.recoveryEpoch", 0n, U32_MAX),
    height: integer(wire[4], "header.height"),
    timeMs: integer(wire[5], "header.time"),
    firstRound: integer(wire[6], "header.firstRound", 0n, U32_MAX),
    costUsed: integer(wire[18], "header.costUsed"),
    blockId: hash("claw.block", bytes),
  };
  HEADER_DIGESTS.forEach((name, at) => {
    header[name] = digest(wire[7 + at], `header.${name}`);
  });
  return header;
}

/** A certificate: `{height, round, blockId, signers, signatures}`. Form only. */
export function readCertificate(bytes) {
  const wire = unpack(bytes, "certificate", { sizeMax: CERTIFICATE_BYTES_MAX });
  const [height, round, blockId, signers, signatures] = fields(wire, "certificate", 5);
  return {
    height: integer(height, "certificate.height", 1n),
    round: integer(round, "certificate.round", 0n, ROUND_MAX),
    blockId: digest(blockId, "certificate.blockId"),
    signers: binary(signers, "certificate.signers", Math.ceil(AUTHORITIES_MAX / 8), 1),
    signatures: items(signatures, "certificate.signatures", AUTHORITIES_MAX).map((one) =>
      binary(one, "certificate.signatures", 64, 64),
    ),
  };
}

/** An authority set: `{keys, hash}` of its packed keys. */
export function readAuthorities(bytes) {
  const wire = unpack(bytes, "authorities", { sizeMax: AUTHORITIES_BYTES_MAX });
  return { keys: keySet(wire, "authorities"), hash: hash("claw.authset", bytes) };
}

/** 1…100 keys, ascending. */
export function keySet(value, field) {
  const keys = items(value, field, AUTHORITIES_MAX).map((key) => digest(key, field));
  if (keys.length === 0) throw new Refused(field, "is empty");
  for (let at = 1; at < keys.length; at += 1) {
    if (order(keys[at - 1], keys[at]) >= 0) throw new Refused(field, "are not in ascending order");
  }
  return keys;
}

/** A receipt by the names of docs/protocol.md §6. */
export function readReceipt(bytes) {
  const wire = fields(unpack(bytes, "receipt", { sizeMax: RECEIPT_BYTES_MAX }), "receipt", 9);
  const trace = items(wire[8], "receipt.trace", 64).map((entry) => {
    const [rule, ruleVersion, verdict] = fields(entry, "receipt.trace[]", 3);
    return {
      rule: text(rule, "receipt.trace[].rule", 64),
      version: integer(ruleVersion, "receipt.trace[].version"),
      verdict: integer(verdict, "receipt.trace[].verdict", 0n, 2n),
    };
  });
  return {
    txId: digest(wire[0], "receipt.txId"),
    code: integer(wire[1], "receipt.code", 0n, 999n),
    rule: text(wire[2], "receipt.rule", 64, 0),
    facts: items(wire[3], "receipt.facts", 16),
    fee: integer(wire[4], "receipt.fee"),
    cost: integer(wire[5], "receipt.cost"),
    firstEvent: integer(wire[6], "receipt.firstEvent"),
    eventCount: integer(wire[7], "receipt.eventCount"),
    trace,
  };
}

/** An event by the names of docs/protocol.md §6; `transaction` is null for due work. */
export function readEvent(bytes) {
  const wire = fields(unpack(bytes, "event", { sizeMax: EVENT_BYTES_MAX }), "event", 4);
  return {
    transaction: wire[0] === null ? null : integer(wire[0], "event.transaction"),
    kind: text(wire[1], "event.kind", 64),
    accounts: items(wire[2], "event.accounts", 512).map((one) => digest(one, "event.accounts")),
    data: items(wire[3], "event.data", 64),
  };
}

/** The fields of a transaction's body that a page shows. */
export function readBody(bytes) {
  const wire = fields(unpack(bytes, "body", { sizeMax: BODY_BYTES_MAX }), "body", 14);
  version(wire[0], "body");
  return {
    chainId: text(wire[1], "body.chainId", CHAIN_ID_MAX),
    genesisHash: digest(wire[2], "body.genesisHash"),
    sender: digest(wire[3], "body.sender"),
    lane: integer(wire[4], "body.lane", 0n, 63n),
    sequence: integer(wire[5], "body.sequence"),
    validUntil: integer(wire[7], "body.validUntil"),
    fee: integer(wire[9], "body.fee"),
    payer: wire[10] === null ? null : digest(wire[10], "body.payer"),
    actions: items(wire[11], "body.actions", 16).map((action) => {
      const [name, values] = fields(action, "body.actions[]", 2);
      return { name: text(name, "body.actions[]", 64), values: items(values, "body.actions[]", 4096) };
    }),
    memo: binary(wire[12], "body.memo", 256),
  };
}
