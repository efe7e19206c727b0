// Where a node asks who is there: at the sign-in service that its server names, or by a token that is
// pasted. Both are kept for this tab, and sent with each call.

import { html, useEffect, useState } from "./vendor/preact.js";
import { Command } from "./parts.js";
import { Dialog } from "./keys.js";
import { goAndSignIn, signInAddress } from "./arriving.js";
import { call, onToken, sessionToken, setSessionToken, wantsToken } from "./rpc.js";
import { farewellText, leave, onSession } from "./session.js";

const NODE = { command: "clawpurse token create --help", probe: "chain_getStatus" };

/** Whether there is a token and whether one is wanted; drawn again when that changes. */
export function useSession() {
  const read = () => ({ token: sessionToken(), wanted: wantsToken(), farewell: farewellText() });
  const [session, setSession] = useState(read);
  useEffect(() => {
    const renewed = () => setSession(read());
    const stops = [onToken(renewed), onSession(renewed)];
    return () => stops.forEach((stop) => stop());
  }, []);
  return session;
}

/** The button at the top right, and the panel that opens when the node asks for a token. */
export function SignIn() {
  const { token, wanted } = useSession();
  const [asked, setAsked] = useState(false);
  const button = token
    ? html`<button type="button" onClick=${leave}>Sign out</button>`
    : html`<button type="button" class=${wanted ? "primary" : ""} onClick=${() => setAsked(true)}>Sign in</button>`;
  return html`${button}${asked && !token ? html`<${SignInDialog} close=${() => setAsked(false)} />` : ""}`;
}

/** Stands above the page while the node refuses to answer without a token, or a session ended. */
export function SignInNotice() {
  const { token, wanted, farewell } = useSession();
  if (!wanted) return farewell ? html`<section class="panel wide notice" role="status"><p>${farewell}</p></section>` : "";
  return html`<section class="panel wide notice"><header><h2>${token ? "This token is not accepted" : "This node asks who you are"}</h2></header>
    <p>${farewell || (token ? "It may have expired or been revoked." : "Sign in to see its pages.")}</p>
    <${WaysIn} done=${() => {}} ...${NODE} /></section>`;
}

function SignInDialog({ close }) {
  return html`<${Dialog} title="Sign in" close=${close}><${WaysIn} done=${close} ...${NODE} /><//>`;
}

/** The ways in that this page's server has. `command` makes a token, which the method `probe` tries;
 * `done()` is called with one that works. */
export function WaysIn({ done, command, probe }) {
  const [address, setAddress] = useState(null);
  const [problem, setProblem] = useState("");
  useEffect(() => { signInAddress().then(setAddress); }, []);
  if (address === null) return html`<p class="muted">…</p>`;
  const paste = html`<p>A token says what you may see and do here. Who runs this makes one:</p>
    <p><${Command} text=${command} /></p><${TokenForm} done=${done} probe=${probe} />`;
  if (!address) return paste;
  const away = () => goAndSignIn(address).catch((error) => setProblem(`The browser says: ${error.message}`));
  return html`<p>People sign in at <span class="ident">${address}</span>, and come back here.</p>
    <p><button type="button" class="primary" onClick=${away}>Sign in there</button></p><p role="alert">${problem}</p>
    <details><summary>Or paste a token</summary>${paste}</details>`;
}

function TokenForm({ done, probe }) {
  const [problem, setProblem] = useState("");
  const submit = async (event) => {
    event.preventDefault();
    const token = new FormData(event.currentTarget).get("token").trim();
    // What no header can carry is no token, and fetch would throw over it.
    if (!/^[\x21-\x7e]{16,4096}$/.test(token)) {
      setProblem("That is no token: it has 16 or more characters and no spaces.");
      return;
    }
    setSessionToken(token);
    try {
      await call(probe);
      done();
    } catch (failure) {
      setProblem(`The server says: ${failure.reason}`);
    }
  };
  return html`<form onSubmit=${submit}><label>Token
      <input name="token" type="password" autocomplete="off" spellcheck="false" required /></label>
    <button class="primary">Sign in</button>
    <p class="muted">Kept in this tab until it is closed, and sent to this server only.</p>
    <p role="alert">${problem}</p></form>`;
}
