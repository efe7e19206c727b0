// What waits for a block: how much, how long, and what keeps it.

import { bytesText, grouped, spanText } from "/assets/kit/format.js";
import { useCall } from "/assets/kit/live.js";
import { Account, Badge, Call, Pager, Panel, Table, TxLink, html, usePages } from "/assets/kit/parts.js";
import { Chart } from "/assets/kit/charts.js";
import { go, setQuery } from "/assets/kit/router.js";
import { useRef } from "/assets/kit/vendor/preact.js";
import { Money, PAGE_ROWS, Title, useDecimals } from "./common.js";
import { NATIVE, movementOf } from "./effects.js";

const REFRESH_MS = 2_000;
const SPAN_MS = 15 * 60_000;
const POINTS_MAX = SPAN_MS / REFRESH_MS;
// Below this share of it the limit is named, not drawn: the line would lie flat on the floor.
const LIMIT_SHARE = 0.1;

export default function Mempool({ query }) {
  const status = useCall("mempool_getStatus", {}, { refresh: REFRESH_MS });
  const points = usePoints(status.data);
  const deepest = Math.max(0, ...points.map(({ ready, gaps }) => ready + gaps));
  return html`<${Title}>Mempool</${Title}>
    <${Panel} wide title="Depth, last 15 min" state=${status} call>${(data) => html`<${Figures} data=${data} />
      <${Chart} title="Pending transactions" stacked spanMs=${SPAN_MS} times=${points.map(({ time }) => time)}
        limit=${{ name: "limit", value: data.transactionsMax, isFar: deepest < LIMIT_SHARE * data.transactionsMax }}
        series=${[{ name: "ready", values: points.map(({ ready }) => ready) }, { name: "behind a gap", values: points.map(({ gaps }) => gaps) }]} />`}</${Panel}>
    <${Waiting} status=${status} />
    ${query.sender ? html`<${Sender} account=${query.sender} />` : ""}
    <${Call} method="mempool_getStatus" data=${status.data} />`;
}

function Figures({ data }) {
  const oldest = data.oldestMs === undefined || data.oldestMs === null ? "–" : spanText(data.oldestMs);
  return html`<dl class="figures">${[
    ["Waiting", grouped(data.transactions)], ["Ready", grouped(data.ready)], ["Behind a gap", grouped(data.gaps)],
    ["Oldest", oldest], ["Senders", grouped(data.senders)], ["Size", bytesText(data.bytes)], ["Evicted", grouped(data.evicted)],
  ].map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
  ${data.gaps ? html`<p><${Badge} kind="warning" text=${`${data.gaps} ${data.gaps === 1 ? "waits" : "wait"} behind a gap`} /> What does can only become final once the earlier sequence of its lane is here.</p>` : ""}`;
}

/** The depths seen since the page was opened; this node keeps no longer memory of them. */
function usePoints(data) {
  const kept = useRef([]);
  const newest = useRef(null);
  // With the answer itself, not after it was drawn: a chart without a point has no time.
  if (data && data !== newest.current) {
    newest.current = data;
    kept.current = [...kept.current, { time: Date.now(), ready: data.ready, gaps: data.gaps }].slice(-POINTS_MAX);
  }
  return kept.current.filter(({ time }) => time >= Date.now() - SPAN_MS);
}

function Waiting({ status }) {
  const { cursor, pager } = usePages("pool");
  const asked = useCall("mempool_getTransactions", { limit: PAGE_ROWS, cursor }, { refresh: REFRESH_MS, empty: (data) => !data?.transactions.length });
  const decimalsOf = useDecimals();
  return html`<${Panel} wide title="Waiting, in the order of proposal" state=${asked} call
      empty=${status.data?.transactions ? { text: "Nothing is ready: what waits is behind a gap. Its sender's account shows it.", command: "clawpurse rpc mempool_getBySender account=SENDER" }
        : { text: "Nothing waits: what is accepted is final within a second or so.", command: "clawpurse wallet send bob 1 --asset CLAW --from alice" }}>${({ transactions, nextCursor }) => html`
    <${Rows} rows=${transactions} decimalsOf=${decimalsOf} /><${Pager} nextCursor=${nextCursor} ...${pager} />`}</${Panel}>`;
}

function Sender({ account }) {
  const asked = useCall("mempool_getBySender", { account }, { refresh: REFRESH_MS, empty: (data) => !data?.transactions.length });
  const decimalsOf = useDecimals();
  return html`<${Panel} wide title="Of one sender, gaps included" state=${asked} call actions=${html`<button type="button" onClick=${() => setQuery({ sender: "" })}>Close</button>`}
      empty=${{ text: "Nothing of this sender waits." }}>${({ transactions }) => html`<p><${Account} account=${account} /></p>
    <${Rows} rows=${transactions} decimalsOf=${decimalsOf} />`}</${Panel}>`;
}

function Rows({ rows, decimalsOf }) {
  return html`<${Table} rows=${rows} rowKey=${({ txId }) => txId} onOpen=${({ txId }) => go(`/tx/${txId}`)} columns=${[
    { key: "state", title: "State", render: ({ ready }) => html`<${Badge} kind=${ready === false ? "warning" : "pending"} text=${ready === false ? "behind a gap" : "ready"} />` },
    { key: "amount", title: "Amount", number: true, render: (tx) => {
      const moved = movementOf(tx);
      return moved ? html`<${Money} minor=${moved.amount} asset=${moved.asset} decimals=${decimalsOf(moved.asset)} />` : "–";
    } },
    { key: "what", title: "What", render: ({ actions }) => actions.map(({ name }) => name).join(", ") },
    { key: "fee", title: "Fee", number: true, render: ({ fee }) => html`<${Money} minor=${fee} asset=${NATIVE} decimals=${decimalsOf(NATIVE)} />` },
    { key: "place", title: "Lane / sequence", render: ({ lane, sequence, attempt }) => `${lane} / ${sequence}${attempt ? ` (attempt ${attempt})` : ""}` },
    { key: "sender", title: "Sender", wide: true, render: ({ sender }) => html`<${Account} account=${sender} /> <button type="button" onClick=${() => setQuery({ sender })}>All of it</button>` },
    { key: "txId", title: "Id", wide: true, render: ({ txId }) => html`<${TxLink} txId=${txId} />` },
  ]} />`;
}
