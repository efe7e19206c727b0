// The signing page: what programs ask of this wallet, one at a time, in words. It keeps a token for
// its tab and nothing else; keys stay in the service, and a passphrase goes there once.

import { reasonOf as failureText, useAnswer } from "/assets/kit/answers.js";
import { html, render, useEffect, useState } from "/assets/kit/vendor/preact.js";
import { utcText } from "/assets/kit/format.js";
import { Badge, CopyButton, Empty, Facts, Panel } from "/assets/kit/parts.js";
import { call, onToken, sessionToken, setSessionToken, wantsToken } from "/assets/kit/rpc.js";
import { askedBy, deedWords, fateWords, isOnItsWay, outlookWords, saysBadge, stateBadge } from "./words.js";

const WAIT_MS = 5_000;
const SHOWN_MAX = 100;
const CONFIRMATION_REQUIRED = -32028;

function reasonOf(failure) {
  return failureText(failure, "The wallet service does not answer. → clawpurse wallet serve");
}

function App() {
  const [place, setPlace] = useState(askedBy(location.hash));
  const [, redraw] = useState(0);
  useEffect(() => {
    const moved = () => setPlace(askedBy(location.hash));
    addEventListener("hashchange", moved);
    const stop = onToken(() => redraw((count) => count + 1));
    return () => { removeEventListener("hashchange", moved); stop(); };
  }, []);
  const page = !sessionToken() || wantsToken() ? html`<${SignIn} />`
    : place.request ? html`<${Request} key=${place.request} id=${place.request} />`
      : place.sign || place.action ? html`<${HandOver} body=${place.sign} action=${place.action} />` : html`<${Requests} />`;
  return html`<div class="shell"><header class="head"><a class="brand" href="#/">ClawPurse wallet</a>
      ${sessionToken() ? html`<button type="button" onClick=${() => setSessionToken("")}>Sign out</button>` : ""}</header>
    <main id="main" tabindex="-1">${page}</main></div>`;
}

function SignIn() {
  const [problem, setProblem] = useState(sessionToken() ? "This token is not accepted: it may have expired or been revoked." : "");
  const submit = (event) => {
    event.preventDefault();
    const token = new FormData(event.currentTarget).get("token").trim();
    if (!/^[\x21-\x7e]{16,4096}$/.test(token)) {
      setProblem("That is no token: it has 16 or more characters and no spaces.");
      return;
    }
    setSessionToken(token);
  };
  return html`<${Panel} wide level="1" title="Sign in"><p>A token says which keys and methods are yours here. On the machine of this wallet:</p>
    <p><code>clawpurse wallet token create --name me --scope 'wallet_*' --out me.token</code>
      <${CopyButton} text="clawpurse wallet token create --name me --scope 'wallet_*' --out me.token" /></p>
    <form onSubmit=${submit}><label>Token <input name="token" type="password" autocomplete="off" spellcheck="false" required /></label>
      <button class="primary">Sign in</button>
      <p class="muted">Kept in this tab until it is closed, and sent to this service only.</p>
      <p role="alert">${problem}</p></form><//>`;
}

// -- what is asked

function Requests() {
  const { data, error } = useAnswer("wallet_listRequests", { limit: SHOWN_MAX });
  if (!data) return html`<${Panel} wide level="1" title="Requests">${error ? html`<p role="alert">${reasonOf(error)}</p>` : html`<p class="muted">…</p>`}<//>`;
  const open = data.requests.filter(({ state }) => state === "open");
  const past = data.requests.filter(({ state }) => state !== "open");
  return html`<${Panel} wide level="1" title="Requests"><p class="muted">What programs ask of your keys, and nobody but a person may say yes to.</p>
      ${error ? html`<p role="alert">Not renewed. ${reasonOf(error)}</p>` : ""}
      ${open.length ? html`<${Lines} requests=${open} />` : html`<${Empty} text="Nothing waits for you." />`}<//>
    ${past.length ? html`<${Panel} wide title="Decided"><${Lines} requests=${past} /><//>` : ""}`;
}

function Lines({ requests }) {
  return html`<ul class="lines">${requests.map((one) => html`<li key=${one.id}><${Badge} ...${stateBadge(one)} />
    <a class="what" href=${`#request=${one.id}`}>${one.key}: ${one.reason || one.asked[0] || "a transaction"}</a>
    <span class="muted">${one.origin}</span></li>`)}</ul>`;
}

// -- one of them

function Request({ id }) {
  const { data, error } = useAnswer("wallet_getRequest", { id });
  const [told, setTold] = useState(null);
  if (!data) return html`<${Panel} wide level="1" title="Request">${error ? html`<p role="alert">${reasonOf(error)}</p>` : html`<p class="muted">…</p>`}<//>`;
  const isOpen = data.state === "open";
  const outlook = outlookWords(data);
  const payment = data.payment ?? told?.payment;
  return html`<${Panel} wide level="1" title=${`${data.origin} asks ${data.key}`} actions=${html`<${Badge} ...${stateBadge(data)} /> <a href="#/">all requests</a>`}>
      ${error ? html`<p role="alert">Not renewed. ${reasonOf(error)}</p>` : ""}
      ${data.reason ? html`<p>It says: ${data.reason}</p>` : ""}
      <ul class="lines">${data.asked.map((text, at) => html`<li key=${at}><${Badge} kind="warning" text="asks you" /><span class="what">${text}</span></li>`)}</ul>
      <${Facts} rows=${data.lines.map(({ label, text, warning }) => [label, warning ? html`<strong>! ${text}</strong>` : text])} />
      <p class="muted">Asked ${utcText(data.createdAt)}; ${isOpen ? `over ${utcText(data.expiresAt)}` : `ended ${utcText(data.settledAt ?? data.expiresAt)}`}.</p>
      ${data.note ? html`<p>${data.note}</p>` : ""}<//>
    <${Panel} title="Effects"><ul class="lines">${data.effects.map(({ label, account, text }, at) => html`<li key=${at}><strong>${text}</strong>
        <span class="what">${label ?? account}</span></li>`)}</ul>
      <p><${Badge} kind=${outlook.kind} text=${outlook.kind === "unknown" ? "not known" : data.outlook} /> ${outlook.text}.</p><//>
    <${Panel} title="Guardrails"><ul class="lines">${data.guardrails.map((one, at) => html`<li key=${at}><${Badge} ...${saysBadge(one)} />
        <span class="what">${one.text}</span></li>`)}</ul>${data.guardrails.length ? "" : html`<p class="muted">They say nothing of it.</p>`}<//>
    ${payment ? html`<${Fate} payment=${payment} />` : ""}
    ${isOpen && !payment ? html`<${Decide} request=${data} told=${setTold} />` : ""}
    <details class="call"><summary>exactly what is signed</summary><pre tabindex="0">${data.body ?? JSON.stringify(
    { account: data.account, payments: data.payments, memo: data.memo, fee: data.fee, idempotencyKey: data.idempotencyKey }, null, 2)}</pre></details>`;
}

function Fate({ payment }) {
  const { kind, text } = fateWords(payment);
  return html`<section class="panel wide" role="status"><h2>What became of it</h2><p><${Badge} kind=${kind} text=${payment.status} /> ${text}</p>
    ${payment.txId ? html`<p class="ident">${payment.txId} <${CopyButton} text=${payment.txId} /></p>` : ""}
    ${isOnItsWay(payment) ? html`<p class="muted">This page looks again by itself.</p>` : ""}</section>`;
}

function Decide({ request, told }) {
  const [isBusy, setBusy] = useState(false);
  const [problem, setProblem] = useState("");
  const [isRejecting, setRejecting] = useState(false);
  const deed = deedWords(request);
  const run = async (method, params) => {
    setBusy(true);
    setProblem("");
    try {
      told(await call(method, { id: request.id, ...params }));
    } catch (failure) {
      setProblem(reasonOf(failure));
    }
    setBusy(false);
  };
  const approve = (event) => {
    event.preventDefault();
    const passphrase = new FormData(event.currentTarget).get("passphrase");
    event.currentTarget.reset();
    run("wallet_approve", { waitMs: WAIT_MS, ...(passphrase ? { passphrase } : {}) });
  };
  const reject = (event) => {
    event.preventDefault();
    run("wallet_reject", { reason: new FormData(event.currentTarget).get("reason").trim() });
  };
  return html`<section class="panel wide approve" aria-label="Decision"><h2>Your decision</h2>
    <form onSubmit=${approve} aria-busy=${isBusy}>
      ${request.unlocked ? "" : html`<label>Passphrase of ${request.key}
        <input name="passphrase" type="password" autocomplete="off" required /></label>`}
      <button class="primary" disabled=${isBusy}>${isBusy ? "…" : deed}</button>
      <button type="button" aria-expanded=${isRejecting} disabled=${isBusy} onClick=${() => setRejecting(!isRejecting)}>Reject…</button></form>
    ${isRejecting ? html`<form onSubmit=${reject}><label>Why; whoever asked is told
      <input name="reason" maxlength="200" autocomplete="off" /></label><button disabled=${isBusy}>Reject</button></form>` : ""}
    <p role="alert">${problem}</p></section>`;
}

// -- what another page hands over

function HandOver({ body, action }) {
  const { data, error } = useAnswer("wallet_list", {}, 60_000);
  const [problem, setProblem] = useState("");
  const submit = async (event) => {
    event.preventDefault();
    setProblem("");
    const key = new FormData(event.currentTarget).get("key");
    try {
      if (action) {
        const { requestId } = await call("wallet_propose", { key, actions: [action], reason: "handed over by a page" });
        location.hash = `#request=${requestId}`;
        return;
      }
      await call("wallet_sign", { key, body, waitMs: WAIT_MS, reason: "handed over by a page" });
      location.hash = "#/";
    } catch (failure) {
      if (failure.code === CONFIRMATION_REQUIRED && failure.data.requestId) location.hash = `#request=${failure.data.requestId}`;
      else setProblem(reasonOf(failure));
    }
  };
  const keys = (data?.keys ?? []).filter((one) => !one.watchOnly);
  return html`<${Panel} wide level="1" title="Sign a transaction"><p>Another page hands a transaction over. Choose the key that is asked; then you see what it does.</p>
    <form onSubmit=${submit}><label>Key <select name="key">${keys.map(({ name }) => html`<option key=${name} value=${name}>${name}</option>`)}</select></label>
      <button class="primary" disabled=${!keys.length}>Look at it</button></form>
    <p role="alert">${error ? reasonOf(error) : problem}</p>
    <details><summary>what was handed over</summary><pre tabindex="0">${body ?? JSON.stringify(action, null, 2)}</pre></details><//>`;
}

render(html`<${App} />`, document.getElementById("app"));
