// One transaction: what became of it, what it did, why it was allowed, and the proof of all that.

import { amountText, countText, grouped, spanText, utcText } from "/assets/kit/format.js";
import { second, useCall, useSignal } from "/assets/kit/live.js";
import { Account, Badge, BlockLink, Call, Command, CopyButton, Facts, Ident, Panel, Table, TxLink, When, html } from "/assets/kit/parts.js";
import { useEffect, useRef } from "/assets/kit/vendor/preact.js";
import { Memo, Money, Title, Value, useDecimals } from "./common.js";
import { NATIVE, commandOf, effectsOf, linkedOf, movementOf, signedText } from "./effects.js";
import { Proof } from "./tx_proof.js";
import { isOpen, statusOf, stepsOf, storyOf, verdictBadge } from "./story.js";
import { plainText, wordsOf } from "./text.js";

const WATCH_MS = 2_000;
const KINDS = ["final", "failed", "held", "pending", "expired", "replaced", "unknown"];

export default function Transaction({ params: { txId } }) {
  const isId = /^0x[0-9a-f]{64}$/.test(txId);
  const done = useRef(false);
  const asked = useCall("tx_get", { txId }, { refresh: done.current ? null : WATCH_MS, when: isId });
  const status = statusOf(asked.data, asked.error);
  done.current = KINDS.includes(status.kind) && !isOpen(status.kind);
  const seen = useSeen(status);
  if (!isId) return html`<${NoId} txId=${txId} />`;
  if (!KINDS.includes(status.kind)) {
    return html`<${Title}>Payment</${Title}><${Panel} wide title=${txId} state=${asked}>${() => ""}</${Panel}><${Call} method="tx_get" params=${{ txId }} />`;
  }
  const { tx } = status;
  return html`<${Answer} status=${status} txId=${txId} seen=${seen} />
    ${tx ? html`<${Particulars} tx=${tx} />` : ""}
    ${tx?.receipt ? html`<${Effects} tx=${tx} /><${Compliance} tx=${tx} /><${Proof} tx=${tx} /><${Linked} tx=${tx} /><${Events} tx=${tx} />` : ""}
    ${tx ? html`<${Actions} tx=${tx} />` : ""}
    <${Call} method="tx_get" params=${{ txId }} data=${asked.data ?? undefined} />`;
}

/** When this page itself saw the transaction waiting; the chain does not say when it was sent. */
function useSeen(status) {
  const seen = useRef({});
  useEffect(() => {
    if (status.kind === "pending" && !seen.current.acceptedMs) seen.current.acceptedMs = Date.now();
  }, [status.kind]);
  return seen.current;
}

function NoId({ txId }) {
  return html`<${Title}>Payment</${Title}><${Panel} wide title="This is no id" state="ready">
    <p><${Badge} kind="unknown" text="not an id" /> <code>${plainText(txId)}</code></p>
    <p>The id of a transaction is 0x and 64 digits 0–9, a–f. Perhaps some are missing.</p></${Panel}>
    <${Call} method="tx_get" params=${{ txId: plainText(txId) }} />`;
}

function Answer({ status, txId, seen }) {
  useSignal(second);
  const { tx, kind } = status;
  const decimalsOf = useDecimals();
  const story = storyOf(status, txId, { now: Date.now(), span: spanText });
  const time = tx?.receipt?.time;
  return html`<section class=${`sentence is-${TONES[kind] ?? "warning"}`}>
    <h1 class="headline"><${Badge} kind=${kind} /> ${story.headline}${time ? html`, ${utcText(time)}, <${When} time=${time} />` : ""}
      <${CopyButton} text=${location.href} what="Copy the link" /></h1>
    ${tx ? html`<p><${Words} tx=${tx} decimalsOf=${decimalsOf} kind=${kind} /></p>` : ""}
    ${story.sentences.map((one) => html`<p key=${one}>${plainText(one, 1_000)}</p>`)}
    ${kind === "pending" ? html`<${Gap} tx=${tx} />` : ""}
    ${tx ? "" : html`<p>Id <${Ident} value=${txId} /></p>`}
    ${status.replacedBy ? html`<p>In its place: <${TxLink} txId=${status.replacedBy} /></p>` : ""}
    ${tx && ["final", "held", "failed", "pending"].includes(kind) ? html`<${Steps} steps=${stepsOf(status, seen)} />` : ""}
    ${story.commands.map((text) => html`<p key=${text}>Next: <${Command} text=${text} /></p>`)}
    ${(story.drafts ?? []).map(({ title, text, note }) => html`<p key=${title}><b>${title}</b>: <${Command} text=${text} /> <span class="muted">${note}</span></p>`)}
  </section>`;
}

const TONES = { final: "ok", failed: "failed" };

/** Why a pending one is not in the next block: an earlier sequence of its lane is not here. */
function Gap({ tx }) {
  const asked = useCall("mempool_getBySender", { account: tx.sender }, { refresh: WATCH_MS });
  const mine = asked.data?.transactions.find(({ txId }) => txId === tx.txId);
  if (mine?.ready !== false) return "";
  return html`<p><${Badge} kind="warning" text="behind a gap" /> A transaction of lane ${tx.lane} with a sequence below ${tx.sequence} is not here.
    Before that one has come, this one cannot become final.</p>`;
}

const DEEDS = { final: "paid", held: "would pay", failed: "would have paid", pending: "wants to pay" };

function Words({ tx, decimalsOf, kind }) {
  const moved = movementOf(tx);
  if (!moved) return html`<${Account} account=${tx.sender} /> ${tx.actions.map(({ name }) => wordsOf(name.split(".")[1] ?? name)).join(", ")}`;
  return html`${moved.from ? html`<${Account} account=${moved.from} /> ${DEEDS[kind]}` : "Created:"} <${Money} minor=${moved.amount} asset=${moved.asset}
    decimals=${decimalsOf(moved.asset)} /> to <${Account} account=${moved.to} />${moved.more ? `, and ${moved.more} more` : ""}
    ${tx.memoText ? html`, memo <${Memo} bytes=${tx.memo} text=${tx.memoText} />` : ""}`;
}

function Steps({ steps }) {
  return html`<p class="steps">${steps.map(({ name, ms, afterMs, isDone }, at) => html`<span key=${name}>
    ${at ? html` <span class="muted">─${afterMs === null ? "" : ` ${spanText(afterMs)} `}─</span> ` : ""}
    <span class=${isDone ? "" : "muted"} title=${ms === null ? "when is not known here" : utcText(ms)}>${isDone ? "✓" : "○"} ${name}</span></span>`)}
    <span class="muted"> ${steps[0].ms === null ? "when it was submitted is not recorded" : ""}</span></p>`;
}

function Particulars({ tx }) {
  const decimalsOf = useDecimals();
  const fee = tx.receipt?.fee ?? tx.fee;
  const keys = tx.witness.map(({ role, account, publicKey }) => html`<li key=${publicKey + role}>${role}${account === tx.sender ? "" : html` <${Account} account=${account} />`} <${Ident} value=${publicKey} /></li>`);
  return html`<${Panel} title="Facts" wide=${!tx.receipt} state="ready"><${Facts} rows=${[
    ["Id", html`<${Ident} value=${tx.txId} />`],
    ["Block", tx.receipt ? html`<${BlockLink} height=${tx.height} />, number ${tx.index}` : "none yet"],
    ["Fee", html`<${Money} minor=${fee} asset=${NATIVE} decimals=${decimalsOf(NATIVE)} /> ${tx.receipt ? "" : "at most"} paid by <${Account} account=${tx.payer ?? tx.sender} />`],
    ["Sender", html`<${Account} account=${tx.sender} />`],
    ["Lane / sequence", `${tx.lane} / ${tx.sequence}${tx.attempt ? `, attempt ${tx.attempt}` : ""}`],
    ["Expiry", html`${utcText(tx.validUntil)}${tx.heightMax ? `, or block ${tx.heightMax}` : ""}`],
    ["Memo", html`<${Memo} bytes=${tx.memo} text=${tx.memoText} />`],
    ["Idempotency key", tx.idempotencyKey ? html`<${Ident} value=${tx.idempotencyKey} />` : "none"],
    ["Cost", tx.receipt ? grouped(tx.receipt.cost) : undefined],
    ["Signed by", html`<ul class="plain">${keys}</ul>`],
    ["Id with signatures", html`<${Ident} value=${tx.wtxId} />`],
  ]} /></${Panel}>`;
}

function Effects({ tx }) {
  const decimalsOf = useDecimals();
  const { assets, apart } = effectsOf(tx);
  const digits = (asset) => (text) => amountText(text, decimalsOf(asset));
  const who = (name) => (name.startsWith("claw1") ? html`<${Account} account=${name} />` : html`<b>${name}</b>`);
  return html`<${Panel} title="Effects" state=${assets.length || apart.length ? "ready" : "empty"} empty=${{ text: "No balance changed, and there was no fee." }}>
    ${assets.map(({ asset, rows, isBalanced }) => html`<h3 key=${asset}>${asset} <${Badge} kind=${isBalanced ? "ok" : "failed"} text=${isBalanced ? "Σ = 0" : "Σ ≠ 0"} /></h3>
      <${Table} key=${`t${asset}`} rows=${rows} rowKey=${(row) => row.who} columns=${[
        { key: "who", title: "Who", wide: true, render: (row) => who(row.who) },
        { key: "change", title: "Change", number: true, render: ({ change }) => html`<span class="amount">${signedText(change, digits(asset))} <span class="unit">${asset}</span></span>` },
      ]} />`)}
    ${apart.length ? html`<h3>Set apart and given back</h3><ul class="plain">${apart.map((one) => html`<li key=${one.holdId + one.fate}>
      <${Badge} kind="held" text=${one.fate} /> <${Money} minor=${one.amount} asset=${one.asset} decimals=${decimalsOf(one.asset)} /> of <${Account} account=${one.account} />${
        one.to ? html` for <${Account} account=${one.to} />` : ""}${one.rule ? html`, by <code>${one.rule}</code>` : ""}. It stays its payer's until it is paid.</li>`)}</ul>` : ""}
  </${Panel}>`;
}

function Compliance({ tx }) {
  const { txId, receipt } = tx;
  const asked = useCall("compliance_explain", { txId }, { refresh: null });
  const allowed = receipt.trace.every(({ verdict }) => verdict === "allow");
  const beside = html`${countText(receipt.trace.length, "rule")} ${receipt.trace.length && allowed ? html`<${Badge} kind="ok" text="all allow" />` : ""}`;
  return html`<${Panel} title="Compliance" state=${asked} actions=${beside} call>${({ sentences, trace, holds }) => html`
    ${sentences.map((one) => html`<p key=${one}>${plainText(one, 2_000)}</p>`)}
    ${trace.length ? trace.map((one, at) => html`<${Rule} key=${at} one=${one} tx=${tx} />`)
      : html`<p class="muted">No policy governs what it moved.</p>`}
    ${holds.map((hold) => html`<p key=${hold.holdId}><${Badge} kind=${hold.status === "held" ? "held" : "final"} text=${hold.status} />
      <${Ident} value=${hold.holdId} /> ${hold.votes.length} of ${countText(hold.needed ?? "?", "vote")}${hold.expires ? `, until ${utcText(hold.expires)}` : ""}</p>`)}`}
  </${Panel}>`;
}

function Rule({ one, tx }) {
  const [kind, word] = verdictBadge(one.verdict);
  const moved = movementOf(tx);
  const decimalsOf = useDecimals();
  return html`<details><summary><${Badge} kind=${kind} text=${word} /> <code>${one.rule}</code> version ${one.version}</summary>
    <${Facts} rows=${[
      ["Says", one.words ? plainText(one.words, 1_000) : null],
      ["Inputs", moved ? html`<${Money} minor=${moved.amount} asset=${moved.asset} decimals=${decimalsOf(moved.asset)} /> from ${moved.from ?? "nobody"} to ${moved.to}, in block ${tx.height}` : null],
      ["Verdict", one.verdict],
      ["Policy", one.policy ? `${one.policy.policy}, in force from ${utcText(one.policy.activeFrom)} (block ${one.policy.activeHeight})` : null],
      ["Approved by", one.policy ? html`<${Value} value=${one.policy.approvedBy} />` : null],
    ]} /></details>`;
}

function Linked({ tx }) {
  const linked = linkedOf(tx.receipt);
  return html`<${Panel} title="Linked" state=${linked.length ? "ready" : "empty"} empty=${{ text: "It has to do with no invoice, hold, escrow, batch, channel or proposal." }}>
    ${linked.map(({ kind, id }) => html`<p key=${kind + id}><b>${kind}</b> <${Ident} value=${id} /><br /><${Command} text=${commandOf({ kind, id })} /></p>`)}</${Panel}>`;
}

function Events({ tx }) {
  return html`<${Panel} title="Events" state=${tx.receipt.events.length ? "ready" : "empty"} empty=${{ text: "It left no event: nothing but its fee took effect." }}>
    ${tx.receipt.events.map(({ kind, accounts, data }, at) => html`<details key=${at}><summary><code>${kind}</code></summary><${Value} value=${{ accounts, ...data }} /></details>`)}</${Panel}>`;
}

function Actions({ tx }) {
  const words = useCall("tx_decode", { tx: tx.raw }, { refresh: null });
  return html`<${Panel} wide title="What was signed" state=${words}>${(data) => html`
    <${Facts} rows=${data.words.map(({ label, text }) => [plainText(label), plainText(text, 1_000)])} />
    <details><summary>Fields and bytes</summary>${tx.actions.map(({ name, fields, raw }, at) => html`<h3 key=${at}><code>${name}</code></h3><${Value} key=${`f${at}`} value=${fields ?? raw} />`)}
      <p><${Ident} value=${tx.raw} /></p></details>`}</${Panel}>`;
}
