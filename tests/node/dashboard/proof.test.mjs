// The verifier of the pages against the golden vectors, and against every way to change them.
// Run by test_proof.py, which gives the folder of the scripts and that of the vectors.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const scripts = process.env.CLAWPURSE_PAGES;
const load = (name) => import(`${scripts}/node/proof/${name}`);
const vectors = (name) =>
  JSON.parse(readFileSync(`${process.env.CLAWPURSE_VECTORS}/${name}`, "utf-8"));

const { verifyReceipt, verifyState, verifyBalance, accountText } = await load("index.js");
const { judge, readLightBlock, trustBlock, trustGenesis } = await load("index.js");
const { hash, hexed, joined, octets, signatureHolds } = await load("primitives.js");
const { pack, unpack } = await load("msgpack.js");
const { trustedGenesis } = await load("agreement.js");
const { checkStateProof } = await load("state.js");
const { pin, pinned, forget } = await load("pins.js");
const { placeFits } = await load("lists.js");

const golden = vectors("protocol.json");
const light = vectors("light.json");
const cases = JSON.parse(readFileSync(process.env.CLAWPURSE_CASES, "utf-8"));
const trust = { genesisHash: golden.payment.genesisHash };
const spread = Number(process.env.CLAWPURSE_SPREAD);
const clone = (value) => structuredClone(value);
const bytes = (text) => octets(text, "test", 1e7);
const stepsOf = (verdict) =>
  Object.fromEntries(verdict.steps.map((step) => [step.name, step.ok]));
const failed = (verdict) =>
  verdict.steps.filter((step) => step.ok === false).map((step) => step.name);

test("hashes are those of the protocol", () => {
  for (const { person, input, hash: expected } of golden.hashes) {
    assert.equal(hexed(hash(person, bytes(input))), expected);
  }
});

test("accounts are written as everywhere", () => {
  const { id, account } = golden.keys.feeAccount;
  assert.equal(accountText(bytes(id)), account);
});

test("signatures are judged as the authorities judge them, odd ones too", () => {
  for (const { key, message, signature, holds } of cases.signatures) {
    assert.equal(signatureHolds(bytes(key), bytes(message), bytes(signature)), holds, signature);
  }
});

test("bytes have one reading, and what nodes refuse is refused", () => {
  for (const { bytes: encoded, accepted } of cases.msgpack) {
    let found = null;
    try {
      found = unpack(bytes(encoded), "test", { sizeMax: 70_000 });
    } catch (error) {
      assert.equal(error.name, "Error");
      assert.equal(error.field, "test", error.stack);
    }
    assert.equal(found !== null, accepted, encoded);
  }
});

test("integers are exact to 64 bits", () => {
  const large = [2n ** 64n - 1n, 2n ** 53n + 1n, 0n];
  assert.deepEqual(unpack(pack(large), "test", { sizeMax: 100 }), large);
});

test("a payment is proven, and with what", () => {
  const verdict = verifyReceipt(golden.payment.proof, trust);
  assert.deepEqual(stepsOf(verdict), { receipt: true, root: true, header: true, certificate: true });
  assert.equal(verdict.ok, true);
  assert.equal(verdict.trust, "genesis");
  assert.equal(verdict.proven.paid, true);
  assert.match(verdict.steps[3].detail, /^3 of 4 authorities signed, 3 are needed$/);
});

test("what a page says beside a proof must be what it proves", () => {
  const { document } = cases;
  const good = verifyReceipt(document, trust);
  assert.deepEqual(good.steps.filter((step) => !step.ok), []);
  const lies = [
    (said) => (said.height += 1),
    (said) => (said.fee = "7"),
    (said) => (said.receipt.events[0].data.amount = "9999"),
    (said) => (said.receipt.events[0].accounts.reverse()),
    (said) => (said.receipt.time = "2020-01-01T00:00:00.000Z"),
    (said) => (said.receipt.code = "frozen"),
    (said) => (said.receipt.events = []),
  ];
  for (const lie of lies) {
    const said = clone(document);
    lie(said);
    const verdict = verifyReceipt(said, trust);
    assert.deepEqual(failed(verdict), ["receipt"], lie.toString());
    assert.equal(verdict.proven, null);
  }
});

test("another transaction's proof is not an answer to the question", () => {
  const verdict = verifyReceipt(golden.payment.proof, { ...trust, txId: `0x${"11".repeat(32)}` });
  assert.deepEqual(failed(verdict), ["receipt"]);
});

// Where a changed byte of each part has to be found; others may be found wanting as well.
const PARTS = [
  ["genesis", (proof) => [proof, "genesis"], "certificate", 97],
  ["header", (proof) => [proof, "header"], "header", 1],
  ["certificate", (proof) => [proof, "certificate"], "certificate", 1],
  ["body", (proof) => [proof, "body"], "receipt", 1],
  ["receipt", (proof) => [proof.receipt, "leaf"], "receipt or root", 1],
  ["event", (proof) => [proof.events[0], "leaf"], "root", 1],
  ...[0, 1].map((at) => [`path ${at}`, (proof) => [proof.receipt.path[at], 1], "root", 1]),
  ...[0, 1].map((at) => [`events' path ${at}`, (proof) => [proof.events[0].path[at], 1], "root", 1]),
];

for (const [part, find, step, stride] of PARTS) {
  test(`a changed byte of the ${part} is found at the step ${step}`, () => {
    const [place, name] = find(golden.payment.proof);
    if (place === undefined) return;
    const length = (place[name].length - 2) / 2;
    for (let at = 0; at < length; at += Math.max(stride, Math.min(spread, length))) {
      const proof = clone(golden.payment.proof);
      const [inside, key] = find(proof);
      const octet = Number.parseInt(inside[key].slice(2 + 2 * at, 4 + 2 * at), 16);
      const changed = (octet ^ (1 << at % 8)).toString(16).padStart(2, "0");
      inside[key] = inside[key].slice(0, 2 + 2 * at) + changed + inside[key].slice(4 + 2 * at);
      const verdict = verifyReceipt(proof, trust);
      assert.equal(verdict.ok, false);
      assert.ok(failed(verdict).some((one) => step.split(" or ").includes(one)), `byte ${at}: ${JSON.stringify(verdict.steps)}`);
      assert.ok(verdict.steps.every((one) => one.ok !== null || one.detail !== ""));
    }
  });
}

test("a change at the certificate or the body is blamed on nothing else", () => {
  const signature = clone(golden.payment.proof);
  signature.certificate = signature.certificate.slice(0, -2) + "ff";
  assert.deepEqual(failed(verifyReceipt(signature, trust)), ["certificate"]);
  const header = clone(golden.payment.proof);
  header.header = header.header.slice(0, -1) + (header.header.endsWith("0") ? "1" : "0");
  assert.deepEqual(failed(verifyReceipt(header, trust)), ["header"]);
});

test("turned siblings, moved places and dropped events are found at the root", () => {
  const changes = [
    (proof) => (proof.index += 1),
    (proof) => (proof.index = -1),
    (proof) => (proof.index = "0"),
    (proof) => proof.events.pop(),
    (proof) => proof.events.push(proof.events[0]),
    (proof) => (proof.receipt.path[0][0] = proof.receipt.path[0][0] === "left" ? "right" : "left"),
    (proof) => proof.receipt.path.pop(),
    (proof) => (proof.receipt.path = Array(33).fill(proof.receipt.path[0])),
  ];
  for (const change of changes) {
    const proof = clone(golden.payment.proof);
    change(proof);
    assert.ok(failed(verifyReceipt(proof, trust)).includes("root"), change.toString());
  }
});

// Whatever somebody sends, the answer is steps, soon, and never an exception.
const ODD = [null, undefined, true, 0, -1, 2 ** 60, "", "0x", "0xZZ", "0x0", [], {}, [[]], "0x".padEnd(9e6, "f")];

function* places(value, path = []) {
  if (value === null || typeof value !== "object") return;
  for (const key of Object.keys(value)) {
    yield [...path, key];
    yield* places(value[key], [...path, key]);
  }
}

test("every member replaced by every odd value, or left out, gives ✗ and no exception", () => {
  // Half of the odd values in a small run: each costs the signatures of a certificate.
  const tried = spread === 1 ? ODD : ODD.filter((_, at) => at % 2 === 0);
  for (const path of places(golden.payment.proof)) {
    for (const odd of [...tried, Symbol.for("left out")]) {
      const proof = clone(golden.payment.proof);
      const last = path.at(-1);
      const inside = path.slice(0, -1).reduce((value, key) => value[key], proof);
      if (typeof odd === "symbol") delete inside[last];
      else if (JSON.stringify(inside[last]) === JSON.stringify(odd)) continue;
      else inside[last] = odd;
      const verdict = verifyReceipt(proof, trust);
      assert.equal(verdict.ok, false, `${path.join(".")} = ${String(odd).slice(0, 20)}`);
      assert.equal(verdict.proven, null);
      assert.ok(verdict.steps.every((step) => step.ok === true || step.detail !== ""));
    }
  }
});

test("what is no proof at all gives ✗ and no exception", () => {
  for (const odd of [...ODD, { proof: null }, { proof: [] }, () => 1]) {
    const verdict = verifyReceipt(odd, trust);
    assert.equal(verdict.ok, false);
    assert.equal(verdict.steps.length, 4);
  }
});

test("only pinned authorities and the pinned genesis count", () => {
  const keys = golden.agreement.authorities.keys;
  assert.equal(verifyReceipt(golden.payment.proof, { authorities: keys }).ok, true);
  assert.equal(verifyReceipt(golden.payment.proof, { authorities: keys }).trust, "authorities");
  assert.deepEqual(
    failed(verifyReceipt(golden.payment.proof, { authorities: keys.slice(1) })),
    ["certificate"],
  );
  const other = verifyReceipt(golden.payment.proof, { genesisHash: `0x${"22".repeat(32)}` });
  assert.deepEqual(failed(other), ["certificate"]);
});

test("authority sets are followed across changes, each by the one before it", () => {
  const { proof, genesisHash } = cases.changed;
  const verdict = verifyReceipt(proof, { genesisHash });
  assert.deepEqual(verdict.steps.filter((step) => !step.ok), []);
  for (const change of [
    (one) => one.authorityChanges.pop(),
    (one) => one.authorityChanges.shift(),
    (one) => one.authorityChanges.reverse(),
    (one) => (one.authorityChanges[0].nextAuthorities = one.authorityChanges[1].nextAuthorities),
    (one) => (one.authorityChanges[1].certificate = one.authorityChanges[0].certificate),
    (one) => (one.authorityChanges = Array(5000).fill(one.authorityChanges[0])),
  ]) {
    const changed = clone(proof);
    change(changed);
    assert.deepEqual(failed(verifyReceipt(changed, { genesisHash })), ["certificate"]);
  }
});

test("places in lists fit as the nodes' rule says", () => {
  for (const { index, turns, fits } of cases.places) {
    assert.equal(placeFits(BigInt(index), turns), fits, `${index} ${turns}`);
  }
});

test("state proofs hold, for values and for none, and no changed byte does", () => {
  const root = bytes(golden.state.stateRoot);
  for (const { tree: module, key, value, proof } of golden.state.proofs) {
    const given = [module, bytes(key), value === null ? null : bytes(value)];
    checkStateProof(root, ...given, bytes(proof));
    const changed = bytes(proof);
    for (let at = 0; at < changed.length; at += 13) {
      changed[at] ^= 1;
      assert.throws(() => checkStateProof(root, ...given, changed), /./);
      changed[at] ^= 1;
    }
    const other = given[2] === null ? new Uint8Array([1]) : joined(given[2], [0]);
    assert.throws(() => checkStateProof(root, given[0], given[1], other, bytes(proof)), /proof/);
  }
});

test("a balance is proven, and no other account's", () => {
  const { account, asset, amount, held, answer, genesis, genesisHash } = cases.balance;
  const options = { account: bytes(account), asset, genesis, genesisHash };
  const verdict = verifyBalance(answer, options);
  assert.deepEqual(verdict.steps.filter((step) => !step.ok), []);
  assert.deepEqual([verdict.proven.amount, verdict.proven.held], [BigInt(amount), BigInt(held)]);
  const other = verifyBalance(answer, { ...options, account: new Uint8Array(32) });
  assert.deepEqual(failed(other), ["value"]);
  const lie = { ...answer, value: answer.value.slice(0, -2) + "01" };
  assert.deepEqual(failed(verifyBalance(lie, options)), ["root"]);
  for (const odd of ODD) assert.equal(verifyState(odd, { genesis, genesisHash }).ok, false);
});

test("light blocks get the verdicts of every client", () => {
  const genesis = trustedGenesis(light.genesis, light.genesisHash);
  for (const { name, trusted, block, nowMs, verdict } of light.cases) {
    const base =
      trusted === "0" ? trustGenesis(genesis) : trustBlock(readLightBlock(light.trusted[trusted]));
    assert.equal(judge(base, readLightBlock(light.blocks[block]), BigInt(nowMs)), verdict, name);
  }
});

test("pins are kept, replaced, forgotten, and survive a damaged store", () => {
  const kept = new Map();
  const storage = { getItem: (name) => kept.get(name) ?? null, setItem: (...pair) => kept.set(...pair) };
  const hash = `0x${"ab".repeat(32)}`;
  assert.equal(pinned("acme", storage), null);
  pin("acme", hash, null, storage);
  pin("other", hash, [hash], storage);
  assert.equal(pinned("acme", storage).genesisHash, hash);
  assert.deepEqual(pinned("other", storage).authorities, [hash]);
  forget("acme", storage);
  assert.equal(pinned("acme", storage), null);
  assert.throws(() => pin("acme", "0x12", null, storage), TypeError);
  for (const damaged of ["{", "{}", "[1,null,{}]"]) {
    kept.set("clawpurse.pins", damaged);
    assert.equal(pinned("other", storage), null);
  }
});
