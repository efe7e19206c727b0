// What a proof proves, in the shapes in which nodes answer tx_getReceipt, and whether such an
// answer says anything else than its proof.

import { hash, hexed } from "./primitives.js";

const CODES = new Map([
  [0n, "ok"],
  [1n, "notFound"],
  [4n, "limitExceeded"],
  [10n, "malformed"],
  [11n, "badSignature"],
  [12n, "sequenceLow"],
  [13n, "sequenceGap"],
  [14n, "expired"],
  [15n, "insufficientFunds"],
  [16n, "duplicate"],
  [17n, "poolFull"],
  [18n, "frozen"],
  [19n, "notAuthorised"],
  [20n, "policyRejected"],
  [21n, "approvalRequired"],
  [22n, "wrongChain"],
  [23n, "quotaExceeded"],
]);
const VERDICTS = ["allow", "hold", "deny"];
const ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const CHECKSUM = 0x2bc830a3;

/** The facts of a proven receipt. Amounts and heights are decimal texts, bytes are hex. */
export function receiptFacts({ receipt, events, index, header, body, signers, authorities, genesis }) {
  const held = events.some((event) => event.kind === "kernel.held");
  return {
    txId: hexed(receipt.txId),
    height: header.height.toString(),
    index: index.toString(),
    timeMs: header.timeMs.toString(),
    code: CODES.get(receipt.code) ?? receipt.code.toString(),
    rule: receipt.rule === "" ? null : receipt.rule,
    fee: receipt.fee.toString(),
    cost: receipt.cost.toString(),
    paid: receipt.code === 0n && !held,
    held,
    events: events.map((event) => ({
      kind: event.kind,
      transaction: event.transaction === null ? null : event.transaction.toString(),
      accounts: event.accounts.map((one) => accountText(one)),
      data: event.data.map(plain),
    })),
    trace: receipt.trace.map(({ rule, version, verdict }) => ({
      rule,
      version: version.toString(),
      verdict: VERDICTS[Number(verdict)],
    })),
    sender: accountText(body.sender),
    memo: new TextDecoder().decode(body.memo),
    actions: body.actions.map(({ name, values }) => ({ name, fields: values.map(plain) })),
    blockId: hexed(header.blockId),
    stateRoot: hexed(header.stateRoot),
    genesisHash: hexed(genesis.hash),
    chainId: genesis.chainId,
    signers: signers.map(hexed),
    authorities: authorities.map(hexed),
    authoritiesHash: hexed(hash("claw.authset", ...packedKeys(authorities))),
  };
}

function packedKeys(keys) {
  const head = keys.length < 16 ? [0x90 | keys.length] : [0xdc, 0, keys.length];
  return [head, ...keys.map((key) => [0xc4, 32, ...key])];
}

/**
 * The name of the first member of an answer that its proof does not prove, or "".
 *
 * Members that are not known here may come from a later version; sentences are wording, not fact.
 * Numbers are compared as texts: JSON has heights as numbers and amounts as texts.
 */
export function contradiction(answer, facts) {
  const said = { ...answer, ...(isObject(answer.receipt) ? answer.receipt : {}) };
  const { receipt: _, ...outside } = answer;
  for (const claims of [outside, said]) {
    for (const name of ["txId", "height", "index", "code", "rule", "fee", "cost"]) {
      if (name in claims && text(claims[name]) !== text(facts[name])) return name;
    }
    if ("time" in claims && Date.parse(claims.time) !== Number(facts.timeMs)) return "time";
    if ("status" in claims && claims.status !== "final") return "status";
    if ("events" in claims && !sameEvents(claims.events, facts.events)) return "events";
    if ("trace" in claims && !sameTrace(claims.trace, facts.trace)) return "trace";
  }
  return "";
}

function sameEvents(claimed, proven) {
  return sameLists(claimed, proven, (one, other) =>
    isObject(one) &&
    one.kind === other.kind &&
    text(one.transaction) === text(other.transaction) &&
    text(one.accounts) === text(other.accounts) &&
    isObject(one.data) &&
    text(Object.values(one.data)) === text(other.data),
  );
}

function sameTrace(claimed, proven) {
  return sameLists(claimed, proven, (one, other) =>
    isObject(one) &&
    one.rule === other.rule &&
    text(one.version) === text(other.version) &&
    one.verdict === other.verdict,
  );
}

function sameLists(claimed, proven, alike) {
  return (
    Array.isArray(claimed) &&
    claimed.length === proven.length &&
    claimed.every((one, at) => alike(one, proven[at]))
  );
}

/** A value as one text in which 1, "1" and 1n are the same and nothing else is. */
function text(value) {
  if (Array.isArray(value)) return `[${value.map(text).join(",")}]`;
  if (value === null || value === undefined) return "null";
  return JSON.stringify(String(value));
}

function plain(value) {
  if (value instanceof Uint8Array) return hexed(value);
  if (Array.isArray(value)) return value.map(plain);
  return typeof value === "bigint" ? value.toString() : value;
}

function isObject(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

/** bech32m (BIP-350) of an account's 32 bytes: `claw1…`. */
export function accountText(bytes, prefix = "claw") {
  const groups = [];
  let bits = 0;
  let rest = 0;
  for (const octet of bytes) {
    rest = (rest << 8) | octet;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      groups.push((rest >> bits) & 31);
    }
    rest &= (1 << bits) - 1;
  }
  if (bits > 0) groups.push((rest << (5 - bits)) & 31);
  const spread = [...prefix].map((letter) => letter.charCodeAt(0));
  const expanded = [...spread.map((code) => code >> 5), 0, ...spread.map((code) => code & 31)];
  const sum = polymod([...expanded, ...groups, 0, 0, 0, 0, 0, 0]) ^ CHECKSUM;
  const check = [0, 1, 2, 3, 4, 5].map((at) => (sum >> (5 * (5 - at))) & 31);
  return `${prefix}1${[...groups, ...check].map((value) => ALPHABET[value]).join("")}`;
}

function polymod(values) {
  let sum = 1;
  for (const value of values) {
    const top = sum >>> 25;
    sum = ((sum & 0x1ffffff) << 5) ^ value;
    [0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3].forEach((part, at) => {
      if ((top >> at) & 1) sum ^= part;
    });
  }
  return sum >>> 0;
}
