// Signing in at another address: this page sends the browser to the sign-in service with a challenge
// and takes the code that it comes back with (RFC 6749 §4.1, RFC 7636). The verifier never leaves this
// tab but to the server of this page, so a code that somebody else sees is worth nothing to them.

import { callOpenly } from "./rpc.js";
import { begin, end } from "./session.js";

const GONE_KEY = "clawpurse.gone";
const RANDOM_BYTES = 32;
const CODE = /^#code=([\w.~-]{8,512})&state=([\w-]{43})$/;

/** Bytes in base64url, without padding. */
function base64url(bytes) {
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** Where people sign in, as this page's server says; empty where a token is pasted. */
export async function signInAddress() {
  try {
    const { signIn } = await (await fetch("/sign-in.json", { credentials: "omit" })).json();
    return /^https?:\/\/[^/]+$/.test(signIn) ? signIn : "";
  } catch {
    return "";
  }
}

/** Leave for the sign-in service at `address`, and remember what to come back to. */
export async function goAndSignIn(address) {
  const verifier = base64url(crypto.getRandomValues(new Uint8Array(RANDOM_BYTES)));
  const state = base64url(crypto.getRandomValues(new Uint8Array(RANDOM_BYTES)));
  const hashed = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier));
  sessionStorage.setItem(GONE_KEY, JSON.stringify({ verifier, state, place: location.hash }));
  const asked = new URLSearchParams({ site: location.origin, challenge: base64url(new Uint8Array(hashed)), state });
  location.assign(`${address}/#${asked}`);
}

/** Take the code that the browser came back with, if it did. The address is as before at once. */
export async function arrive() {
  const found = CODE.exec(location.hash);
  if (!found) return;
  const gone = JSON.parse(sessionStorage.getItem(GONE_KEY) ?? "null");
  sessionStorage.removeItem(GONE_KEY);
  history.replaceState(null, "", gone?.place || "#/");
  const [, code, state] = found;
  if (gone?.state !== state) {
    // Somebody else's code: whoever follows such a link would work in a stranger's name.
    end("This tab did not ask to be signed in, so it was not. Sign in again.");
    return;
  }
  try {
    begin(await callOpenly("auth_redeemCode", { code, site: location.origin, verifier: gone.verifier }));
  } catch (failure) {
    end(`You were not signed in: ${failure.reason}.`);
  }
}
