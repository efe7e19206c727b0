// What a subscription remembers, and what it does with each message of the node. Pure, so that
// "each event exactly once" can be tested without a socket.

/** One subscription to a topic: its cursor moves with each event and outlives connections. */
export class Stream {
  constructor(topic, filter, cursor, { onEvent, onLagged }) {
    this.topic = topic;
    this.filter = filter ?? null;
    this.cursor = cursor ?? null;
    this.serverId = null;
    this.onEvent = onEvent;
    this.onLagged = onLagged;
  }

  /** Parameters of sub_subscribe: from the last event that was seen, if the topic has cursors. */
  request() {
    const params = { topic: this.topic };
    if (this.filter) params.filter = this.filter;
    if (this.cursor !== null) params.fromCursor = this.cursor;
    return params;
  }

  /** Take in sub_event. */
  event({ cursor, data, final }) {
    if (cursor !== null && this.cursor !== null && !isAfter(cursor, this.cursor)) return;
    if (cursor !== null) this.cursor = cursor;
    this.onEvent(data, { cursor, final });
  }

  /** Take in sub_lagged; true when the subscription is over and has to be made again. */
  lagged({ cursor, lost }) {
    if (cursor !== null) {
      this.cursor = cursor;
      return true;
    }
    this.onLagged?.(lost);
    return false;
  }

  /** Take in sub_ended, or a refusal to subscribe. What was pruned is lost, and that is said. */
  ended({ error }) {
    if (error?.code === PRUNED_CODE) {
      this.cursor = null;
      this.onLagged?.(null);
    }
  }
}

const PRUNED_CODE = -32002;

/** Whether a cursor `height.index` is beyond another; heights may be larger than floats hold. */
export function isAfter(cursor, other) {
  const [height, index] = cursor.split(".").map(BigInt);
  const [otherHeight, otherIndex] = other.split(".").map(BigInt);
  return height > otherHeight || (height === otherHeight && index > otherIndex);
}

/** Wait before the next attempt: half a second, doubled, at most five, spread by a third. */
export function backoffMs(attempt, random) {
  return Math.min(5_000, 500 * 2 ** attempt) * (1 - random / 3);
}

/** What the connection is called: closed is reconnecting until that has lasted, then stale. */
export function connectionState(isOpen, silentMs) {
  if (silentMs > STALE_AFTER_MS) return "stale";
  return isOpen ? "live" : "reconnecting";
}

export const STALE_AFTER_MS = 6_000;
