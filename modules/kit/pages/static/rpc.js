// JSON-RPC by POST. Calls of one tick leave as one batch: a page of ten panels asks once.

const CALL_TIMEOUT_MS = 10_000;
// The node takes 100 calls a batch.
const BATCH_MAX = 100;
const TOKEN_KEY = "clawpurse.token";

export const UNAUTHENTICATED = -32006;
export const FORBIDDEN = -32007;
export const METHOD_NOT_FOUND = -32601;
export const METHOD_DISABLED = -32009;
export const NOT_FOUND = -32001;
export const UNREACHABLE = 0;

/** Why a call did not give a result. `code` 0: no answer came at all. */
export class RpcFailure extends Error {
  constructor({ code, reason, hint = "", data = {}, requestId = "" }) {
    super(reason);
    this.name = "RpcFailure";
    this.code = code;
    this.reason = reason;
    this.hint = hint;
    this.data = data;
    this.requestId = requestId;
  }
}

/** An error object of the node as a failure. */
export function failureOf(error, requestId) {
  const data = error?.data ?? {};
  return new RpcFailure({
    code: error?.code ?? UNREACHABLE,
    reason: data.reason || error?.message || "no reason was given",
    hint: data.hint ?? "",
    data,
    requestId: data.incident ? `incident ${data.incident}` : requestId,
  });
}

// -- who is asking

const tokenListeners = new Set();
let gateWasShut = false;

/** The token of this tab; sessionStorage ends with it. */
export function sessionToken() {
  return globalThis.sessionStorage?.getItem(TOKEN_KEY) ?? "";
}

/** Keep a token for this tab, or with an empty one forget it; everybody asks anew. */
export function setSessionToken(token) {
  if (token) sessionStorage.setItem(TOKEN_KEY, token);
  else sessionStorage.removeItem(TOKEN_KEY);
  gateWasShut = false;
  for (const listener of tokenListeners) listener();
}

/** Hear of tokens that come and go, and of a node that asks for one. Returns what stops it. */
export function onToken(listener) {
  tokenListeners.add(listener);
  return () => tokenListeners.delete(listener);
}

/** Whether the node refused a call for want of a token, or with one that it does not know. */
export function wantsToken() {
  return gateWasShut;
}

/** Note a refusal that a token would mend. */
export function noteFailure(failure) {
  if (failure.code !== UNAUTHENTICATED || gateWasShut) return;
  gateWasShut = true;
  for (const listener of tokenListeners) listener();
}

// -- calls

const session = Math.random().toString(36).slice(2, 8);
let counter = 0;
let waiting = [];

/** An id that is found again in what this page shows. */
export function nextRequestId() {
  counter += 1;
  return `${session}-${counter}`;
}

/** Call a method. Resolves to its result; rejects with RpcFailure, after 10 s at the latest. */
export function call(method, params = {}) {
  return new Promise((resolve, reject) => {
    if (!waiting.length) setTimeout(flushCalls, 0);
    waiting.push({ id: nextRequestId(), method, params, resolve, reject });
  });
}

/** As `call`, without a token and by itself: for what strangers may ask, such as signing in. */
export function callOpenly(method, params = {}) {
  return new Promise((resolve, reject) => {
    send([{ id: nextRequestId(), method, params, resolve, reject }], "");
  });
}

function flushCalls() {
  const calls = waiting;
  waiting = [];
  for (let at = 0; at < calls.length; at += BATCH_MAX) send(calls.slice(at, at + BATCH_MAX));
}

async function send(calls, token = sessionToken()) {
  const failAll = (failure) => {
    noteFailure(failure);
    for (const one of calls) one.reject(failure);
  };
  const messages = calls.map(({ id, method, params }) => ({ jsonrpc: "2.0", id, method, params }));
  let answers;
  try {
    answers = await post(messages.length === 1 ? messages[0] : messages, token);
  } catch (error) {
    const timedOut = error.name === "TimeoutError";
    failAll(new RpcFailure({
      code: UNREACHABLE,
      reason: timedOut ? "the node did not answer within 10 s" : "the node cannot be reached",
      hint: timedOut ? "it may be busy; try again" : "see whether it runs: clawpurse status",
      requestId: calls[0].id,
    }));
    return;
  }
  const byId = new Map((Array.isArray(answers) ? answers : [answers]).map((one) => [one.id, one]));
  // A refusal of the whole request carries no id.
  const whole = byId.get(null);
  for (const one of calls) settle(one, byId.get(one.id) ?? whole);
}

async function post(body, token) {
  const headers = { "Content-Type": "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  const response = await fetch("/", {
    method: "POST", headers, body: JSON.stringify(body), credentials: "omit",
    signal: AbortSignal.timeout(CALL_TIMEOUT_MS),
  });
  return response.json();
}

function settle({ id, method, resolve, reject }, answer) {
  if (answer && "result" in answer) {
    resolve(answer.result);
    return;
  }
  const failure = failureOf(answer?.error ?? { message: `no answer to ${method}` }, id);
  noteFailure(failure);
  reject(failure);
}
