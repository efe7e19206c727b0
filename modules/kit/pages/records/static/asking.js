// How these pages ask for a change: one request under one key, said to be done when it is, taken
// back within five seconds where nothing leaves the service, and shown beside what others made.

import { reasonOf } from "/assets/kit/answers.js";
import { Badge } from "/assets/kit/parts.js";
import { call } from "/assets/kit/rpc.js";
import { html, useEffect, useRef, useState } from "/assets/kit/vendor/preact.js";

const UNDO_MS = 5_000;
const KEY_BYTES = 16;
export const CONFLICT = -32032;

/** A key of this page's making: a request that is repeated is the same request. */
export function requestKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(KEY_BYTES));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Why something was not answered, and what helps. */
export function Failure({ error, lead = "" }) {
  return html`<p role="alert"><${Badge} kind="failed" text="refused" /> ${lead}${reasonOf(error, "The service does not answer. → clawpurse module list")}</p>`;
}

/** A change that is asked for: {ask, undo, waiting, busy, error}.
 *
 * `ask(method, params, {delayed, label, keyed})` sends it, after a moment if `delayed`, under a key of
 * its own unless `keyed` is false; `done(answer)` is called with what came of it, `failed(error, params)`
 * may take an error over by returning true. */
export function useAsking({ done, failed }) {
  const [state, setState] = useState({ waiting: null, busy: false, error: null });
  const timer = useRef(null);
  useEffect(() => () => clearTimeout(timer.current), []);
  const send = async (method, params) => {
    setState({ waiting: null, busy: true, error: null });
    try {
      const answer = await call(method, params);
      setState({ waiting: null, busy: false, error: null });
      done(answer);
    } catch (error) {
      setState({ waiting: null, busy: false, error: failed?.(error, params) ? null : error });
    }
  };
  const ask = (method, params, { delayed = false, label = "", keyed = true } = {}) => {
    const sent = keyed ? { ...params, idempotencyKey: requestKey() } : params;
    clearTimeout(timer.current);
    if (!delayed) {
      send(method, sent);
      return;
    }
    setState({ waiting: { label }, busy: true, error: null });
    timer.current = setTimeout(() => send(method, sent), UNDO_MS);
  };
  const undo = () => {
    clearTimeout(timer.current);
    setState({ waiting: null, busy: false, error: null });
  };
  return { ...state, ask, undo };
}

/** What is about to be sent, while it can be taken back. */
export function Undo({ asking }) {
  if (!asking.waiting) return "";
  return html`<p role="status" class="notice">${asking.waiting.label} in a moment. <button type="button" onClick=${asking.undo}>Undo</button></p>`;
}
