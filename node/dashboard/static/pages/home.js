// Home: the sentence, the figures, a quarter of an hour in two charts, who signs, what was paid,
// and what somebody should look at.

import { Chart } from "/assets/kit/charts.js";
import { amountText, endsText, figureText, spanText } from "/assets/kit/format.js";
import { explanation, useCall, useSignal, useTopic } from "/assets/kit/live.js";
import { Badge, Call, Panel, Sentence, When, html } from "/assets/kit/parts.js";
import { go, linkTo } from "/assets/kit/router.js";
import { call } from "/assets/kit/rpc.js";
import { useEffect, useMemo, useState } from "/assets/kit/vendor/preact.js";

const NATIVE = "CLAW";
const ASSETS_MAX = 500;
const TIMELINE_MS = 5_000;
const STATUS_MS = 2_000;
const GRID_BLOCKS = 100;
const PAYMENTS_SHOWN = 8;
// Blocks looked back over for the first payments: few on a busy chain, more on a quiet one.
const LOOK_BACK = [4, 60, 500];
const LAST_INDEX = 4_294_967_295;
const MARKS = {
  p: ["◆", "proposed"], s: ["■", "signed"], o: ["○", "not in certificate"], "-": ["·", "no data"],
};

export default function Home() {
  const timeline = useCall("node_getTimeline", {}, { refresh: TIMELINE_MS });
  return html`<${Sentence} />
    <${Figures} timeline=${timeline} />
    <${Finality} timeline=${timeline} />
    <${Volume} timeline=${timeline} />
    <${Signing} />
    <${Payments} />
    <${Alerts} />
    <${Call} method="consensus_explain" />`;
}

// -- figures

function Figures({ timeline }) {
  const found = useSignal(explanation);
  const pool = useCall("mempool_getStatus", {}, { refresh: STATUS_MS });
  const assets = useCall("asset_list", { limit: ASSETS_MAX }, { refresh: 60_000 });
  const native = assets.data?.assets.find(({ asset }) => asset === NATIVE);
  const p95 = timeline.data?.p95Ms ?? null;
  const target = timeline.data?.targetMs;
  return html`<dl class="figures">
    <div><dt>Block</dt><dd>${found ? html`<a href=${linkTo(`/block/${found.newest.height}`)}>${figureText(found.newest.height)}</a>` : "–"}
      <small>${found ? `final, ${spanText(found.newest.ageMs)} old` : ""}</small></dd></div>
    <div><dt>Final p95</dt><dd>${p95 === null ? "–" : secondsText(p95)} <small>${
      p95 === null ? "no payments in 15 min" : p95 <= target ? "✓ within target" : "! over target"}</small></dd></div>
    <div><dt>Pending</dt><dd>${figureText(pool.data?.transactions)} <small>in the pool</small></dd></div>
    <div><dt>Payments</dt><dd>${figureText(lastMinute(timeline.data))} <small>a second, last minute</small></dd></div>
    <div><dt>Signing</dt><dd>${found ? `${found.quorum.have} of ${found.quorum.of}` : "–"} <small>${found ? `${found.quorum.need} needed` : ""}</small></dd></div>
    <div><dt>Supply</dt><dd>${native ? amountText(native.supply, native.decimals) : "–"} <small>${NATIVE}</small></dd></div>
  </dl>`;
}

const secondsText = (ms) => `${(ms / 1000).toFixed(ms < 995 ? 2 : 1)} s`;

/** Payments a second in the six whole steps before the present one; null while none is known. */
function lastMinute(data) {
  const steps = (data?.points ?? []).slice(-7, -1).filter(({ final }) => final !== null);
  if (!steps.length) return null;
  const count = steps.reduce((sum, { final, failed }) => sum + final + failed, 0);
  return count / (steps.length * (data.stepMs / 1000));
}

// -- charts

function useSeries(data, columns) {
  return useMemo(() => ({
    times: (data?.points ?? []).map(({ time }) => Date.parse(time)),
    series: columns.map(([name, read]) => ({ name, values: (data?.points ?? []).map((point) => read(point, data)) })),
  }), [data]);
}

const inSeconds = (ms) => (ms === null ? null : ms / 1000);

function Finality({ timeline }) {
  const { times, series } = useSeries(timeline.data, [
    ["p50", ({ p50Ms }) => inSeconds(p50Ms)], ["p95", ({ p95Ms }) => inSeconds(p95Ms)],
  ]);
  return html`<${Panel} title="Finality, last 15 min" state=${timeline}>${(data) => html`
    <${Chart} title="Finality" unit="s" times=${times} series=${series} limit=${{ name: "target", value: data.targetMs / 1000 }} />`}<//>`;
}

function Volume({ timeline }) {
  const rate = (count, { stepMs }) => (count === null ? null : count / (stepMs / 1000));
  const { times, series } = useSeries(timeline.data, [
    ["final", ({ final }, data) => rate(final, data)], ["failed", ({ failed }, data) => rate(failed, data)],
  ]);
  return html`<${Panel} title="Payments a second, last 15 min" state=${timeline}>${() => html`
    <${Chart} title="Payments" unit="/s" times=${times} series=${series} stacked />`}<//>`;
}

// -- who signs

function Signing() {
  const grid = useCall("consensus_getSigning", { blocks: GRID_BLOCKS }, { refresh: "block", empty: ({ blocks }) => !blocks.length });
  const legend = Object.values(MARKS).map(([glyph, word]) => html`<span class="muted" key=${word}><span aria-hidden="true">${glyph}</span> ${word}</span>`);
  return html`<${Panel} wide title=${`Signing, last ${GRID_BLOCKS} blocks`} state=${grid} actions=${legend}
    empty=${{ text: "No block was decided yet." }}>${({ authorities, blocks }) => html`
    <div class="grid">${authorities.map((one, at) => html`<${Row} key=${one.authority} one=${one} marks=${blocks.map(({ marks }) => marks[at])} />`)}</div>
    <p class="muted">A certificate holds the votes that were needed, not all that came: ○ accuses nobody. Who is silent stands in the sentence above.</p>`}<//>`;
}

function Row({ one, marks }) {
  const found = useSignal(explanation);
  const missing = found?.missing.find(({ authority }) => authority === one.authority);
  const known = found?.authorities.find(({ authority }) => authority === one.authority);
  const inside = marks.filter((mark) => mark === "p" || mark === "s").length;
  const proposed = marks.filter((mark) => mark === "p").length;
  // Newest first in the text, shown from the right: what does not fit is the oldest.
  const cells = [...marks].reverse();
  return html`<div class="row"><a class="name" href="#/authorities" title=${one.authority}>${one.name ?? endsText(one.authority)}</a>
    <span class="cells" role="img" aria-label=${`in ${inside} of ${marks.length} certificates, proposed ${proposed}`}>${
      cells.map((mark, at) => html`<span key=${at} class=${mark === "-" ? "n" : mark}>${MARKS[mark][0]}</span>`)}</span>
    <${Standing} missing=${missing} known=${known} /></div>`;
}

function Standing({ missing, known }) {
  if (missing?.standing === "silent") return html`<${Badge} kind="failed" text=${`silent ${spanText(missing.sinceMs)}`} />`;
  if (missing) return html`<${Badge} kind="warning" text="not signing" />`;
  if (known?.standing === "signing") return html`<${Badge} kind="ok" text="signing" />`;
  return html`<${Badge} kind="unknown" text="not heard yet" />`;
}

// -- payments

/** The newest final transactions, newest first: read back once, then as they come. */
function useLatest() {
  const [old, setOld] = useState({ state: "loading" });
  const [attempt, setAttempt] = useState(0);
  const coming = useTopic("transactions", null, PAYMENTS_SHOWN);
  useEffect(() => {
    let isMine = true;
    const retry = () => setAttempt((count) => count + 1);
    readLatest().then(
      (data) => { if (isMine) setOld({ state: "ready", data }); },
      (error) => { if (isMine) setOld({ state: [-32006, -32007].includes(error.code) ? "forbidden" : "error", error, retry }); },
    );
    return () => { isMine = false; };
  }, [attempt]);
  const fresh = coming.events.map(({ data }) => data);
  const seen = new Set(fresh.map(({ txId }) => txId));
  const rows = [...fresh, ...(old.data ?? []).filter(({ txId }) => !seen.has(txId))].slice(0, PAYMENTS_SHOWN);
  const state = old.state === "ready" && !rows.length ? "empty" : rows.length ? "ready" : old.state;
  return { ...old, state, data: rows, method: "events_get", params: { topic: "transactions", fromCursor: "beginning", limit: 50 } };
}

async function readLatest() {
  const { height } = await call("chain_getStatus");
  let events = [];
  for (const back of LOOK_BACK) {
    const first = Math.max(0, height - back);
    const params = { topic: "transactions", limit: 50, waitMs: 0, fromCursor: `${first}.${LAST_INDEX}` };
    ({ events } = await call("events_get", params));
    if (events.length >= PAYMENTS_SHOWN || first === 0) break;
  }
  return events.map(({ data }) => data).reverse();
}

function Payments() {
  const latest = useLatest();
  const { data, error } = useCall("asset_list", { limit: ASSETS_MAX }, { refresh: 60_000 });
  const known = new Map((data?.assets ?? []).map((one) => [one.asset, one.decimals]));
  const decimalsOf = (asset) => known.get(asset) ?? (data || error ? null : undefined);
  return html`<${Panel} kind="payments" title="Latest payments" state=${latest} actions=${html`<a href="#/payments">all</a>`}
    empty=${{ text: "Nothing was paid yet.", command: "clawpurse faucet alice" }}>${(rows) => html`<ul class="lines">${
      rows.map((tx) => html`<${Payment} key=${tx.txId} tx=${tx} decimalsOf=${decimalsOf} />`)}</ul>`}<//>`;
}

function Payment({ tx, decimalsOf }) {
  const isHeld = tx.receipt.events.some(({ kind }) => kind === "kernel.held");
  const kind = tx.receipt.code !== "ok" ? "failed" : isHeld ? "held" : "final";
  const path = `/tx/${tx.txId}`;
  const open = (event) => { if (!event.target.closest("a, button")) go(path); };
  return html`<li data-row data-ident=${tx.txId} tabindex="0" onClick=${open}
    onKeyDown=${(event) => { if (event.key === "Enter" && event.target === event.currentTarget) go(path); }}>
    <${Badge} kind=${kind} /> <a class="what" href=${linkTo(path)}>${whatIs(tx, decimalsOf)}</a>
    <span class="muted">${kind === "failed" ? `${tx.receipt.reason ?? tx.receipt.code} · ` : ""}<${When} time=${tx.receipt.time} /></span></li>`;
}

/** What a transaction does in a line; ends of accounts only, the page behind it has them whole. */
function whatIs(tx, decimalsOf) {
  const [action] = tx.actions;
  const { asset, amount, recipient } = action?.fields ?? {};
  const more = tx.actions.length > 1 ? ` and ${tx.actions.length - 1} more` : "";
  if (asset && amount) {
    const to = recipient ? ` → ${endsText(recipient, 10, 4)}` : "";
    return html`<b>${amountText(amount, decimalsOf(asset))} ${asset}</b> ${endsText(tx.sender, 10, 4)}${to}${more}`;
  }
  return html`<b>${action?.name ?? "no action"}</b> by ${endsText(tx.sender, 10, 4)}${more}`;
}

// -- alerts

function Alerts() {
  const alerts = useCall("node_getAlerts", {}, { refresh: STATUS_MS, empty: (data) => !data.alerts.length });
  // What begins or ends is pushed; asking again now and then is for what a push missed.
  const pushed = useTopic("alerts", null, 1);
  useEffect(() => { if (pushed.events.length) alerts.retry(); }, [pushed.events[0]]);
  return html`<${Panel} kind="alerts" title="Alerts" state=${alerts} actions=${html`<a href="#/alerts">all</a>`}
    empty=${{ text: "✓ None of this node's own checks fires." }}>${(data) => html`<ul class="lines">${data.alerts.map((one) => html`
      <li key=${`${one.name}${one.subject ?? ""}`} data-row tabindex="-1"><${Badge} kind=${one.severity} text=${one.name} /> <span class="what">${one.summary}</span>
        <span class="muted">since <${When} time=${one.since} /> · <a href=${linkTo(`/runbook/${one.name}`)}>Runbook</a></span></li>`)}</ul>`}<//>`;
}
