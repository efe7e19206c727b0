// The proof of a payment, judged in this browser: four steps, each with its own mark.

import { call } from "/assets/kit/rpc.js";
import { Badge, Command, Facts, Panel, Trouble, html } from "/assets/kit/parts.js";
import { useState } from "/assets/kit/vendor/preact.js";
import { pinned } from "../proof/pins.js";
import { Pinning, usePin } from "./pinning.js";
import { plainText } from "./text.js";

const STEPS = ["receipt", "root", "header", "certificate"];
const TRUST = {
  authorities: "authority set: pinned by you",
  genesis: "authority set: follows from the genesis that you pinned",
  bundle: "authority set: out of the proof itself, which this node sent. You pinned nothing to hold it against.",
};

/** The panel. The verifier and its cryptography are loaded when somebody asks for them. */
export function Proof({ tx }) {
  const [found, setFound] = useState({ state: "asked-nothing" });
  const { txId, chainId } = tx;
  const [pin, change] = usePin(chainId);
  const verify = async () => {
    setFound({ state: "busy" });
    try {
      const [proof, bundle] = await Promise.all([
        import("../proof/index.js"), call("tx_getReceipt", { txId, prove: true }),
      ]);
      const { genesisHash = null, authorities = null } = pinned(chainId) ?? {};
      setFound({ state: "judged", verdict: proof.verifyReceipt(bundle, { genesisHash, authorities, txId }) });
    } catch (error) {
      const known = error.reason ? error : { reason: "the verifier could not run", hint: error.message };
      setFound({ state: "error", error: known });
    }
  };
  // A verdict that rested on something else is none any more.
  const onChange = () => { if (found.state === "judged") verify(); };
  const proven = found.state === "judged" ? found.verdict.proven : null;
  return html`<${Panel} title="Proof" state="ready" call=${{ method: "tx_getReceipt", params: { txId, prove: true } }}>
    <p><button type="button" class="primary" data-verify disabled=${found.state === "busy"} onClick=${verify}>${
      found.state === "busy" ? "Verifying …" : found.state === "judged" ? "Verify again" : "Verify in this browser"}</button></p>
    ${found.state === "error" ? html`<${Trouble} error=${found.error} retry=${verify} />` : ""}
    <div aria-live="polite">${found.state === "judged" ? html`<${Marks} verdict=${found.verdict} />` : html`<p class="muted">${
      STEPS.map((name) => `○ ${name}`).join("  ")}: not judged yet. The node is not believed: this page checks hashes and signatures itself.</p>`}</div>
    <${Pinning} chainId=${chainId} found=${pin} change=${change} proven=${proven} onChange=${onChange} />
    <p class="muted">Offline: <${Command} text=${`clawpurse tx verify ~/.clawpurse/receipts/${txId}.json`} /></p></${Panel}>`;
}

function Marks({ verdict }) {
  const mark = { true: ["ok", "✓"], false: ["failed", "✗"], null: ["none", "not judged"] };
  return html`<p><${Badge} kind=${verdict.ok ? "final" : "failed"} text=${verdict.ok ? "proven" : "NOT proven"} /></p>
    <ul class="plain">${verdict.steps.map(({ name, ok, detail }) => html`<li key=${name} data-step=${name} data-ok=${String(ok)}>
      <${Badge} kind=${mark[String(ok)][0]} text=${name} /> ${plainText(detail ?? "", 400)}</li>`)}</ul>
    <${Facts} rows=${[["Rests on", TRUST[verdict.trust] ?? verdict.trust]]} />`;
}
