// One block: its header, who proposed it, who signed it, what is in it and what else happened.

import { useBlocks, useCall } from "/assets/kit/live.js";
import { Account, Badge, BlockLink, Call, Command, Facts, Ident, Panel, Table, TxLink, When, html } from "/assets/kit/parts.js";
import { countText, grouped, utcText } from "/assets/kit/format.js";
import { go } from "/assets/kit/router.js";
import { NOT_FOUND } from "/assets/kit/rpc.js";
import { Money, ROWS_MAX, Title, Value, Verdict, useDecimals, useNames } from "./common.js";
import { movementOf } from "./effects.js";
import { signersOf } from "./signing.js";
import { plainText } from "./text.js";

const EVENTS_ASKED = 200;

export default function Block({ params: { id } }) {
  const asked = id.startsWith("0x") ? { hash: id } : { height: Number.parseInt(id, 10) || 0 };
  const [newest] = useBlocks();
  const block = useCall("chain_getBlock", asked);
  const height = block.data?.header.height ?? asked.height;
  if (block.error?.code === NOT_FOUND) return html`<${Missing} id=${id} asked=${asked} block=${block} newest=${newest?.height} />`;
  return html`<${Title} beside=${block.data ? html`<${Badge} kind="final" text=${`final with ${countText(block.data.certificate.signatures.length, "signature")}`} />` : ""}>Block ${grouped(height ?? id)}</${Title}>
    <nav class="pager wide" aria-label="blocks">${height > 1 ? html`<a href=${`#/block/${height - 1}`}>‹ ${height - 1}</a>` : ""}
      ${newest === undefined || height < newest.height ? html`<a href=${`#/block/${height + 1}`}>${height + 1} ›</a>` : ""}</nav>
    <${Panel} title="Header" state=${block}>${(data) => html`<${Header} header=${data.header} />`}</${Panel}>
    ${block.data ? html`<${Certificate} block=${block.data} /><${Inside} height=${block.data.header.height} count=${block.data.transactions.length} />
      <${Evidence} evidence=${block.data.evidence} />` : ""}
    <${Call} method="chain_getBlock" params=${asked} data=${block.data} />`;
}

function Missing({ id, asked, block, newest }) {
  const isAhead = asked.height !== undefined && newest !== undefined && asked.height > newest;
  return html`<${Title}>Block ${id}</${Title}>
    <${Panel} wide title="Not here" state="ready"><p><${Badge} kind="unknown" text=${isAhead ? "not decided yet" : "unknown"} /></p>
      <p>${isAhead ? html`The newest final block is <${BlockLink} height=${newest} />. This page looks again by itself no more than you do: `
        : "This node has no final block of this height or id. It may be of another network, or be pruned here. "}
        <button type="button" onClick=${() => block.retry()}>Look again</button></p></${Panel}>
    <${Call} method="chain_getBlock" params=${asked} />`;
}

function Header({ header }) {
  const names = useNames();
  return html`<${Facts} rows=${[
    ["Time", html`${utcText(header.time)}, <${When} time=${header.time} />`],
    ["Proposer", html`<b>${names(header.proposer)}</b> <${Ident} value=${header.proposer} />`],
    ["First round", header.firstRound],
    ["Id", html`<${Ident} value=${header.hash} />`],
    ["Parent", header.height > 1 ? html`<${Ident} value=${header.parentHash} link=${`#/block/${header.parentHash}`} />` : "genesis"],
    ["Cost used", grouped(header.costUsed)],
    ["State root", html`<${Ident} value=${header.stateRoot} />`],
    ["Transactions root", html`<${Ident} value=${header.transactionsRoot} />`],
    ["Receipts root", html`<${Ident} value=${header.receiptsRoot} />`],
    ["Events root", html`<${Ident} value=${header.eventsRoot} />`],
    ["Authorities", html`<${Ident} value=${header.authoritiesHash} />${header.nextAuthoritiesHash === header.authoritiesHash ? "" : html`<p>! Others decide the next block.</p>`}`],
  ]} />`;
}

function Certificate({ block }) {
  const { height } = block.header;
  const light = useCall("chain_getLightBlock", { height });
  const names = useNames();
  return html`<${Panel} title="Certificate" state=${light} call>${({ authorities: { authorities } }) => {
    const signed = signersOf(block.certificate.signers, authorities.length);
    const count = signed.filter(Boolean).length;
    return html`<p>Of ${countText(authorities.length, "signature")} ${count} ${count === 1 ? "is" : "are"} in the certificate, round ${block.certificate.round}.
      Those of who is missing came later, or not at all: a certificate takes the first that suffice.</p>
      <${Table} rows=${authorities.map((authority, at) => ({ authority, id: authority, isSigned: signed[at] }))} columns=${[
        { key: "is", title: "Signed", render: ({ isSigned }) => html`<${Badge} kind=${isSigned ? "final" : "none"} text=${isSigned ? "signed" : "not in certificate"} />` },
        { key: "authority", title: "Authority", wide: true, render: ({ authority }) => html`<b>${names(authority)}</b>${authority === block.header.proposer ? " ◆ proposed" : ""} <${Ident} value=${authority} />` },
      ]} />`;
  }}</${Panel}>`;
}

function Inside({ height, count }) {
  const log = useCall("events_get", { topic: "transactions", fromCursor: `${height - 1}.4294967295`, limit: ROWS_MAX, waitMs: 0 });
  const due = useCall("chain_findEvents", { dueOnly: true, fromHeight: height, toHeight: height });
  const decimalsOf = useDecimals();
  const rows = (log.data?.events ?? []).map(({ data }) => data).filter((tx) => tx.height === height);
  const events = useCall("events_get", { topic: "events", fromCursor: `${height - 1}.4294967295`, limit: EVENTS_ASKED, waitMs: 0 });
  const happened = (events.data?.events ?? []).map(({ data, cursor }) => ({ ...data, cursor })).filter((one) => Number(one.cursor.split(".")[0]) === height);
  return html`<${Panel} wide title=${`Transactions: ${count}`} state=${count ? log : "empty"}
      empty=${{ text: "This block has no transactions: an idle network makes a block now and then to show that it lives." }}>
    ${() => html`<${Table} rows=${rows} rowKey=${({ txId }) => txId} onOpen=${({ txId }) => go(`/tx/${txId}`)} columns=${transactionColumns(decimalsOf)} />
      ${count > rows.length ? html`<p class="muted">The first ${rows.length} of ${count}.</p>` : ""}`}</${Panel}>
    <${Panel} wide title="Events" state=${events.state === "ready" && !happened.length ? "empty" : events} empty=${{ text: "Nothing happened in this block." }}>
      ${() => html`<${Table} rows=${happened} rowKey=${({ cursor }) => cursor} columns=${[
        { key: "kind", title: "Event", render: ({ kind }) => html`<code>${kind}</code>` },
        { key: "of", title: "Of", render: ({ transaction }) => (transaction === null ? "due work" : `transaction ${transaction}`) },
        { key: "accounts", title: "Accounts", wide: true, render: ({ accounts }) => html`<${Value} value=${accounts} />` },
        { key: "data", title: "Data", wide: true, render: ({ data }) => html`<${Value} value=${data} />` },
      ]} />${due.data?.places.length ? html`<p class="muted">${countText(due.data.places.length, "event")} of no transaction: due work or evidence.</p>` : ""}`}</${Panel}>`;
}

function Evidence({ evidence }) {
  if (!evidence.length) return "";
  return html`<${Panel} wide title="! Evidence: an authority signed twice" state="ready">
    <${Table} rows=${evidence} rowKey=${({ raw }) => raw} columns=${[
      { key: "authority", title: "Authority", wide: true, render: ({ authority }) => html`<${Ident} value=${authority} />` },
      { key: "height", title: "Block", number: true, render: ({ height }) => html`<${BlockLink} height=${height} />` },
      { key: "round", title: "Round", number: true }, { key: "kind", title: "Vote" },
    ]} /><${Command} text="clawpurse rpc consensus_getEvidence" /></${Panel}>`;
}

/** Columns of a list of transactions; pages add their own. */
export function transactionColumns(decimalsOf) {
  return [
    { key: "state", title: "State", render: (tx) => html`<${Verdict} tx=${tx} />` },
    { key: "amount", title: "Amount", number: true, render: (tx) => {
      const moved = movementOf(tx);
      return moved ? html`<${Money} ...${{ minor: moved.amount, asset: moved.asset, decimals: decimalsOf(moved.asset) }} />${moved.more ? html` <span class="muted">+${moved.more}</span>` : ""}` : html`<span class="muted">–</span>`;
    } },
    { key: "what", title: "What", render: (tx) => html`<span>${tx.actions.map(({ name }) => name).join(", ")}</span>${tx.memoText ? html`<br /><q>${plainText(tx.memoText)}</q>` : ""}` },
    { key: "who", title: "From → to", wide: true, render: (tx) => {
      const moved = movementOf(tx);
      return html`<${Account} account=${moved?.from ?? tx.sender} />${moved?.to && moved.to !== moved.from ? html`<br />→ <${Account} account=${moved.to} />` : ""}`;
    } },
    { key: "txId", title: "Id", wide: true, render: ({ txId }) => html`<${TxLink} txId=${txId} />` },
  ];
}
