// What a reader knows of a network without this node: its genesis hash, and if wished who decides.
// Kept by this browser; shown wherever a proof rests on it, and taken back with one press.

import { Badge, Command, Facts, Ident, Panel, html } from "/assets/kit/parts.js";
import { useState } from "/assets/kit/vendor/preact.js";
import { allPins, forget, pin, pinned } from "../proof/pins.js";
import { plainText } from "./text.js";

const HASH = /^(0x)?[0-9a-f]{64}$/i;

/** The pin of a network and how to change it: [pin or null, change]. */
export function usePin(chainId) {
  const [, redraw] = useState(0);
  const again = (result) => {
    redraw((count) => count + 1);
    return result;
  };
  return [pinned(chainId), {
    genesis: (hash) => again(pin(chainId, hash)),
    authorities: (hash, keys) => again(pin(chainId, hash, keys)),
    remove: () => again(forget(chainId)),
  }];
}

/** What is pinned of a network, and what can be. `proven`: the facts of a proof that held, or null. */
export function Pinning({ chainId, found, change, proven, onChange }) {
  const then = (deed) => () => {
    deed();
    onChange();
  };
  if (found) return html`<${Kept} found=${found} change=${change} proven=${proven} then=${then} />`;
  return html`<p><${Badge} kind="warning" text="nothing pinned" /> Who could make up a whole network could make up its proofs. Ask somebody you trust for
      the genesis hash of ${plainText(chainId)}, and pin it: then only that network's proofs hold here.</p>
    <${TypedHash} pinIt=${(hash) => then(() => change.genesis(hash))()} />
    ${proven ? html`<p><button type="button" onClick=${then(() => change.genesis(proven.genesisHash))}>Pin this genesis</button>${" "}
      <span class="muted">after you compared it with somebody else's:</span> <${Ident} value=${proven.genesisHash} /></p>` : ""}`;
}

function Kept({ found, change, proven, then }) {
  const { genesisHash, authorities } = found;
  return html`<${Facts} rows=${[
    ["Pinned genesis", html`<${Ident} value=${genesisHash} />`],
    ["Pinned authorities", authorities
      ? html`<ul class="plain">${authorities.map((key) => html`<li key=${key}><${Ident} value=${key} /></li>`)}</ul>`
      : "none: they follow from the genesis and the changes that they signed"],
  ]} /><p><button type="button" onClick=${then(change.remove)}>Forget what is pinned</button>
    ${authorities ? html` <button type="button" onClick=${then(() => change.genesis(genesisHash))}>Forget the authorities only</button>` : ""}
    ${proven && !authorities ? html` <button type="button" onClick=${then(() => change.authorities(genesisHash, proven.authorities))}>Pin these ${proven.authorities.length} authorities, too</button>
      <span class="muted">Then a block of any other set is refused, a later rightful one as well.</span>` : ""}</p>`;
}

function TypedHash({ pinIt }) {
  const [problem, setProblem] = useState("");
  const submit = (event) => {
    event.preventDefault();
    const typed = new FormData(event.currentTarget).get("hash").trim().toLowerCase();
    if (HASH.test(typed)) pinIt(`0x${typed.replace(/^0x/, "")}`);
    else setProblem("A genesis hash is 64 digits 0–9, a–f, with or without 0x before them.");
  };
  return html`<form onSubmit=${submit}><label>Genesis hash <input name="hash" autocomplete="off" spellcheck="false" required /></label>
    <button>Pin it</button> <span class="muted">Theirs, by <${Command} text="clawpurse rpc chain_getStatus" /></span><p role="alert">${problem}</p></form>`;
}

/** All that this browser has pinned at this address, of whatever network. */
export function Pins() {
  const [pins, setPins] = useState(() => allPins());
  const remove = (chainId) => {
    forget(chainId);
    setPins(allPins());
  };
  return html`<${Panel} wide title="Pinned in this browser" state=${pins.length ? "ready" : "empty"}
      empty=${{ text: "Nothing: proofs are judged by the genesis that comes with them. The page of a payment offers to pin one." }}>
    ${pins.map(({ chainId, genesisHash, authorities }) => html`<${Facts} key=${chainId} rows=${[
      ["Network", plainText(chainId)], ["Genesis", html`<${Ident} value=${genesisHash} />`],
      ["Authorities", authorities ? `${authorities.length} of them, and no other set` : "as they follow from it"],
    ]} /><p key=${`r${chainId}`}><button type="button" onClick=${() => remove(chainId)}>Forget it</button></p>`)}</${Panel}>`;
}
