// Checks in the browser what a node says is final: four steps, each of which says whether it holds
// and why. Nothing of the node is believed but, if nothing is pinned, who the authorities are.
//
//     receipt      the receipt reads as one, is this transaction's, and the page says what it says
//     root         receipt and events are in the lists whose roots stand in the header
//     header       the header is this network's, and the one that the certificate names
//     certificate  a quorum of the authorities signed it; who they are follows from the genesis
//
// For state (a balance) the first two are `value` and `root`: the value leads to the state root.

import {
  checkSignatures,
  decides,
  followChanges,
  isQuorum,
  ofNetwork,
  setOf,
  trustedGenesis,
} from "./agreement.js";
import { contradiction, receiptFacts } from "./facts.js";
import {
  BODY_BYTES_MAX,
  CERTIFICATE_BYTES_MAX,
  EVENT_BYTES_MAX,
  HEADER_BYTES_MAX,
  RECEIPT_BYTES_MAX,
  U32_MAX,
  keySet,
  readBody,
  readCertificate,
  readEvent,
  readHeader,
  readReceipt,
} from "./forms.js";
import { placeFits, turnsToRoot } from "./lists.js";
import { Refused, hash, hexed, octets, order, same } from "./primitives.js";
import { balanceKey, checkStateProof, readBalance, sameKey } from "./state.js";

const EVENTS_MAX = 4096;
const KEY_BYTES_MAX = 256;
const VALUE_BYTES_MAX = 65_536;
const PROOF_BYTES_MAX = 32_768;

/**
 * Judge the proof of a transaction: a bare proof (docs/protocol.md §9) or the answer of
 * tx_getReceipt with `prove`, whose other members must then agree with it.
 *
 * `genesisHash` (hex) is what the reader trusts; `authorities` (hex keys), if given, are the only
 * set that may have decided the block; `txId` is whose receipt was asked for. Without any of them
 * the bundle is only judged by itself. Never throws: whatever `bundle` is, the steps say why not.
 *
 * Returns `{steps: [{name, ok, detail}], ok, trust, proven}`. `ok` of a step is true, false, or
 * null when an earlier one left nothing to judge. `trust` is what the verdict rests on:
 * `authorities`, `genesis` or `bundle`. `proven` are the facts, null unless all steps hold.
 */
export function verifyReceipt(bundle, { genesisHash = null, authorities = null, txId = null } = {}) {
  const run = new Run(["receipt", "root", "header", "certificate"]);
  const trust = trustOf(genesisHash, authorities);
  const proof = isObject(bundle) && "proof" in bundle ? bundle.proof : bundle;
  const read = run.step("receipt", () => receiptStep(proof, txId));
  const header = run.part("header", () => readHeader(hexOf(proof, "header", HEADER_BYTES_MAX)));
  const place = run.step("root", () => {
    run.needs(read, "the receipt could not be read");
    run.needs(header, "the header could not be read");
    return rootStep(proof, read, header);
  });
  const decided = decisionSteps(run, {
    header,
    certificate: () => hexOf(proof, "certificate", CERTIFICATE_BYTES_MAX),
    set: () => setStep(proof.genesis, proof.authorityChanges, genesisHash, authorities),
  });
  const facts = () => receiptFacts({ ...read, ...place, ...decided, header });
  const proven = run.ok ? run.part("receipt", facts) : null;
  if (proven !== null && bundle !== proof) {
    run.step("receipt", () => {
      const wrong = contradiction(bundle, proven);
      if (wrong !== "") throw new Refused(wrong, "is not what the proof proves");
      return { value: true, detail: receiptPraise(read) };
    });
  }
  return run.verdict(trust, proven);
}

/**
 * Judge an answer of chain_getProof by the same rules.
 *
 * `changes` are those of chain_getAuthorityChanges before the block, `genesis` the bytes in hex of
 * chain_getGenesis; `key` (bytes) is what was asked for. `proven` is `{value, height, …}`.
 */
export function verifyState(
  answer,
  { genesis, changes = [], genesisHash = null, authorities = null, module = null, key = null },
) {
  const run = new Run(["value", "root", "header", "certificate"]);
  const given = run.step("value", () => valueStep(answer, module, key));
  const header = run.part("header", () =>
    readHeader(hexOf(memberOf(answer, "header"), "raw", HEADER_BYTES_MAX, "header")),
  );
  run.step("root", () => {
    run.needs(given, "the value could not be read");
    run.needs(header, "the header could not be read");
    checkStateProof(header.stateRoot, given.module, given.key, given.value, given.proof);
    return { value: true, detail: `leads to the state root of block ${header.height}` };
  });
  const decided = decisionSteps(run, {
    header,
    certificate: () =>
      hexOf(memberOf(answer, "certificate"), "raw", CERTIFICATE_BYTES_MAX, "certificate"),
    set: () => setStep(genesis, changes, genesisHash, authorities),
  });
  const proven = run.ok ? { value: given.value, height: header.height, ...decided } : null;
  return run.verdict(trustOf(genesisHash, authorities), proven);
}

/** As `verifyState`, for the balance of an account (32 bytes): `proven` has `amount` and `held`. */
export function verifyBalance(answer, { account, asset, ...options }) {
  const key = balanceKey(account, asset);
  const verdict = verifyState(answer, { ...options, module: "kernel", key });
  if (!verdict.ok) return verdict;
  try {
    return { ...verdict, proven: { ...verdict.proven, ...readBalance(asset, verdict.proven.value) } };
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    const steps = verdict.steps.map((step) =>
      step.name === "value" ? { ...step, ok: false, detail: error.message } : step,
    );
    return { ...verdict, steps, ok: false, proven: null };
  }
}

// -- the steps

function receiptStep(proof, txId) {
  if (!isObject(proof)) throw new Refused("proof", "is not an object");
  if (proof.version !== 1) throw new Refused("proof", "is of a version that is not known here");
  const leaf = hexOf(memberOf(proof, "receipt"), "leaf", RECEIPT_BYTES_MAX, "receipt");
  const receipt = readReceipt(leaf);
  const packed = hexOf(proof, "body", BODY_BYTES_MAX);
  if (!same(hash("claw.txid", packed), receipt.txId)) {
    throw new Refused("body", "is not of the transaction that the receipt names");
  }
  if (txId !== null && hexed(receipt.txId) !== txId) {
    throw new Refused("receipt", `is of ${hexed(receipt.txId)}, asked was ${txId}`);
  }
  const read = { receipt, leaf, body: readBody(packed) };
  return { value: read, detail: receiptPraise(read) };
}

function receiptPraise({ receipt }) {
  const outcome = receipt.code === 0n ? "it succeeded" : `it failed by rule ${receipt.rule}`;
  return `is of this transaction; ${outcome}`;
}

function rootStep(proof, { receipt, leaf }, header) {
  const turns = turnsToRoot(leaf, proof.receipt.path, "receipt", header.receiptsRoot);
  if (!Number.isSafeInteger(proof.index) || proof.index < 0 || BigInt(proof.index) > U32_MAX) {
    throw new Refused("index", "is not a place in a block");
  }
  const index = BigInt(proof.index);
  if (!placeFits(index, turns)) {
    throw new Refused("index", `is ${index}, the receipt stands elsewhere in its block`);
  }
  const events = readEvents(proof.events, receipt, header);
  for (const event of events) {
    if (event.transaction !== index) {
      throw new Refused("index", `is ${index}, an event names ${event.transaction}`);
    }
  }
  const count = `${events.length} ${events.length === 1 ? "event" : "events"}`;
  const detail = `receipt and ${count} are in block ${header.height}, at ${index}`;
  return { value: { events, index }, detail };
}

function readEvents(given, receipt, header) {
  if (!Array.isArray(given) || given.length > EVENTS_MAX) {
    throw new Refused("events", `is not a list of at most ${EVENTS_MAX}`);
  }
  if (BigInt(given.length) !== receipt.eventCount) {
    throw new Refused("events", `are ${given.length}, the receipt has ${receipt.eventCount}`);
  }
  let before = null;
  return given.map((item, at) => {
    const leaf = hexOf(item, "leaf", EVENT_BYTES_MAX, "events");
    const turns = turnsToRoot(leaf, item.path, "events", header.eventsRoot);
    // Turns from the root down, left before right, are the order of the leaves.
    const place = Array.from(turns, (turn) => turn.charCodeAt(0)).reverse();
    if (before !== null && order(place, before) <= 0) {
      throw new Refused("events", "are not in their order, or one is given twice");
    }
    before = place;
    if (!placeFits(receipt.firstEvent + BigInt(at), turns)) {
      throw new Refused("events", `hold another than event ${receipt.firstEvent + BigInt(at)}`);
    }
    return readEvent(leaf);
  });
}

function valueStep(answer, module, key) {
  const given = {
    module: memberOf(answer, "module"),
    key: hexOf(answer, "key", KEY_BYTES_MAX),
    value: memberOf(answer, "value") === null ? null : hexOf(answer, "value", VALUE_BYTES_MAX),
    proof: hexOf(answer, "proof", PROOF_BYTES_MAX),
  };
  if (module !== null && given.module !== module) {
    throw new Refused("module", `is not ${module}, which was asked for`);
  }
  if (key !== null) sameKey(answer.key, key);
  return { value: given, detail: given.value === null ? "there is none" : "is the one asked for" };
}

function setStep(genesisBytes, changes, genesisHash, pinned) {
  const genesis = trustedGenesis(genesisBytes, genesisHash);
  const set = followChanges(changes, genesis);
  if (pinned === null) return { genesis, set };
  const keys = keySet(pinned.map((key) => octets(key, "authorities", 32)).sort(order), "authorities");
  const own = setOf(keys);
  if (!same(own.hash, set.hash)) {
    throw new Refused("authorities", "that decided this block are not those that you pinned");
  }
  return { genesis, set };
}

/** Header and certificate, and who signed: `{signers, authorities, genesis}`. */
function decisionSteps(run, { header, certificate: packed, set: find }) {
  const found = run.part("certificate", find);
  const certificate = run.part("certificate", () => readCertificate(packed()));
  run.step("header", () => {
    run.needs(header, "it could not be read");
    if (found !== null && !ofNetwork(header, found.genesis)) {
      throw new Refused("header", "belongs to another network");
    }
    if (certificate !== null && !same(certificate.blockId, header.blockId)) {
      const named = hexed(certificate.blockId);
      throw new Refused("header", `has the id ${hexed(header.blockId)}, certified is ${named}`);
    }
    return { value: true, detail: `is block ${header.height}, id ${hexed(header.blockId)}` };
  });
  const signers = run.step("certificate", () => {
    run.needs(certificate, "it could not be read");
    run.needs(found, "the authority set could not be followed");
    run.needs(header, "the header could not be read");
    return certificateStep(certificate, header, found);
  });
  const genesis = found === null ? null : found.genesis;
  return { signers, authorities: found === null ? null : found.set.keys, genesis };
}

function certificateStep(certificate, header, { genesis, set }) {
  // Of the header only the epoch is taken: a changed name of the network is the header's fault.
  const network = {
    chainId: genesis.chainId,
    genesisHash: genesis.hash,
    recoveryEpoch: header.recoveryEpoch,
  };
  const signers = checkSignatures(certificate, set.keys, network);
  if (same(certificate.blockId, header.blockId)) {
    if (!decides(certificate, header)) {
      throw new Refused("certificate", `is not for block ${header.height}`);
    }
    if (!same(header.authoritiesHash, set.hash)) {
      throw new Refused("certificate", "is of another authority set than is known");
    }
  }
  const needed = set.keys.findIndex((_, at) => isQuorum(at + 1, set.keys)) + 1;
  const detail = `${signers.length} of ${set.keys.length} authorities signed, ${needed} are needed`;
  return { value: signers, detail };
}

// -- how steps are kept

/** The steps of one verdict. What a step throws as `Refused` is its reason; the rest goes on. */
class Run {
  constructor(names) {
    this.steps = names.map((name) => ({ name, ok: null, detail: "" }));
  }

  get ok() {
    return this.steps.every((step) => step.ok === true);
  }

  /** Judge a step by `work`, which returns `{value, detail}`. Returns the value, or null. */
  step(name, work) {
    const step = this.steps.find((one) => one.name === name);
    if (step.ok === false) return null;
    try {
      const { value, detail } = work();
      Object.assign(step, { ok: true, detail });
      return value;
    } catch (error) {
      const judged = !(error instanceof Unjudged);
      Object.assign(step, { ok: judged ? false : null, detail: reasonOf(error) });
      return null;
    }
  }

  /** Read something that a step needs; a failure is that step's, and null is returned. */
  part(name, work) {
    try {
      return work();
    } catch (error) {
      const step = this.steps.find((one) => one.name === name);
      if (step.ok !== false) Object.assign(step, { ok: false, detail: reasonOf(error) });
      return null;
    }
  }

  needs(value, why) {
    if (value === null) throw new Unjudged(`not judged: ${why}`);
  }

  verdict(trust, proven) {
    const ok = this.ok;
    return { steps: this.steps, ok, trust, proven: ok ? proven : null };
  }
}

/** A step that has nothing to judge, because something before it did not hold. */
class Unjudged extends Error {}

function reasonOf(error) {
  // Input that no reader foresaw (a member that is no object, say) is refused like the rest.
  return error instanceof Refused || error instanceof Unjudged
    ? error.message
    : `it does not have the form of a proof (${error.message})`;
}

function trustOf(genesisHash, authorities) {
  if (authorities !== null) return "authorities";
  return genesisHash !== null ? "genesis" : "bundle";
}

function isObject(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

function memberOf(value, name) {
  if (!isObject(value)) throw new Refused(name, "is missing");
  if (!Object.hasOwn(value, name)) throw new Refused(name, "is missing");
  return value[name];
}

function hexOf(value, name, sizeMax, field = name) {
  return octets(memberOf(value, name), field, sizeMax);
}
