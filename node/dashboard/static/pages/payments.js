// Payments: all final transactions, newest first, by asset, kind of action and outcome.

import { call } from "/assets/kit/rpc.js";
import { useCall, useTopic } from "/assets/kit/live.js";
import { BlockLink, Call, Panel, Table, When, html } from "/assets/kit/parts.js";
import { go, linkTo, setQuery } from "/assets/kit/router.js";
import { Fresh, ROWS_MAX, Title, useCalm, useDecimals, useLoaded, useRows } from "./common.js";
import { transactionColumns } from "./block.js";
import { fitted, readBack } from "./logs.js";

const ACTIONS = [["", "all"], ["assets.transfer", "transfers"], ["payments.", "payments"], ["assets.", "assets"],
  ["compliance.", "compliance"], ["accounts.", "accounts"], ["roles.", "roles"], ["governance.", "governance"], ["anchor.", "anchors"]];
const OUTCOMES = [["", "any"], ["done", "done"], ["failed", "failed"], ["held", "held"]];

/** The filter of the topic `transactions` that a query asks for. */
function filterOf(query) {
  const filter = {};
  if (query.asset) filter.asset = query.asset;
  if (query.action) filter.action = query.action;
  if (query.account) filter.account = query.account;
  if (query.outcome === "failed") filter.failed = true;
  if (query.outcome === "done") filter.failed = false;
  if (query.outcome === "held") filter.kind = "kernel.held";
  return Object.keys(filter).length ? filter : null;
}

export default function Payments({ query }) {
  const status = useCall("chain_getStatus", {}, { refresh: null });
  const filter = filterOf(query);
  const before = Number.parseInt(query.before, 10) || null;
  const top = before ?? status.data?.height;
  const { wanted, most } = useRows();
  const key = top === undefined ? "waiting" : JSON.stringify([before, filter, wanted]);
  const page = useLoaded(
    async () => (top === undefined ? undefined : readBack(call, "transactions", filter, top, wanted)), key,
  );
  const coming = useTopic("transactions", filter, ROWS_MAX);
  const old = (page.data?.events ?? []).map(({ data }) => data);
  const seen = new Set(old.map(({ txId }) => txId));
  const fresh = before ? [] : coming.events.map(({ data }) => data).filter(({ txId }) => !seen.has(txId));
  const { rows: all, older } = fitted([...fresh, ...old], most, page.data?.before ?? 0);
  const calm = useCalm(all, ({ txId }) => txId);
  const decimalsOf = useDecimals();
  const isEmpty = page.state === "ready" && !all.length;
  const state = status.state === "error" && top === undefined ? status : { ...page, state: isEmpty ? "empty" : page.state };
  const params = { topic: "transactions", filter, fromCursor: `${Math.max(0, (top ?? 1) - 64)}.0`, limit: wanted };
  return html`<${Title}>Payments</${Title}>
    <${Panel} wide title=${before ? `Up to block ${before}` : "Newest first"} state=${state} empty=${emptyWords(filter, page.data)}
      actions=${html`<${Fresh} count=${calm.fresh} show=${calm.show} /><${Filters} query=${query} />`}>
      ${() => html`<div ...${calm.hold}><${Table} rows=${calm.rows} rowKey=${({ txId }) => txId} onOpen=${({ txId }) => go(`/tx/${txId}`)} columns=${[
        { key: "time", title: "Final", render: ({ receipt }) => html`<${When} time=${receipt.time} />` },
        ...transactionColumns(decimalsOf),
        { key: "height", title: "Block", number: true, render: ({ height }) => html`<${BlockLink} height=${height} />` },
      ]} /></div>`}
    </${Panel}>
    <nav class="pager" aria-label="pages">${before ? html`<a href=${linkTo("/payments", { ...query, before: "" })}>Newest</a>` : ""}
      ${older ? html`<a href=${linkTo("/payments", { ...query, before: older })}>Older: up to block ${older} ›</a>` : ""}
      ${page.data?.floor ? html`<span class="muted">Blocks before ${page.data.floor} are not kept here.</span>` : ""}</nav>
    <${Call} method="events_get" params=${params} data=${page.data} />`;
}

function emptyWords(filter, data) {
  const back = data?.before ? ` in blocks above ${data.before}; older ones are one page further` : "";
  return filter ? { text: `No transaction matches the filter${back}.` } : { text: `No transaction is final yet${back}.`, command: "clawpurse faucet alice" };
}

function Filters({ query }) {
  const { data } = useCall("asset_list", { limit: 500 });
  const assets = [["", "all"], ...(data?.assets ?? []).map(({ asset }) => [asset, asset])];
  const choose = (name, label, options) => html`<label class="inline">${label} <select value=${query[name] ?? ""}
    onChange=${(event) => setQuery({ [name]: event.currentTarget.value, before: "" })}>
    ${options.map(([value, text]) => html`<option key=${value} value=${value} selected=${(query[name] ?? "") === value}>${text}</option>`)}</select></label>`;
  return html`${choose("asset", "Asset", assets)} ${choose("action", "What", ACTIONS)} ${choose("outcome", "Outcome", OUTCOMES)}`;
}
