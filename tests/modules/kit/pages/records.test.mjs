// What the pages of services say and ask: run by itself, without a browser.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  canBeUndone, clockWords, columnsOf, csvOf, deedOf, differences, filtersOf, inputOf, labelOf, mayAsk, placeOf, plainText, readForm,
  serviceOf, sharedMoves, stateBadge, stepText, typedOf, valueText,
} from "../../../../modules/kit/pages/records/static/words.js";

const field = (name, more = {}) => ({
  name, holds: "text", required: false, nullable: true, ref: null, personal: null, choices: [], charsMax: 100, searched: false, moved: false, says: "", ...more,
});
const TICKET = {
  name: "ticket", noun: "Ticket", nouns: "Tickets", title: "Ticket", prefix: "T", states: ["new", "open", "closed"], initial: "new", ends: ["closed"],
  fields: [
    field("title", { required: true, nullable: false, searched: true }), field("pieces", { holds: "integer", charsMax: null }),
    field("isUrgent", { holds: "boolean", charsMax: null }), field("marks", { holds: "list", charsMax: 40 }), field("text", { charsMax: 20_000 }),
    field("level", { choices: ["low", "high"] }),
  ],
  moves: [
    { name: "take", from: ["new"], to: "open", roles: [], needs: [], sets: [], approvals: 0, approvers: [], sends: false },
    { name: "refund", from: ["new"], to: "closed", roles: ["clerk"], needs: [], sets: [], approvals: 2, approvers: ["lead"], sends: true },
    { name: "close", from: ["open"], to: "closed", roles: [], needs: ["title"], sets: ["title"], approvals: 0, approvers: [], sends: false },
  ],
  methods: { proposals: "x_listTicketProposals" },
};
const record = (values = {}, more = {}) => ({
  id: "T-1", version: 1, state: "new", values: { title: "a", pieces: null, isUrgent: null, marks: [], text: null, level: null, ...values },
  erased: [], hidden: [], moves: ["take", "refund"], refused: {}, ...more,
});

test("an address leads to what it says, and everything else nowhere", () => {
  assert.equal(placeOf("/", [TICKET]).page, "list");
  assert.equal(placeOf("/ticket/new", [TICKET]).page, "new");
  assert.equal(placeOf("/ticket/waiting", [TICKET]).page, "waiting");
  assert.equal(placeOf("/ticket/waiting", [{ ...TICKET, methods: {} }]).page, "nowhere");
  assert.deepEqual([placeOf("/ticket/T-12", [TICKET]).page, placeOf("/ticket/T-12", [TICKET]).id], ["record", "T-12"]);
  for (const path of ["/other", "/ticket/X-1", "/ticket/T-0", "/ticket/T-1x", "/ticket/<b>"]) assert.equal(placeOf(path, [TICKET]).page, "nowhere", path);
  assert.deepEqual(placeOf("/", []), { page: "nowhere" });
});

test("a service is found by how it describes itself", () => {
  assert.deepEqual(serviceOf({ info: { title: "Shop" }, methods: [{ name: "rpc.discover" }, { name: "shop_describe" }] }), { name: "shop", title: "Shop" });
  assert.deepEqual(serviceOf({}), { name: "", title: "" });
});

test("what is not shown says why", () => {
  const [title] = TICKET.fields;
  assert.equal(valueText(title, record({ title: null }, { erased: ["title"] })), "erased");
  assert.equal(valueText(title, record({ title: null }, { hidden: ["title"] })), "not for you");
  assert.equal(valueText(title, record({ title: null })), "–");
  assert.equal(plainText(2 ** 53), "a number too large to show: see the export");
  assert.equal(plainText({ commitment: "ab".repeat(32) }), "personal, abababababab…");
  assert.equal(plainText(false), "no");
});

test("a form gives what was changed, exactly, and refuses what is no such value", () => {
  assert.deepEqual(readForm(TICKET.fields, { title: "b", pieces: "12", isUrgent: "yes", marks: "x\n\n y ", text: "", level: "" }),
    { values: { title: "b", pieces: 12, isUrgent: true, marks: ["x", "y"] }, problem: "" });
  for (const wrong of ["1.5", "1e3", "many", "9007199254740993", "0x10"]) {
    assert.match(readForm(TICKET.fields, { pieces: wrong }).problem, /Pieces: a whole number/, wrong);
  }
  assert.equal(readForm(TICKET.fields, { title: "" }, { title: "a" }).problem, "Title is needed.");
  assert.deepEqual(readForm(TICKET.fields, { title: "a", pieces: "" }, { title: "a", pieces: 3 }), { values: { pieces: null }, problem: "" });
  assert.deepEqual(readForm(TICKET.fields, {}, {}), { values: {}, problem: "" });
});

test("what a form shows is read back as the same", () => {
  const values = { title: "a", pieces: 3, isUrgent: false, marks: ["x", "y"], text: "l\nm", level: "low" };
  const typed = Object.fromEntries(TICKET.fields.map((one) => [one.name, typedOf(one, values[one.name])]));
  assert.deepEqual(readForm(TICKET.fields, typed), { values, problem: "" });
  assert.equal(inputOf(TICKET.fields[4]).kind, "prose");
  assert.equal(inputOf(TICKET.fields[0]).kind, "line");
});

test("money is never taken back by a button, and never moved in bulk", () => {
  const [take, refund, close] = TICKET.moves;
  assert.deepEqual([take, refund, close].map(canBeUndone), [true, false, true]);
  assert.equal(deedOf(refund), "Ask to refund");
  assert.deepEqual(sharedMoves(TICKET, [record(), record()]).map(({ name }) => name), ["take"]);
  assert.deepEqual(sharedMoves(TICKET, [record(), record({}, { moves: [] })]), []);
  assert.deepEqual(sharedMoves(TICKET, []), []);
});

test("a clock says what is left, or by how much it is over", () => {
  const span = (ms) => `${ms} ms`;
  assert.equal(clockWords({ name: "first_reply", standing: "running", targetMs: 9, leftMs: 4 }, span).text, "First reply: 4 ms left");
  assert.equal(clockWords({ name: "x", standing: "breached", targetMs: 9, leftMs: -4 }, span).text, "X: over by 4 ms");
  assert.equal(clockWords({ name: "x", standing: "breached", targetMs: 9, leftMs: -4 }, span).kind, "failed");
});

test("filters are those that the kind knows", () => {
  assert.deepEqual(filtersOf(TICKET, { state: "open", title: "a", other: "b", archived: "yes" }), { state: "open", title: "a", archived: true });
  assert.deepEqual(filtersOf(TICKET, { state: "nonsense", archived: "1" }), {});
});

test("whoever comes second sees both", () => {
  assert.deepEqual(differences(TICKET, { title: "mine", version: 1 }, record({ title: "theirs" })), [{ label: "Title", mine: "mine", theirs: "theirs" }]);
});

test("a step of a history is one sentence and what it changed", () => {
  assert.deepEqual(stepText({ move: "refund.asked", state: "new", actor: "ana", origin: "call", changes: { title: "b", text: null } }),
    { head: "Refund asked → new", who: "ana", changes: ["Title: b"] });
});

test("small words", () => {
  assert.equal(labelOf("firstReply"), "First reply");
  assert.ok(mayAsk([], []) && mayAsk(["a"], ["a"]) && !mayAsk(["a"], ["b"]));
  assert.equal(stateBadge(TICKET, { state: "closed" }).kind, "final");
  assert.equal(columnsOf(TICKET).length, 4);
  assert.equal(columnsOf(TICKET)[0].name, "title");
  const { heads, cells } = csvOf(TICKET, [{ ...record(), created: "c", changed: "d" }]);
  assert.equal(heads.length, cells[0].length);
});
