// The final log read backwards: events_get reads forwards from a cursor, so a page asks for
// windows of heights, newest first. Pure but for the `call` it is given.

const LAST_INDEX = 4_294_967_295;
// The node looks through so many blocks a call.
const WINDOW = 64;
// One press of a button looks back over at most so many windows: half an hour of idle blocks.
const WINDOWS_MAX = 8;
const EVENTS_MAX = 200;

/** The newest events of a topic at or below a height, newest first.
 *
 * {events, before}: `before` is the height to go on from, 0 when the log has been read to its
 * beginning (or to what this node keeps: then `floor` is the first height that it has). */
export async function readBack(call, topic, filter, top, wanted) {
  let found = [];
  let height = top;
  for (let windows = 0; height > 0 && found.length < wanted && windows < WINDOWS_MAX; windows += 1) {
    const first = Math.max(1, height - WINDOW + 1);
    let part;
    try {
      part = await readWindow(call, topic, filter, first, height);
    } catch (error) {
      if (error.code !== PRUNED || !found.length && windows === 0) throw error;
      return { events: found, before: 0, floor: height + 1 };
    }
    found = found.concat(part.reverse());
    height = first - 1;
  }
  if (found.length <= wanted) return { events: found, before: height };
  // Whole blocks only: the next page begins below the last one that is shown.
  const last = heightOf(found[wanted - 1]);
  return { events: found.filter((event) => heightOf(event) >= last), before: last - 1 };
}

const PRUNED = -32002;

async function readWindow(call, topic, filter, first, last) {
  const found = [];
  let cursor = `${first - 1}.${LAST_INDEX}`;
  for (;;) {
    const answer = await call("events_get", { topic, filter, fromCursor: cursor, limit: EVENTS_MAX, waitMs: 0 });
    const inside = answer.events.filter((event) => heightOf(event) <= last);
    found.push(...inside);
    const [height] = answer.nextCursor.split(".").map(Number);
    if (inside.length < answer.events.length || height >= last || answer.nextCursor === cursor) return found;
    cursor = answer.nextCursor;
  }
}

/** Rows with a height, newest first, as many as fit, and where the next page begins: {rows, older}.
 *
 * Without a cut that is `before`. With one it is the height of the last row that fits, of which some
 * may come again: better twice than not at all. */
export function fitted(rows, most, before) {
  if (rows.length <= most) return { rows, older: before };
  const shown = rows.slice(0, most);
  const last = shown.at(-1).height;
  return { rows: shown, older: last < shown[0].height ? last : last - 1 };
}

/** The height of an event's cursor. */
export function heightOf({ cursor }) {
  return Number(cursor.split(".")[0]);
}
