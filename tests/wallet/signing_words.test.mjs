// What the signing page says: run by itself, without a browser.

import assert from "node:assert/strict";
import { test } from "node:test";
import { askedBy, deedWords, fateWords, isOnItsWay, outlookWords, saysBadge, stateBadge } from "../../wallet/pages/static/words.js";

test("an address asks for a request, a body, or nothing that it does not say exactly", () => {
  assert.deepEqual(askedBy("#request=0x0a1b"), { request: "0x0a1b" });
  assert.deepEqual(askedBy("#sign=0x0a1b"), { sign: "0x0a1b" });
  const action = { name: "accounts.approve", fields: { proposal: "0x01" } };
  assert.deepEqual(askedBy(`#action=${encodeURIComponent(JSON.stringify(action))}`), { action });
  for (const text of ["{", "[]", '{"name":1,"fields":{}}', '{"name":"a b","fields":{}}', '{"name":"a","fields":[]}', '{"name":"a","fields":null}', "null"]) {
    assert.deepEqual(askedBy(`#action=${encodeURIComponent(text)}`), {}, text);
  }
  for (const hash of ["", "#/", "#request=", "#request=<b>", "#request=0xZZ", "#sign=0x0", "#sign=javascript:1", "#other=0x0a"]) {
    assert.deepEqual(askedBy(hash), {}, hash);
  }
});

test("the button names what leaves the account, and nothing that others lose", () => {
  const effects = [{ account: "me", change: "-1251", text: "− 12.51 CLAW" }, { account: "bob", change: "+1250", text: "+ 12.50 CLAW" }];
  assert.equal(deedWords({ account: "me", effects, submit: true }), "Approve: − 12.51 CLAW");
  assert.equal(deedWords({ account: "bob", effects, submit: true }), "Approve and send");
  assert.equal(deedWords({ account: "me", effects: [], submit: false }), "Approve: sign, and hand it back");
});

test("only what is final is called final", () => {
  for (const status of ["pending", "failed", "refused", "expired", "replaced", "cancelled", "news"]) {
    const { kind, text } = fateWords({ status, height: null, reason: null });
    assert.notEqual(kind, "final", status);
    assert.ok(!text.startsWith("Final"), status);
  }
  assert.equal(fateWords({ status: "final", height: 7, reason: null }).text, "Final. Its proof was checked. Block 7.");
  assert.equal(fateWords({ status: "failed", height: 7, reason: "Too little." }).text, "The ledger refused it. Nothing was paid. Block 7. Too little.");
  assert.ok(isOnItsWay({ status: "pending" }));
  assert.ok(!isOnItsWay({ status: "signed" }) && !isOnItsWay(null));
});

test("what is not known is said to be unknown", () => {
  assert.equal(stateBadge({ state: "news" }).kind, "unknown");
  assert.equal(saysBadge({ says: "refuses" }).kind, "failed");
  assert.deepEqual(outlookWords({ outlook: null, rule: null, problem: "no node answers" }), {
    kind: "unknown", text: "no node tells what the ledger would do: no node answers",
  });
  assert.equal(outlookWords({ outlook: "held", rule: "limit", problem: null }).text, "the ledger would hold it: rule limit");
});
