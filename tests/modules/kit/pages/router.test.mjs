// Addresses: what was pasted leads where it led.

import assert from "node:assert/strict";
import test from "node:test";
import { compilePath, linkTo, matchRoute, parseHash } from "../../../../modules/kit/pages/static/router.js";
import { dataOf, niceTop } from "../../../../modules/kit/pages/static/charts.js";

const table = ["/", "/tx/:txId", "/a.b/:one/:two"].map((path) => ({ path, ...compilePath(path) }));

test("a path finds its route and its parts", () => {
  assert.equal(matchRoute(table, "/").route.path, "/");
  assert.deepEqual(matchRoute(table, "/tx/0x1").params, { txId: "0x1" });
  assert.deepEqual(matchRoute(table, "/a.b/x%20y/2").params, { one: "x y", two: "2" });
});

test("a strange path leads nowhere and breaks nothing", () => {
  for (const path of ["/aXb/1/2", "/tx/", "/tx/1/2", "/tx/%E0%A4", "main"]) assert.equal(matchRoute(table, path), null);
});

test("a link reads back as it was written", () => {
  const link = linkTo("/payments", { asset: "CLAW", q: "a&b=ü", none: "", gone: null });
  assert.deepEqual(parseHash(link), { path: "/payments", query: { asset: "CLAW", q: "a&b=ü" } });
  assert.deepEqual(parseHash(""), { path: "/", query: {} });
});

test("stacked areas add up, keep gaps, and are drawn from the top", () => {
  const [seconds, top, low] = dataOf([1000, 2000], [{ values: [1, null] }, { values: [2, 3] }], true);
  assert.deepEqual([seconds, top, low], [[1, 2], [3, 3], [1, null]]);
});

test("an axis ends above its highest value", () => {
  for (const [high, end] of [[0, 1], [0.9, 1], [1, 1.5], [7, 7.5], [96, 150], [null, 1]]) assert.equal(niceTop(high), end);
});
