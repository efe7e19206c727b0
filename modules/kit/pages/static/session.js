// One session of one tab: its tokens, renewed before they end, and given up together. Both lie in
// sessionStorage, which ends with the tab. A refresh token works once: whoever shows an old one ends
// the session, so only one renewal is ever under way.

import { UNAUTHENTICATED, call, callOpenly, sessionToken, setSessionToken } from "./rpc.js";

const REFRESH_KEY = "clawpurse.refresh";
const EXPIRES_KEY = "clawpurse.expires";
const BEFORE_MS = 60_000;
const LOOK_MS = 10_000;

const listeners = new Set();
let renewal = null;
let farewell = "";

/** Hear of sign-ins and their ends. Returns what stops it. */
export function onSession(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function tell() {
  for (const listener of listeners) listener();
}

/** Whether somebody is signed in here. */
export function isSignedIn() {
  return Boolean(sessionToken());
}

/** Why the last session ended, if it was not by its owner. */
export function farewellText() {
  return farewell;
}

/** Take over what a sign-in or a renewal answered. */
export function begin({ accessToken, refreshToken, expires }) {
  sessionStorage.setItem(REFRESH_KEY, refreshToken);
  sessionStorage.setItem(EXPIRES_KEY, expires);
  farewell = "";
  setSessionToken(accessToken);
  tell();
}

/** Take over a token that says more of the same session. */
export function raise({ accessToken, expires }) {
  sessionStorage.setItem(EXPIRES_KEY, expires);
  setSessionToken(accessToken);
}

/** Forget the session, and say why if it was not wished for. */
export function end(reason = "") {
  farewell = reason;
  sessionStorage.removeItem(REFRESH_KEY);
  sessionStorage.removeItem(EXPIRES_KEY);
  setSessionToken("");
  tell();
}

/** End the session at the service, and here in any case; a pasted token is only forgotten. */
export async function leave() {
  const refreshToken = sessionStorage.getItem(REFRESH_KEY);
  end();
  if (!refreshToken) return;
  try {
    await callOpenly("auth_revokeToken", { refreshToken });
  } catch (failure) {
    end(`Signed out here; the sign-in service did not hear of it: ${failure.reason}.`);
  }
}

function renew() {
  renewal ??= (async () => {
    try {
      // Without the old token: one that is over would have the call refused.
      const made = await callOpenly("auth_refresh", { refreshToken: sessionStorage.getItem(REFRESH_KEY) ?? "" });
      sessionStorage.setItem(REFRESH_KEY, made.refreshToken);
      raise(made);
      return true;
    } catch (failure) {
      if (failure.code !== UNAUTHENTICATED) throw failure; // Nobody answered: the session may well live.
      end("Your session is over. It may have ended after its time, or somewhere else.");
      return false;
    } finally {
      renewal = null;
    }
  })();
  return renewal;
}

/** Call as who is signed in: a token that is over is renewed once. Rejects with RpcFailure. */
export async function ask(method, params = {}) {
  if (renewal) await renewal;
  try {
    return await call(method, params);
  } catch (failure) {
    if (failure.code !== UNAUTHENTICATED || !isSignedIn() || !(await renew())) throw failure;
    return call(method, params);
  }
}

/** Renew before the token ends, as long as the page is open; a pasted token has nothing to renew. */
export function keepFresh() {
  const look = () => {
    const ends = Date.parse(sessionStorage.getItem(EXPIRES_KEY) ?? "");
    if (isSignedIn() && !renewal && ends - Date.now() < BEFORE_MS) renew().catch(() => {}); // Tried again soon.
  };
  look();
  setInterval(look, LOOK_MS);
}

/** Call with a proof in it. A wrong one is refused with the same code as a token that is over, so it is
 * never tried twice: what is about to end is renewed before. */
export async function prove(method, params) {
  const ends = Date.parse(sessionStorage.getItem(EXPIRES_KEY) ?? "");
  if (ends - Date.now() < LOOK_MS) await renew();
  return call(method, params);
}
