// How one shows who one is: the second step of a sign-in, and the proof that dangerous calls ask for.

import { html, useEffect, useState } from "/assets/kit/vendor/preact.js";
import { Dialog } from "/assets/kit/keys.js";
import { canPasskey, showPasskey } from "./passkeys.js";
import { prove, raise } from "/assets/kit/session.js";
import { factorText, problemText, proofIn, wantsStepUp } from "./words.js";

/** What was typed into a form, by name. */
export function typedIn(form) {
  return Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, String(value)]));
}

/** Runs one deed at a time: {run(act), busy, problem}. What fails is said in words. */
export function useDeed() {
  const [state, setState] = useState({ busy: false, problem: "" });
  const run = async (act) => {
    setState({ busy: true, problem: "" });
    try {
      await act();
      setState({ busy: false, problem: "" });
    } catch (failure) {
      setState({ busy: false, problem: problemText(failure) });
    }
  };
  return { ...state, run };
}

/** As `useDeed`; where the service asks for a proof, `dialog` asks for it and the deed is done after it. */
export function useProvenDeed() {
  const deed = useDeed();
  const [wanted, setWanted] = useState(null);
  const run = (act) => deed.run(async () => {
    try {
      await act();
    } catch (failure) {
      if (!wantsStepUp(failure)) throw failure;
      setWanted({ act });
    }
  });
  const done = () => {
    const { act } = wanted;
    setWanted(null);
    deed.run(act);
  };
  return { ...deed, run, dialog: wanted ? html`<${StepUp} done=${done} close=${() => setWanted(null)} />` : "" };
}

/** Asks for one of `factors`; `send(proof)` takes it. */
export function ProofForm({ factors, passkey, send, deed, title }) {
  const submit = (event) => {
    event.preventDefault();
    const proof = proofIn(typedIn(event.currentTarget));
    if (Object.keys(proof).length) deed.run(() => send(proof));
  };
  const typed = factors.filter((one) => one !== "passkey");
  return html`${factors.includes("passkey") && passkey && canPasskey() ? html`<p><button type="button" class="primary" disabled=${deed.busy}
      onClick=${() => deed.run(async () => send({ passkey: await showPasskey(passkey) }))}>Show a passkey</button></p>` : ""}
    ${typed.length ? html`<form class="fields" onSubmit=${submit} aria-busy=${deed.busy}>${typed.map((one) => html`<label key=${one}>${factorText(one)}
      <input name=${one} type=${one === "password" ? "password" : "text"} autocomplete=${one === "totp" ? "one-time-code" : one === "password" ? "current-password" : "off"}
        inputmode=${one === "totp" ? "numeric" : undefined} /></label>`)}<p><button disabled=${deed.busy}>${title}</button></p></form>` : ""}
    <p role="alert">${deed.problem}</p>`;
}

function StepUp({ done, close }) {
  const [asked, setAsked] = useState(null);
  const deed = useDeed();
  const begin = () => deed.run(async () => setAsked(await prove("auth_stepUp", {})));
  useEffect(() => { begin(); }, []);
  const send = async (proof) => {
    raise(await prove("auth_stepUp", { attempt: asked.attempt, ...proof }));
    done();
  };
  return html`<${Dialog} title="Is it you?" close=${close}><p>This may not be done by whoever finds your screen. Show again who you are.</p>
    ${asked ? html`<${ProofForm} factors=${asked.factors} passkey=${asked.passkey} send=${send} deed=${deed} title="Prove it" />`
    : html`<p role="alert">${deed.problem || "…"}</p>`}<//>`;
}
