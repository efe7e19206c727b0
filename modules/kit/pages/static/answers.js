// What a page shows of a call: asked again every few seconds, and what was there stays, with the
// reason why it is not renewed. For pages of services, which follow no chain; a node's use live.js.

import { useEffect, useState } from "./vendor/preact.js";
import { UNREACHABLE, call, onToken } from "./rpc.js";

export const RENEWED_MS = 3_000;

/** Why a call gave no result, in words, and what to do. `silent`: what is said when nobody answers. */
export function reasonOf(failure, silent) {
  if (failure.code === UNREACHABLE) return silent;
  return `${failure.reason}${failure.hint ? ` → ${failure.hint}` : ""}`;
}

/** What a call answers: {data?, error?, again()}. `method` null: nothing is asked. `ask` calls. */
export function useAnswer(method, params, every = RENEWED_MS, ask = call) {
  const key = JSON.stringify([method, params]);
  const [found, setFound] = useState({ key: "" });
  const [round, setRound] = useState(0);
  useEffect(() => {
    let isOver = false;
    const load = async () => {
      let next;
      try {
        next = { key, data: await ask(method, params) };
      } catch (error) {
        next = { key, error };
      }
      if (!isOver) setFound((old) => (next.error && old.key === key && old.data ? { ...old, error: next.error } : next));
    };
    if (!method) return undefined;
    load();
    const timer = setInterval(() => { if (!document.hidden) load(); }, every);
    const stop = onToken(load);
    return () => { isOver = true; clearInterval(timer); stop(); };
  }, [key, round]);
  return { ...(found.key === key ? found : {}), again: () => setRound((count) => count + 1) };
}
