// One WebSocket for the whole page: events resume by cursor after a drop, and a pulse every
// second brings the sentence and shows that the node still answers.

import { useCallback, useEffect, useRef, useState } from "./vendor/preact.js";
import {
  FORBIDDEN, UNAUTHENTICATED, call, failureOf, nextRequestId, noteFailure, onToken, sessionToken,
} from "./rpc.js";
import { Stream, backoffMs, connectionState } from "./streams.js";

// An authority that died shows within 5 s: 3 s until its node calls it silent, a pulse, a paint.
const PULSE_MS = 1_000;
// No answer to six pulses: half-open, whatever the browser thinks.
const SILENCE_MAX_MS = 7_000;
// Two paints a second are as much as anybody reads.
const PAINT_MS = 500;
// Panels that follow blocks ask at most so often, however fast blocks come.
const FOLLOW_MS = 1_000;
const BLOCKS_KEPT = 100;
const ASK_TIMEOUT_MS = 10_000;

// -- signals: values with listeners, painted together at most twice a second

const dirty = new Set();
let atPaint = [];
let paintedAt = 0;
let paintTimer = null;

/** A value that components follow. `set` takes a value or a function of the old one. */
export class Signal {
  constructor(value) {
    this.value = value;
    this.listeners = new Set();
  }

  set(next) {
    this.value = typeof next === "function" ? next(this.value) : next;
    dirty.add(this);
    schedulePaint();
  }
}

function schedulePaint() {
  if (paintTimer === null) {
    paintTimer = setTimeout(paint, Math.max(0, paintedAt + PAINT_MS - performance.now()));
  }
}

/** Do something together with the next paint: what is renewed need not be drawn at once. */
function withNextPaint(deed) {
  atPaint.push(deed);
  schedulePaint();
}

function paint() {
  paintTimer = null;
  paintedAt = performance.now();
  const signals = [...dirty];
  dirty.clear();
  const deeds = atPaint;
  atPaint = [];
  for (const signal of signals) for (const listener of signal.listeners) listener(signal.value);
  for (const deed of deeds) deed();
}

/** The present value of a signal; the component is drawn again when it changes, unless paused. */
export function useSignal(signal) {
  const [value, setValue] = useState(signal.value);
  useEffect(() => {
    const listener = (next) => { if (!paused.value || signal === paused) setValue(() => next); };
    listener(signal.value);
    signal.listeners.add(listener);
    const resume = () => setValue(() => signal.value);
    resumed.add(resume);
    return () => {
      signal.listeners.delete(listener);
      resumed.delete(resume);
    };
  }, [signal]);
  return value;
}

/** While true nothing on the page moves; events go on being kept. */
export const paused = new Signal(false);
const resumed = new Set();

/** Hold the page still, or let it go on with what came in between. */
export function setPaused(is) {
  paused.set(is);
  if (!is) for (const resume of resumed) resume();
}

/** A value that changes each second, for ages; nobody needs them finer. */
export const second = new Signal(Date.now());

// -- the socket

/** {state: "live"|"reconnecting"|"stale"|"connecting", ageMs, heardAt}. */
export const connection = new Signal({ state: "connecting", ageMs: 0, heardAt: Date.now() });
/** The newest answer of consensus_explain, or null. */
export const explanation = new Signal(null);
/** Why there is no explanation, if it was refused. */
export const explanationFailure = new Signal(null);

const streams = new Set();
const pending = new Map();
let socket = null;
let heardAt = Date.now();
let attempt = 0;
let started = false;
let retryTimer = null;

/** Connect, and stay connected. Called once, by the shell. */
export function startLive() {
  if (started) return;
  started = true;
  connect();
  setInterval(watch, 500);
  setInterval(() => { if (!document.hidden) second.set(Date.now()); }, 1_000);
  setInterval(pulse, PULSE_MS);
  // With another token it is another person: begin anew.
  onToken(() => { if (socket !== null) reconnectNow(); });
  addEventListener("online", reconnectNow);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) pulse(); });
}

function reconnectNow() {
  attempt = 0;
  const old = socket;
  socket = null;
  old?.close();
  connect();
}

function connect() {
  clearTimeout(retryTimer);
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  // Browsers cannot set a header here; a subprotocol is offered only with a token.
  const protocols = sessionToken() ? ["clawpurse.v1", `bearer.${sessionToken()}`] : [];
  const mine = new WebSocket(`${scheme}//${location.host}/ws`, protocols);
  socket = mine;
  mine.onopen = () => {
    if (socket !== mine) return;
    attempt = 0;
    heardAt = Date.now();
    for (const stream of streams) openStream(stream);
    pulse();
    watch();
  };
  mine.onmessage = ({ data }) => { if (socket === mine) receive(JSON.parse(data)); };
  mine.onclose = () => { if (socket === mine) lost(); };
}

function lost() {
  socket = null;
  for (const stream of streams) stream.serverId = null;
  for (const { reject } of pending.values()) reject(failureOf({ message: "the connection ended" }, ""));
  pending.clear();
  watch();
  retryTimer = setTimeout(connect, backoffMs(attempt, Math.random()));
  attempt += 1;
}

function isOpen() {
  return socket !== null && socket.readyState === WebSocket.OPEN;
}

/** Call over the socket: for what only it can do, the pulse, and what is asked again and again. */
function askOverSocket(method, params) {
  return new Promise((resolve, reject) => {
    const id = nextRequestId();
    pending.set(id, { resolve, reject, askedAt: Date.now() });
    socket.send(JSON.stringify({ jsonrpc: "2.0", id, method, params }));
  });
}

/** Nobody waits for ever: what was not answered within ten seconds has failed. */
function expireCalls() {
  for (const [id, { reject, askedAt }] of pending) {
    if (Date.now() - askedAt < ASK_TIMEOUT_MS) break;
    pending.delete(id);
    reject(failureOf({ message: "the node did not answer within 10 s" }, id));
  }
}

function receive(message) {
  heardAt = Date.now();
  if (message.method) {
    notified(message.method, message.params);
    return;
  }
  const waiter = pending.get(message.id);
  pending.delete(message.id);
  if (message.error) {
    const failure = failureOf(message.error, message.id);
    noteFailure(failure);
    waiter?.reject(failure);
  } else {
    waiter?.resolve(message.result);
  }
}

function notified(method, params) {
  const stream = [...streams].find((one) => one.serverId === params.id);
  if (!stream) return;
  if (method === "sub_event") stream.event(params);
  if (method === "sub_lagged" && stream.lagged(params)) openStream(stream);
  if (method === "sub_ended") {
    stream.ended(params);
    stream.serverId = null;
    // The node ends what it cannot serve; asking at once would be asking in a circle.
    setTimeout(() => { if (isOpen() && streams.has(stream)) openStream(stream); }, PULSE_MS);
  }
}

async function openStream(stream) {
  const mine = socket;
  try {
    const id = await askOverSocket("sub_subscribe", stream.request());
    if (streams.has(stream) && socket === mine) stream.serverId = id;
    else if (socket === mine) closeStream(id);
  } catch (failure) {
    stream.ended({ error: failure });
    stream.onFailure?.(failure);
  }
}

function closeStream(id) {
  if (isOpen()) askOverSocket("sub_unsubscribe", { id }).catch(ignoreEnd);
}

// The subscription ends with its connection anyway.
function ignoreEnd() {}

async function pulse() {
  if (!isOpen() || document.hidden) return;
  try {
    const found = await askOverSocket("consensus_explain", {});
    explanation.set(found);
    if (explanationFailure.value) explanationFailure.set(null);
  } catch (failure) {
    if ([UNAUTHENTICATED, FORBIDDEN].includes(failure.code)) explanationFailure.set(failure);
  }
}

function watch() {
  // A hidden tab is throttled by its browser: its silence says nothing.
  if (document.hidden) heardAt = Math.max(heardAt, Date.now() - PULSE_MS);
  expireCalls();
  const ageMs = Date.now() - heardAt;
  if (isOpen() && ageMs > SILENCE_MAX_MS) {
    const dead = socket;
    lost();
    dead.close();
  }
  const state = connectionState(isOpen(), ageMs);
  const before = connection.value;
  if (state !== before.state || Math.abs(ageMs - before.ageMs) >= 250) {
    connection.set({ state, ageMs, heardAt });
  }
}

/** Follow a topic until the returned function is called. Resumes by cursor on its own.
 *
 * onEvent(data, {cursor, final}); onLagged(lost): so many events of a local topic are gone, or
 * null: everything before now was pruned; onFailure(RpcFailure): it is not to be had. */
export function subscribe(topic, filter, { fromCursor = null, onEvent, onLagged, onFailure }) {
  const stream = new Stream(topic, filter, fromCursor, { onEvent, onLagged });
  stream.onFailure = onFailure;
  streams.add(stream);
  if (isOpen()) openStream(stream);
  return () => {
    streams.delete(stream);
    if (stream.serverId !== null) closeStream(stream.serverId);
  };
}

// -- hooks

/** Final blocks as they come, newest first, at most 100; shared by all who ask. */
export const blocks = new Signal([]);
let following = false;

/** Begin to follow blocks; the shell does, once. */
export function followBlocks() {
  if (following) return;
  following = true;
  subscribe("blocks", null, {
    onEvent: (block) => blocks.set((known) => [block, ...known].slice(0, BLOCKS_KEPT)),
  });
}

/** The blocks that came since the page was opened, newest first. */
export function useBlocks() {
  return useSignal(blocks);
}

/** The last `keep` events of a topic, newest first, since the component is there. */
export function useTopic(topic, filter, keep = 50) {
  const signal = useRef(null);
  signal.current ??= new Signal({ events: [], lost: 0, failure: null });
  const key = JSON.stringify([topic, filter ?? null]);
  useEffect(() => subscribe(topic, filter, {
    onEvent: (data, place) => signal.current.set((old) => ({
      ...old, events: [{ ...place, data }, ...old.events].slice(0, keep),
    })),
    onLagged: (lost) => signal.current.set((old) => ({ ...old, lost: old.lost + (lost ?? 1) })),
    onFailure: (failure) => signal.current.set((old) => ({ ...old, failure })),
  }), [key, keep]);
  return useSignal(signal.current);
}

const nothingIn = (data) => data === null || data === undefined || (Array.isArray(data) && !data.length);

/** Call a method and keep its answer fresh.
 *
 * refresh: "block" (with each final block), a number of ms, or null (once). empty(data) tells
 * what counts as nothing. Returns {state, data, error, retry, ageMs, method, params}; state is
 * loading, ready, empty, error, forbidden or stale (there is data, but no news of it). */
export function useCall(method, params = {}, { refresh = null, empty = nothingIn, when = true } = {}) {
  const key = JSON.stringify([method, params]);
  const [found, setFound] = useState({ key: null });
  const running = useRef({ key: null, again: false });
  const fresh = useRef(null);

  const load = useCallback(async () => {
    const mine = running.current;
    if (mine.key === key) {
      mine.again = true;
      return;
    }
    running.current = { key, again: false };
    const asked = running.current;
    let next;
    const isKnown = fresh.current === key;
    try {
      // The first answer comes with those of the other panels; what is renewed needs no request.
      const data = await (isKnown && isOpen() ? askOverSocket : call)(method, params);
      fresh.current = key;
      next = { key, data, at: Date.now(), error: null };
    } catch (error) {
      fresh.current = null;
      next = { key, error };
    }
    if (running.current !== asked) return;
    running.current = { key: null, again: false };
    if (!paused.value || next.error) {
      const show = () => setFound((old) => (next.error && old.key === key ? { ...old, error: next.error } : next));
      if (isKnown) withNextPaint(show);
      else show();
    }
    if (asked.again) setTimeout(load, FOLLOW_MS);
  }, [key]);

  useEffect(() => {
    if (!when) return undefined;
    load();
    const stops = [onToken(load), onRecovery(load)];
    if (refresh === "block") stops.push(afterBlocks(load));
    if (typeof refresh === "number") {
      const timer = setInterval(() => { if (!document.hidden && !paused.value) load(); }, refresh);
      stops.push(() => clearInterval(timer));
    }
    return () => {
      running.current = { key: null, again: false };
      for (const stop of stops) stop();
    };
  }, [load, refresh, when]);

  const { state: link } = useSignal(connection);
  const mine = found.key === key ? found : { key };
  const state = stateOf(mine, link, refresh, empty);
  const ageMs = mine.at ? Date.now() - mine.at : 0;
  return { state, data: mine.data, error: mine.error ?? null, retry: load, ageMs, method, params };
}

function stateOf({ data, at, error }, link, refresh, empty) {
  if (error && [UNAUTHENTICATED, FORBIDDEN].includes(error.code)) return "forbidden";
  if (error) return at ? "stale" : "error";
  if (!at) return "loading";
  if (refresh !== null && link === "stale") return "stale";
  return empty(data) ? "empty" : "ready";
}

/** Call back with new blocks, at once and then at most once a second. */
function afterBlocks(listener) {
  let timer = null;
  let calledAt = 0;
  const follow = () => {
    if (paused.value || timer !== null || document.hidden) return;
    timer = setTimeout(() => {
      timer = null;
      calledAt = Date.now();
      listener();
    }, Math.max(0, calledAt + FOLLOW_MS - Date.now()));
  };
  blocks.listeners.add(follow);
  return () => {
    blocks.listeners.delete(follow);
    clearTimeout(timer);
  };
}

/** Call back when the connection is live again after it was not. */
function onRecovery(listener) {
  let wasLive = connection.value.state === "live" || connection.value.state === "connecting";
  const follow = ({ state }) => {
    const isLive = state === "live";
    if (isLive && !wasLive) listener();
    wasLive = isLive;
  };
  connection.listeners.add(follow);
  return () => connection.listeners.delete(follow);
}
