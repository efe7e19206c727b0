// What the sign-in pages say: run by itself, without a browser.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  askedBy, factorText, invitationLink, matrixRows, problemText, proofIn, siteAddress, stateBadge, waitText, wantsStepUp,
} from "../../../../modules/auth/pages/static/words.js";

test("an address leads to an invitation or a page, and to nothing that it does not say exactly", () => {
  assert.deepEqual(askedBy("#invitation=abcdef12"), { page: "register", invitation: "abcdef12" });
  for (const hash of ["", "#/", "#invitation=", "#invitation=a b", "#other"]) assert.equal(askedBy(hash).page, "me", hash);
  assert.equal(askedBy("#users=").page, "users");
  assert.equal(askedBy("#roles=").page, "roles");
  const { invitation } = askedBy(new URL(invitationLink("http://localhost:1", "a+b/c==&d=1")).hash);
  assert.equal(invitation, "a+b/c==&d=1");
});

test("only a whole request of a page elsewhere is one", () => {
  const asked = { site: "https://node.example", challenge: "c".repeat(43), state: "s".repeat(43) };
  const hashed = (changes) => `#${new URLSearchParams({ ...asked, ...changes })}`;
  assert.deepEqual(askedBy(hashed({})), { page: "site", ...asked });
  for (const changes of [{ site: "javascript:alert(1)//aaaaaaa" }, { site: "https://a/b" }, { site: "//evil" }, { challenge: "" },
    { challenge: "c".repeat(44) }, { state: "x" }, { state: `${"s".repeat(42)}#` }]) assert.equal(askedBy(hashed(changes)).page, "me", JSON.stringify(changes));
  assert.equal(siteAddress(asked, "cpa_1"), `https://node.example/#code=cpa_1&state=${"s".repeat(43)}`);
});

test("whoever has to wait is told how long", () => {
  assert.equal(waitText(1), "1 s");
  assert.equal(waitText(89_000), "89 s");
  assert.equal(waitText(120_000), "2 min");
  assert.equal(waitText(7_200_000), "2 h");
  assert.match(problemText({ code: -32005, reason: "x", data: { retryAfterMs: 5_000 } }), /in 5 s/);
});

test("what failed is said, whoever it was that failed", () => {
  assert.match(problemText({ code: 0 }), /does not answer/);
  assert.match(problemText({ name: "NotAllowedError" }), /passkey/);
  assert.equal(problemText({ code: -1, reason: "no", hint: "" }), "no");
  assert.equal(problemText({ code: -1, reason: "no", hint: "do" }), "no → do");
  assert.match(problemText(new Error("odd")), /odd/);
});

test("a proof is one thing, and a code may be typed as it is shown", () => {
  assert.deepEqual(proofIn({ totp: "123 456", recoveryCode: "x" }), { totp: "123456" });
  assert.deepEqual(proofIn({ totp: "", recoveryCode: " ab-cd " }), { recoveryCode: "ab-cd" });
  assert.deepEqual(proofIn({ password: " keeps its blanks " }), { password: " keeps its blanks " });
  assert.deepEqual(proofIn({ totp: " " }), {});
  assert.ok(wantsStepUp({ data: { stepUp: true } }) && !wantsStepUp({ data: {} }) && !wantsStepUp(new Error("x")));
});

test("states, factors and roles have words", () => {
  assert.deepEqual(stateBadge({ state: "locked" }), { kind: "held", text: "locked" });
  assert.equal(stateBadge({ state: "news" }).kind, "unknown");
  assert.equal(factorText("totp"), "Code of the authenticator app");
  assert.deepEqual(matrixRows({ rows: [{ role: "", scopes: ["auth_*"], actions: [], admin: false }, { role: "a", scopes: [], actions: ["x.y"], admin: true }] }),
    [["everybody", "auth_*", ""], ["a", "administers users", "x.y"]]);
});
