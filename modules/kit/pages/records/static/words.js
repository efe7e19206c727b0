// What the pages of a service say and ask, worked out from what the service says of itself and what
// it answers. Pure.

export const PAGE_ROWS = 50;
const LINE_CHARS_MAX = 500;
const COLUMNS_MAX = 4;

/** The service of a host, by what it offers: the one that describes itself. */
export function serviceOf(document) {
  const found = (document.methods ?? []).map(({ name }) => /^([a-z0-9]+)_describe$/.exec(name)).find(Boolean);
  return { name: found?.[1] ?? "", title: document.info?.title ?? "" };
}

/** Where a path leads: a kind's list, its form, what waits there, or one record. */
export function placeOf(path, kinds) {
  const [name = "", id = ""] = path.split("/").filter(Boolean);
  const kind = name ? kinds.find((one) => one.name === name) : kinds[0];
  if (!kind) return { page: "nowhere" };
  if (!id) return { page: "list", kind };
  if (id === "new") return { page: "new", kind };
  if (id === "waiting" && kind.methods.proposals) return { page: "waiting", kind };
  return new RegExp(`^${kind.prefix}-[1-9][0-9]{0,18}$`).test(id) ? { page: "record", kind, id } : { page: "nowhere" };
}

/** Whether somebody with these roles may do what needs one of `wanted`; nothing wanted: everybody. */
export function mayAsk(wanted, roles) {
  return !wanted.length || wanted.some((one) => roles.includes(one));
}

/** A declared name as a label: "firstReply" and "refund.asked" → "First reply", "Refund asked". */
export function labelOf(name) {
  const text = name.replaceAll(/[._]/g, " ").replaceAll(/([A-Z])/g, (letter) => ` ${letter.toLowerCase()}`);
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** The fields that a list has room for: short ones, those that are searched first. */
export function columnsOf(kind) {
  const short = kind.fields.filter(({ charsMax }) => !charsMax || charsMax <= LINE_CHARS_MAX);
  return [...short].sort((one, other) => Number(other.searched) - Number(one.searched)).slice(0, COLUMNS_MAX);
}

/** What a field holds in this record, in words. Null says why: erased, not for you, or nothing there. */
export function valueText(field, record) {
  const value = record.values[field.name];
  if (value === null || value === undefined) {
    if (record.erased.includes(field.name)) return "erased";
    return record.hidden.includes(field.name) ? "not for you" : "–";
  }
  return plainText(value);
}

/** Any value as text. A number that a browser cannot hold exactly says so. */
export function plainText(value) {
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "number" && !Number.isSafeInteger(value)) return "a number too large to show: see the export";
  if (Array.isArray(value)) return value.map(plainText).join(", ") || "–";
  if (value && typeof value === "object") return value.commitment ? `personal, ${value.commitment.slice(0, 12)}…` : JSON.stringify(value);
  return value === null || value === undefined || value === "" ? "–" : String(value);
}

// -- forms

const KINDS = { integer: "number", date: "date", boolean: "yesno", list: "many" };

/** How a field is asked for: {kind, choices?, charsMax?}. */
export function inputOf(field) {
  if (field.choices.length) return { kind: "choice", choices: field.choices };
  if (KINDS[field.holds]) return { kind: KINDS[field.holds] };
  return { kind: field.charsMax && field.charsMax <= LINE_CHARS_MAX ? "line" : "prose", charsMax: field.charsMax };
}

/** What was typed, as the service takes it: {values, problem}. `known` are values that stay as they are. */
export function readForm(fields, typed, known = {}) {
  const values = {};
  for (const field of fields) {
    const text = typed[field.name];
    if (text === undefined) continue;
    const { value, problem } = readValue(field, text);
    if (problem) return { values: {}, problem: `${labelOf(field.name)}: ${problem}` };
    if (JSON.stringify(value) === JSON.stringify(known[field.name] ?? null)) continue;
    if (value === null && field.required && !field.nullable) return { values: {}, problem: `${labelOf(field.name)} is needed.` };
    values[field.name] = value;
  }
  return { values, problem: "" };
}

function readValue(field, text) {
  const { kind } = inputOf(field);
  if (text === "") return { value: kind === "many" ? [] : field.nullable || kind !== "prose" ? null : "" };
  if (kind === "number") {
    const value = Number(text);
    return /^-?[0-9]+$/.test(text) && Number.isSafeInteger(value) ? { value } : { problem: "a whole number is wanted" };
  }
  if (kind === "yesno") return { value: text === "yes" };
  if (kind === "many") return { value: text.split("\n").map((one) => one.trim()).filter(Boolean) };
  return { value: text };
}

/** A value as a form shows it for changing. */
export function typedOf(field, value) {
  if (value === null || value === undefined) return "";
  if (Array.isArray(value)) return value.join("\n");
  if (typeof value === "boolean") return value ? "yes" : "no";
  return String(value);
}

// -- records

/** A record's state as a badge: an end is final, whatever moves on is open. */
export function stateBadge(kind, { state }) {
  return { kind: kind.ends.includes(state) ? "final" : "open", text: state };
}

const CLOCKS = { waiting: "none", running: "pending", paused: "held", met: "ok", breached: "failed" };

/** A clock as a badge and what is left of it. `span` says how long a span is. */
export function clockWords(clock, span) {
  const left = clock.leftMs >= 0 ? `${span(clock.leftMs)} left` : `over by ${span(-clock.leftMs)}`;
  const text = clock.standing === "running" || clock.standing === "breached" ? left : `${span(clock.targetMs)} promised`;
  return { kind: CLOCKS[clock.standing] ?? "unknown", word: clock.standing, text: `${labelOf(clock.name)}: ${text}` };
}

/** Whether a move waits a moment before it is sent, so that it can be taken back: never with money. */
export function canBeUndone(move) {
  return !move.sends && !move.approvals;
}

/** What a button of a move says: the deed, and that others decide where they do. */
export function deedOf(move) {
  const deed = labelOf(move.name);
  return move.approvals ? `Ask to ${deed.toLowerCase()}` : deed;
}

/** The moves that are possible for every one of these records, and need nothing typed. */
export function sharedMoves(kind, records) {
  if (!records.length) return [];
  const bare = kind.moves.filter((move) => canBeUndone(move) && !move.needs.length);
  return bare.filter(({ name }) => records.every(({ moves }) => moves.includes(name)));
}

/** One step of a history in words. */
export function stepText(entry) {
  const changes = Object.entries(entry.changes).filter(([, value]) => value !== null).map(([name, value]) => `${labelOf(name)}: ${plainText(value)}`);
  const who = entry.actor || entry.origin;
  return { head: `${labelOf(entry.move)} → ${entry.state}`, who, changes };
}

/** What differs between what somebody wanted and what is there now: [{label, mine, theirs}]. */
export function differences(kind, wanted, record) {
  return kind.fields.filter(({ name }) => name in wanted).map((field) => ({
    label: labelOf(field.name), mine: plainText(wanted[field.name]), theirs: valueText(field, record),
  }));
}

/** The filters of an address that a kind knows; others are nothing. */
export function filtersOf(kind, query) {
  const searched = kind.fields.filter(({ searched }) => searched);
  const found = query.state && kind.states.includes(query.state) ? { state: query.state } : {};
  for (const field of searched) {
    if (!query[field.name]) continue;
    const { value, problem } = readValue(field, query[field.name]);
    if (!problem && value !== null) found[field.name] = value;
  }
  return { ...found, ...(query.archived === "yes" ? { archived: true } : {}) };
}

/** Heads and cells of an export, in the order of the declaration. */
export function csvOf(kind, records) {
  const heads = ["id", "state", "created", "changed", ...kind.fields.map(({ name }) => name)];
  const cells = records.map((one) => [one.id, one.state, one.created, one.changed,
    ...kind.fields.map((field) => { const text = valueText(field, one); return text === "–" ? "" : text; })]);
  return { heads, cells };
}

const VIEWS_MAX = 20;

/** Saved views as they lie in the browser: what is no such list is none. */
export function readViews(text) {
  try {
    const found = JSON.parse(text ?? "[]");
    return Array.isArray(found) ? found.filter((one) => typeof one?.name === "string" && typeof one.query === "object" && one.query).slice(0, VIEWS_MAX) : [];
  } catch {
    return [];
  }
}

/** The views with one more, or with another meaning of a name; the oldest goes when there are too many. */
export function withView(views, name, query) {
  const plain = Object.fromEntries(Object.entries(query).filter(([, value]) => value));
  return [...views.filter((one) => one.name !== name.trim()), { name: name.trim(), query: plain }].slice(-VIEWS_MAX);
}

/** Whether two addresses filter alike. */
export function isSameQuery(one, other) {
  const words = (query) => JSON.stringify(Object.entries(query).filter(([, value]) => value).sort());
  return words(one) === words(other);
}
