// Subscriptions: each event once, in order, over drops, lags and ends.

import assert from "node:assert/strict";
import test from "node:test";
import { Stream, backoffMs, connectionState, isAfter } from "../../../../modules/kit/pages/static/streams.js";

const heard = () => {
  const events = [];
  const lost = [];
  return { events, lost, onEvent: (data) => events.push(data), onLagged: (count) => lost.push(count) };
};

test("a stream resumes after the last event that it saw, and shows none twice", () => {
  const ear = heard();
  const stream = new Stream("blocks", null, null, ear);
  assert.deepEqual(stream.request(), { topic: "blocks" });
  stream.event({ cursor: "7.0", data: 7, final: true });
  stream.event({ cursor: "8.0", data: 8, final: true });
  assert.deepEqual(stream.request(), { topic: "blocks", fromCursor: "8.0" });
  stream.event({ cursor: "8.0", data: 8, final: true });
  stream.event({ cursor: "10.0", data: 10, final: true });
  assert.deepEqual(ear.events, [7, 8, 10]);
});

test("a lag with a cursor is made up for; one of a local topic is counted", () => {
  const ear = heard();
  const stream = new Stream("transactions", { account: "a" }, "5.1", ear);
  assert.equal(stream.lagged({ cursor: "5.3", lost: 0 }), true);
  assert.equal(stream.request().fromCursor, "5.3");
  const local = new Stream("mempool", null, null, ear);
  assert.equal(local.lagged({ cursor: null, lost: 12 }), false);
  assert.deepEqual(ear.lost, [12]);
});

test("what was pruned meanwhile is said to be lost, and the stream goes on from now", () => {
  const ear = heard();
  const stream = new Stream("blocks", null, "3.0", ear);
  stream.ended({ error: { code: -32002 } });
  assert.deepEqual(ear.lost, [null]);
  assert.deepEqual(stream.request(), { topic: "blocks" });
});

test("cursors are compared as numbers, however large", () => {
  assert.ok(isAfter("10.0", "9.5"));
  assert.ok(isAfter("9.10", "9.9"));
  assert.ok(!isAfter("9.9", "9.9"));
  assert.ok(isAfter("9007199254740993.0", "9007199254740992.0"));
});

test("old never looks live, and a node that is down is not hammered", () => {
  assert.equal(connectionState(true, 400), "live");
  assert.equal(connectionState(false, 400), "reconnecting");
  assert.equal(connectionState(true, 6_100), "stale");
  const waits = [0, 1, 2, 3, 9].map((attempt) => backoffMs(attempt, 0));
  assert.deepEqual(waits, [500, 1000, 2000, 4000, 5000]);
  assert.ok(backoffMs(9, 1) > 3_000);
});
