// Where a node asks who is there: a token is pasted, kept for this tab, and sent with each call.

import { html, useEffect, useState } from "./vendor/preact.js";
import { Command } from "./parts.js";
import { Dialog } from "./keys.js";
import { call, onToken, sessionToken, setSessionToken, wantsToken } from "./rpc.js";

/** Whether there is a token and whether one is wanted; drawn again when that changes. */
export function useSession() {
  const read = () => ({ token: sessionToken(), wanted: wantsToken() });
  const [session, setSession] = useState(read);
  useEffect(() => onToken(() => setSession(read())), []);
  return session;
}

/** The button at the top right, and the panel that opens when the node asks for a token. */
export function SignIn() {
  const { token, wanted } = useSession();
  const [asked, setAsked] = useState(false);
  const button = token
    ? html`<button type="button" onClick=${() => setSessionToken("")}>Sign out</button>`
    : html`<button type="button" class=${wanted ? "primary" : ""} onClick=${() => setAsked(true)}>Sign in</button>`;
  return html`${button}${asked ? html`<${SignInDialog} close=${() => setAsked(false)} />` : ""}`;
}

/** Stands above the page while the node refuses to answer without a token. */
export function SignInNotice() {
  const { token, wanted } = useSession();
  if (!wanted) return "";
  return html`<section class="panel wide notice"><header><h2>${token ? "This token is not accepted" : "This node asks who you are"}</h2></header>
    <p>${token ? "It may have expired or been revoked. Paste another, or ask who runs this node." : "Paste a token to see its pages."}</p>
    <${TokenForm} done=${() => {}} /></section>`;
}

function SignInDialog({ close }) {
  return html`<${Dialog} title="Sign in" close=${close}><p>A token says what you may see and do here. Who runs this node makes one:</p>
    <p><${Command} text="clawpurse token create --help" /></p><${TokenForm} done=${close} /><//>`;
}

function TokenForm({ done }) {
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
      await call("chain_getStatus");
      done();
    } catch (failure) {
      setProblem(`The node says: ${failure.reason}`);
    }
  };
  return html`<form onSubmit=${submit}><label>Token
      <input name="token" type="password" autocomplete="off" spellcheck="false" required /></label>
    <button class="primary">Sign in</button>
    <p class="muted">Kept in this tab until it is closed, and sent to this node only.</p>
    <p role="alert">${problem}</p></form>`;
}
