// What pages work out by themselves: effects, the eight answers, texts of strangers, QR codes.

import assert from "node:assert/strict";
import { test } from "node:test";

const pages = new URL("../../../node/dashboard/static/pages/", import.meta.url);
const { commandOf, effectsOf, linkedOf, movementOf, signedText, supplyOf } = await import(`${pages}effects.js`);
const { isOpen, statusOf, stepsOf, storyOf } = await import(`${pages}story.js`);
const { memoOf, plainText, wordsOf } = await import(`${pages}text.js`);
const { signedShare, signersOf, signingRows } = await import(`${pages}signing.js`);
const { qrModules, qrPath } = await import(`${pages}qr.js`);
const { fitted, readBack } = await import(`${pages}logs.js`);

const event = (kind, accounts, data) => ({ kind, accounts, data });
const paid = (events, more = {}) => ({
  txId: "0x01", sender: "alice", payer: null, actions: [], height: 5, attempt: 0, validUntilMs: 100_000,
  receipt: { code: "ok", fee: "1", rule: null, reason: null, time: "2026-11-23T04:00:00.000Z", events, ...more },
});

test("the effects of a payment add up to nothing, beyond what floats can hold", () => {
  const huge = "18446744073709551615";
  const { assets } = effectsOf(paid([event("assets.transferred", ["alice", "bob"], { asset: "CLAW", amount: huge })]));
  assert.equal(assets.length, 1);
  assert.equal(assets[0].sum, 0n);
  assert.equal(assets[0].rows.find(({ who }) => who === "alice").change, -18446744073709551616n);
});

test("what was minted came from somewhere, and what a rule held stayed its payer's", () => {
  const minted = effectsOf(paid([event("assets.minted", ["bank"], { asset: "EURX", amount: "5" })])).assets;
  assert.deepEqual(minted.find(({ asset }) => asset === "EURX").rows, [{ who: "created", change: -5n }, { who: "bank", change: 5n }]);
  const held = effectsOf(paid([event("kernel.held", ["alice", "bob"], { asset: "EURX", amount: "5", holdId: "0xaa", rule: "r" })]));
  assert.deepEqual(held.assets.map(({ asset }) => asset), ["CLAW"]);
  assert.equal(held.apart[0].fate, "held");
});

test("a list shows the first movement, or what a pending one asks for", () => {
  assert.equal(movementOf(paid([event("assets.minted", ["bank"], { asset: "E", amount: "5" })])).to, "bank");
  const pending = { sender: "alice", actions: [{ name: "assets.transfer", fields: { asset: "E", amount: "7", recipient: "bob" } }] };
  assert.deepEqual(movementOf(pending), { asset: "E", amount: "7", from: "alice", to: "bob", more: 0 });
  assert.equal(movementOf({ sender: "alice", actions: [{ name: "x.y", fields: {} }] }), null);
});

test("a supply that is not the sum of its parts is said to be none", () => {
  assert.equal(supplyOf("3", [{ name: "a", amount: "1" }, { name: "b", amount: "2" }]).isEqual, true);
  assert.equal(supplyOf("4", [{ name: "a", amount: "1" }]).isEqual, false);
});

test("linked things are named once, with the command that shows each", () => {
  const linked = linkedOf({ events: [event("kernel.held", [], { holdId: "0xaa" }), event("payments.holdVoted", [], { holdId: "0xaa" })] });
  assert.deepEqual(linked, [{ kind: "hold", id: "0xaa" }]);
  assert.equal(commandOf(linked[0]), "clawpurse hold show 0xaa");
  assert.equal(signedText(-5n, (text) => text), "−5");
});

test("final, held, failed, pending, expired, replaced and unknown are different answers", () => {
  const error = (status, more = {}) => ({ data: { status, ...more } });
  const kinds = [
    statusOf(paid([]), null), statusOf(paid([event("kernel.held", [], { holdId: "0xaa", rule: "r" })]), null),
    statusOf(paid([], { code: "frozen", rule: "assets.frozen" }), null), statusOf({ ...paid([]), status: "pending" }, null),
    statusOf(null, error("expired", { height: 9 })), statusOf(null, error("replaced", { replacedBy: "0x02" })), statusOf(null, error("unknown")),
  ];
  assert.deepEqual(kinds.map(({ kind }) => kind), ["final", "held", "failed", "pending", "expired", "replaced", "unknown"]);
  const stories = kinds.map((status) => storyOf(status, "0x01", { now: 0, span: (ms) => `${ms} ms` }));
  assert.equal(new Set(stories.map(({ headline }) => headline)).size, 7);
  assert.match(stories[2].sentences[0], /assets\.frozen/);
  assert.equal(stories[3].drafts.length, 2);
  assert.match(stories[6].headline, /may still arrive/);
  assert.deepEqual(kinds.filter(({ kind }) => isOpen(kind)).map(({ kind }) => kind), ["pending", "unknown"]);
  assert.equal(statusOf(null, { code: 0, data: {} }).kind, null);
});

test("a time that nobody recorded is a gap", () => {
  const steps = stepsOf(statusOf(paid([]), null), {});
  assert.deepEqual(steps.map(({ ms }) => ms), [null, null, Date.parse("2026-11-23T04:00:00.000Z")]);
  assert.deepEqual(steps.map(({ afterMs }) => afterMs), [null, null, null]);
});

test("words of strangers cannot turn the line around, hide, or run over the page", () => {
  assert.equal(plainText("pay \u202eecila\u2066 now\u0000"), "pay \ufffdecila\ufffd now\ufffd");
  assert.equal(plainText("a\u200bb\u00ad\ud800"), "a\ufffdb\ufffd\ufffd");
  assert.equal([...plainText("x".repeat(1_000))].length, 281);
  assert.equal(plainText("e" + "\u0301".repeat(50)).length, 4);
  assert.equal(plainText("grüße 🙂"), "grüße 🙂");
  assert.equal(memoOf("0x", ""), null);
  assert.deepEqual(memoOf("0xff", null), { text: "0xff", isText: false });
  assert.equal(wordsOf("insufficientFunds"), "insufficient funds");
});

test("bitmaps and marks name those who signed", () => {
  assert.deepEqual(signersOf("0x0b", 4), [true, true, false, true]);
  assert.deepEqual(signersOf("0x0001", 9).lastIndexOf(true), 8);
  const [row] = signingRows({ authorities: [{ authority: "a" }], blocks: [{ height: 1, marks: "p" }, { height: 2, marks: "o" }, { height: 3, marks: "-" }] });
  assert.equal(signedShare(row.cells), 0.5);
  assert.equal(signedShare([]), null);
});

test("a log is read backwards by windows, whole blocks a page", async () => {
  const all = Array.from({ length: 300 }, (_, at) => ({ cursor: `${at + 1}.0`, data: at + 1 }));
  const call = async (_method, { fromCursor, limit }) => {
    const first = Number(fromCursor.split(".")[0]);
    const events = all.filter(({ data }) => data > first).slice(0, Math.min(limit, 40));
    return { events, nextCursor: events.length ? events.at(-1).cursor : fromCursor };
  };
  const page = await readBack(call, "blocks", null, 300, 50);
  assert.deepEqual([page.events[0].data, page.events.at(-1).data, page.before], [300, 251, 250]);
  const rest = await readBack(call, "blocks", null, 30, 50);
  assert.deepEqual([rest.events.length, rest.before], [30, 0]);
});

test("a list that is cut goes on where it was cut, and never stands still", () => {
  const rows = (...heights) => heights.map((height) => ({ height }));
  assert.deepEqual(fitted(rows(9, 8), 3, 5), { rows: rows(9, 8), older: 5 });
  // Of block 7 one row fits: it comes again rather than not at all.
  assert.deepEqual(fitted(rows(9, 8, 7, 7), 3, 5), { rows: rows(9, 8, 7), older: 7 });
  // One block fills the page: its own page has the rest.
  assert.deepEqual(fitted(rows(9, 9, 9, 8), 3, 5), { rows: rows(9, 9, 9), older: 8 });
});

test("modules of a QR code: size, finders, timing, and an address fits", () => {
  const modules = qrModules("claw1" + "q".repeat(58));
  assert.equal(modules.length, 37);
  assert.deepEqual(modules[0].slice(0, 8), [true, true, true, true, true, true, true, false]);
  assert.deepEqual(modules[6].slice(8, 14), [true, false, true, false, true, false]);
  assert.match(qrPath("a").path, /^M4 4h7v1h-7z/);
  assert.throws(() => qrModules("x".repeat(300)), RangeError);
});
