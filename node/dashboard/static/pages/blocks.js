// Blocks: the newest as they become final, older ones by page.

import { call } from "/assets/kit/rpc.js";
import { useBlocks, useCall } from "/assets/kit/live.js";
import { BlockLink, Call, Ident, Panel, Table, When, html } from "/assets/kit/parts.js";
import { go, linkTo, setQuery } from "/assets/kit/router.js";
import { Fresh, Title, useCalm, useLoaded, useNames, useRows } from "./common.js";
import { fitted, readBack } from "./logs.js";

export default function Blocks({ query }) {
  const status = useCall("chain_getStatus", {}, { refresh: "block" });
  const before = Number.parseInt(query.before, 10) || null;
  const filter = query.filled ? { nonEmpty: true } : null;
  const top = before ?? status.data?.height;
  const { wanted, most } = useRows();
  // The newest page is read once and grows by what comes; an older one stands still.
  const key = top === undefined ? "waiting" : JSON.stringify([before, filter, wanted]);
  const page = useLoaded(
    async () => (top === undefined ? undefined : readBack(call, "blocks", filter, top, wanted)), key,
  );
  const coming = useBlocks().filter((block) => !filter || block.transactionCount);
  const old = (page.data?.events ?? []).map(({ data }) => data);
  const seen = new Set(old.map(({ height }) => height));
  const fresh = before ? [] : coming.filter(({ height }) => !seen.has(height));
  const newestFirst = [...fresh, ...old].sort((left, right) => right.height - left.height);
  const { rows: all, older } = fitted(newestFirst, most, page.data?.before ?? 0);
  const calm = useCalm(all, ({ height }) => height);
  const state = status.state === "error" && !old.length ? status : { ...page, state: page.state === "ready" && !all.length ? "empty" : page.state };
  const params = { topic: "blocks", filter, fromCursor: `${Math.max(0, (top ?? 1) - wanted)}.0`, limit: wanted };
  return html`<${Title}>Blocks</${Title}>
    <${Panel} wide title=${before ? `Up to block ${before}` : "Newest first"} state=${state}
      empty=${{ text: filter ? "None of these blocks has a transaction." : "No block is final yet.", command: "clawpurse status" }}
      actions=${html`<${Fresh} count=${calm.fresh} show=${calm.show} />
        <button type="button" aria-pressed=${Boolean(filter)} onClick=${() => setQuery({ filled: filter ? "" : "1", before: "" })}>Only with payments</button>`}>
      ${() => html`<div ...${calm.hold}><${Rows} rows=${calm.rows} /></div>
        <nav class="pager" aria-label="pages">${before ? html`<a href=${linkTo("/blocks", { filled: query.filled })}>Newest</a>` : ""}
          ${older ? html`<a href=${linkTo("/blocks", { filled: query.filled, before: older })}>Older ›</a>`
            : page.data?.floor ? html`<span class="muted">Blocks before ${page.data.floor} are not kept here.</span>` : ""}</nav>`}
    </${Panel}>
    <${Call} method="events_get" params=${params} data=${page.data} />`;
}

function Rows({ rows }) {
  const names = useNames();
  return html`<${Table} rows=${rows} rowKey=${({ height }) => height} onOpen=${({ height }) => go(`/block/${height}`)} columns=${[
    { key: "height", title: "Block", number: true, render: ({ height }) => html`<${BlockLink} height=${height} />` },
    { key: "time", title: "Final", render: ({ time }) => html`<${When} time=${time} />` },
    { key: "transactionCount", title: "Transactions", number: true },
    { key: "proposer", title: "Proposer", render: ({ header }) => names(header.proposer) },
    { key: "round", title: "Round", number: true, render: ({ header }) => header.firstRound },
    { key: "costUsed", title: "Cost", number: true, render: ({ header }) => header.costUsed },
    { key: "hash", title: "Id", wide: true, render: ({ hash }) => html`<${Ident} value=${hash} kind="block" link=${`#/block/${hash}`} />` },
  ]} />`;
}
