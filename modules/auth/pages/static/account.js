// My account: who I am, by which factors, and where I am signed in.

import { html, useState } from "/assets/kit/vendor/preact.js";
import { useAnswer } from "/assets/kit/answers.js";
import { utcText } from "/assets/kit/format.js";
import { Badge, Command, CopyButton, Facts, Panel } from "/assets/kit/parts.js";
import { canPasskey, makePasskey } from "./passkeys.js";
import { typedIn, useProvenDeed } from "./proofs.js";
import { ask, prove } from "/assets/kit/session.js";
import { factorText, problemText } from "./words.js";

const RENEWED_MS = 5_000;

export function Account() {
  const { data: me, error, again } = useAnswer("auth_me", {}, RENEWED_MS, ask);
  if (!me) return html`<${Panel} wide level="1" title="My account">${error ? html`<p role="alert">${problemText(error)}</p>` : html`<p class="muted">…</p>`}<//>`;
  const rows = [["Name", me.name ?? "–"], ["User", me.user], ["Account", me.account ?? "none bound yet"], ["Roles", me.roles.join(", ") || "none"],
    ["Second factors", me.factors.map(factorText).join(", ") || "none"], ["Recovery codes left", me.recoveryCodes]];
  const bind = `clawpurse auth bind KEY --service ${location.origin} --token-file FILE`;
  return html`<${Panel} wide level="1" title="My account">${error ? html`<p role="alert">Not renewed. ${problemText(error)}</p>` : ""}
      <${Facts} rows=${rows} />
      ${me.factors.length ? "" : html`<p><${Badge} kind="warning" text="password alone" /> Whoever learns your password is you. Add an app or a passkey.</p>`}
      ${me.account ? "" : html`<p class="muted">The ledger's roles reach you when you act for an account. Where its key is: <${Command} text=${bind} /></p>`}<//>
    <${App} me=${me} again=${again} /><${Passkeys} again=${again} /><${Codes} me=${me} again=${again} />
    ${me.hasPassword ? html`<${Password} />` : ""}<${Sessions} />`;
}

function App({ me, again }) {
  const deed = useProvenDeed();
  const [made, setMade] = useState(null);
  const hasApp = me.factors.includes("totp");
  const confirm = (event) => {
    event.preventDefault();
    const { code } = typedIn(event.currentTarget);
    deed.run(async () => { await prove("auth_confirmTotp", { code: code.replaceAll(" ", "") }); setMade(null); again(); });
  };
  return html`<${Panel} wide title="Authenticator app">${deed.dialog}
    ${made ? html`<p>Enter this secret in the app, this once: <code class="ident">${made.secret}</code> <${CopyButton} text=${made.secret} /></p>
      <p>Or its address, for apps that take one: <a class="ident" href=${made.uri}>${made.uri}</a> <${CopyButton} text=${made.uri} /></p>
      <form class="fields" onSubmit=${confirm}><label>The app's first code <input name="code" inputmode="numeric" autocomplete="one-time-code" required /></label>
        <p><button class="primary" disabled=${deed.busy}>Use this app</button></p></form>`
    : hasApp ? html`<p><${Badge} kind="ok" text="in use" /> <button type="button" disabled=${deed.busy}
        onClick=${() => deed.run(async () => { await ask("auth_removeTotp"); again(); })}>Remove the app</button></p>`
      : html`<p><button type="button" disabled=${deed.busy} onClick=${() => deed.run(async () => setMade(await ask("auth_addTotp")))}>Add an app</button></p>`}
    <p role="alert">${deed.problem}</p><//>`;
}

function Passkeys({ again }) {
  const deed = useProvenDeed();
  const { data, again: look } = useAnswer("auth_listPasskeys", {}, RENEWED_MS, ask);
  const renewed = () => { look(); again(); };
  const add = (event) => {
    event.preventDefault();
    const form = event.currentTarget;
    const label = typedIn(form).label.trim() || "passkey";
    deed.run(async () => {
      const { attempt, options } = await ask("auth_addPasskey");
      await prove("auth_confirmPasskey", { attempt, credential: await makePasskey(options), label });
      form.reset();
      renewed();
    });
  };
  const remove = (id) => deed.run(async () => { await ask("auth_removePasskey", { id }); renewed(); });
  return html`<${Panel} wide title="Passkeys">${deed.dialog}
    <ul class="lines">${(data?.passkeys ?? []).map((one) => html`<li key=${one.id}><${Badge} kind="ok" text=${one.backedUp ? "synchronised" : "this device"} />
      <span class="what">${one.label} <span class="muted">made ${utcText(one.created)}${one.used ? `, used ${utcText(one.used)}` : ", never used"}</span></span>
      <button type="button" disabled=${deed.busy} onClick=${() => remove(one.id)}>Remove ${one.label}</button></li>`)}</ul>
    ${canPasskey() ? html`<form class="views" onSubmit=${add}><label>Label <input name="label" maxlength="64" autocomplete="off" /></label>
      <button disabled=${deed.busy}>Add a passkey</button></form>` : html`<p class="muted">This browser, or this address, has no passkeys: they need https.</p>`}
    <p role="alert">${deed.problem}</p><//>`;
}

function Codes({ me, again }) {
  const deed = useProvenDeed();
  const [codes, setCodes] = useState(null);
  if (!me.factors.length) return "";
  const make = () => deed.run(async () => { setCodes((await ask("auth_newRecoveryCodes")).codes); again(); });
  return html`<${Panel} wide title="Recovery codes">${deed.dialog}
    ${codes ? html`<p>Write these down now; they are shown this once. Each signs in one time, when the app or the passkey is lost.</p>
      <pre tabindex="0">${codes.join("\n")}</pre><p><${CopyButton} text=${codes.join("\n")} /> <button type="button" onClick=${() => setCodes(null)}>I have them</button></p>`
    : html`<p>${me.recoveryCodes} left. <button type="button" disabled=${deed.busy} onClick=${make}>${me.recoveryCodes ? "Replace them" : "Make codes"}</button></p>`}
    <p role="alert">${deed.problem}</p><//>`;
}

function Password() {
  const deed = useProvenDeed();
  const [told, setTold] = useState("");
  const submit = (event) => {
    event.preventDefault();
    const form = event.currentTarget;
    const { current, password, again } = typedIn(form);
    setTold("");
    deed.run(async () => {
      if (password !== again) throw new Error("the two passwords differ");
      await prove("auth_changePassword", { current, password });
      form.reset();
      setTold("Changed. Every other session was ended.");
    });
  };
  return html`<${Panel} wide title="Password">${deed.dialog}<form class="fields" onSubmit=${submit} aria-busy=${deed.busy}>
      <label>Present password <input name="current" type="password" autocomplete="current-password" required /></label>
      <label>New password <input name="password" type="password" autocomplete="new-password" required /></label>
      <label>The same again <input name="again" type="password" autocomplete="new-password" required /></label>
      <p><button disabled=${deed.busy}>Change the password</button></p></form>
    <p role="status">${told}</p><p role="alert">${deed.problem}</p><//>`;
}

function Sessions() {
  const deed = useProvenDeed();
  const { data, again } = useAnswer("auth_listSessions", {}, RENEWED_MS, ask);
  const open = (data?.sessions ?? []).filter((one) => !one.ended);
  const end = (method, params) => deed.run(async () => { await ask(method, params); again(); });
  return html`<${Panel} wide title="Where you are signed in">${deed.dialog}
    <ul class="lines">${open.map((one) => html`<li key=${one.id}><${Badge} kind=${one.current ? "ok" : "open"} text=${one.current ? "this one" : "open"} />
      <span class="what">${one.label || "a program"}, ${one.methods.join(" and ")} <span class="muted">since ${utcText(one.created)}, seen ${utcText(one.seen)}</span></span>
      ${one.current ? "" : html`<button type="button" disabled=${deed.busy} onClick=${() => end("auth_endSession", { id: one.id })}>End it</button>`}</li>`)}</ul>
    ${open.length > 1 ? html`<p><button type="button" disabled=${deed.busy} onClick=${() => end("auth_endOtherSessions")}>End all others</button></p>` : ""}
    <p role="alert">${deed.problem}</p><//>`;
}
