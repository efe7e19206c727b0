// Amounts, times and searches as people read them. A wrong point here is a wrong payment.

import assert from "node:assert/strict";
import test from "node:test";
import {
  agoText, amountText, bytesText, callText, countText, csvText, endsText, figureText, searchMeanings, spanText, utcText,
} from "../../../../modules/kit/pages/static/format.js";

test("amounts keep every digit beyond what a float holds", () => {
  assert.equal(amountText("1250", 2), "12.50");
  assert.equal(amountText("5", 2), "0.05");
  assert.equal(amountText("0", 0), "0");
  assert.equal(amountText("100000000000000000123", 2), "1,000,000,000,000,000,001.23");
  assert.equal(amountText("-5", 2), "−0.05");
  assert.equal(amountText("-123456789", 8), "−1.23456789");
});

test("an amount of unknown decimals gets no point that might be wrong", () => {
  assert.equal(amountText("1250", undefined), "…");
  assert.equal(amountText("1250", null), "1,250 minor units");
  assert.equal(amountText("12.5", 2), "?");
});

test("spans are said as the node says them", () => {
  const said = [[800, "0.8 s"], [9_940, "9.9 s"], [12_000, "12 s"], [119_000, "119 s"], [120_000, "2 min"],
    [3 * 3_600_000, "3 h"], [48 * 3_600_000, "2 d"], [-5, "0.0 s"]];
  for (const [ms, text] of said) assert.equal(spanText(ms), text);
});

test("times are ago or ahead, and always absolute in UTC", () => {
  const now = Date.parse("2026-11-23T14:02:11Z");
  assert.equal(agoText("2026-11-23T13:59:11Z", now), "3 min ago");
  assert.equal(agoText("2026-11-23T16:02:11Z", now), "in 2 h");
  assert.equal(agoText("2026-11-23T14:02:11.300Z", now), "0.0 s ago");
  assert.equal(agoText("yesterday", now), "unknown");
  assert.equal(utcText("2026-11-23T14:02:11.250Z"), "2026-11-23 14:02:11.250 UTC");
});

test("missing is a dash and zero is 0", () => {
  assert.equal(figureText(null, "s"), "–");
  assert.equal(figureText(0, "s"), "0 s");
  assert.equal(figureText(12.44), "12.4");
  assert.equal(figureText(0.034, "s"), "0.03 s");
  assert.equal(figureText(123456.7), "123,457");
  assert.equal(bytesText(1536), "1.5 KiB");
  assert.equal(endsText("claw1abc"), "claw1abc");
});

test("one of a thing is said as one", () => {
  assert.equal(countText(1, "event"), "1 event");
  assert.equal(countText(0, "event"), "0 events");
  assert.equal(countText(1_200, "authority", "authorities"), "1,200 authorities");
});

test("a search means what was typed, and nothing is guessed", () => {
  const id = "ab".repeat(32);
  assert.deepEqual(searchMeanings(" 1,234 "), [["height", 1234]]);
  assert.deepEqual(searchMeanings(`0x${id.toUpperCase()}`), [["tx", `0x${id}`], ["block", `0x${id}`]]);
  assert.deepEqual(searchMeanings(id)[0], ["tx", `0x${id}`]);
  const account = `claw1${"q".repeat(58)}`;
  assert.deepEqual(searchMeanings(account), [["account", account]]);
  assert.deepEqual(searchMeanings("eurx"), [["asset", "EURX"]]);
  assert.deepEqual(searchMeanings("claw1short…"), []);
  assert.deepEqual(searchMeanings("1".repeat(64))[0], ["tx", `0x${"1".repeat(64)}`]);
});

test("what is shown as a command can be pasted into a shell", () => {
  assert.equal(callText("chain_getBlock", { height: 12, hash: null }), "clawpurse rpc chain_getBlock height=12");
  assert.equal(callText("x_y", { filter: { a: "it's" } }), `clawpurse rpc x_y filter='{"a":"it'\\''s"}'`);
});

test("a spreadsheet runs nothing that somebody wrote into a memo", () => {
  assert.equal(csvText(["a", "b"], [["=1+1", 'say "hi"'], [-5, null]]), 'a,b\r\n\'=1+1,"say ""hi"""\r\n-5,\r\n');
});
