// Who decides: whether they sign now, who signed lately, and what they vote on.

import { countText, spanText, utcText } from "/assets/kit/format.js";
import { explanation, useCall, useSignal } from "/assets/kit/live.js";
import { Badge, BlockLink, Call, Facts, Ident, Pager, Panel, Sentence, Table, html, usePages } from "/assets/kit/parts.js";
import { PAGE_ROWS, Title, Value } from "./common.js";
import { MARKS, signedShare, signingRows } from "./signing.js";
import { plainText, wordsOf } from "./text.js";

const SLOW_MS = 10_000;
const GRID_BLOCKS = 100;
const SECOND_MS = 1_000;
const GOOD = new Set(["signing", "self"]);

export default function Authorities() {
  const asked = useCall("consensus_getAuthorities", {}, { refresh: "block" });
  return html`<${Title}>Authorities</${Title}><${Sentence} />
    <${Now} asked=${asked} /><${Grid} /><${Change} asked=${asked} /><${Round} /><${Keys} />
    <${Proposals} /><${Amendments} /><${Evidence} />
    <${Call} method="consensus_getAuthorities" data=${asked.data} />`;
}

function Now({ asked }) {
  const found = useSignal(explanation);
  const standings = new Map((found?.authorities ?? []).map((one) => [one.authority, one]));
  const missing = new Map((found?.missing ?? []).map((one) => [one.authority, one]));
  return html`<${Panel} wide title="Now" state=${asked} actions=${found ? html`<span>${found.quorum.have} of ${found.quorum.of} heard, ${found.quorum.need} needed</span>` : ""}>${({ authorities }) => html`
    <${Table} rows=${authorities} rowKey=${({ authority }) => authority} columns=${[
      { key: "name", title: "Authority", wide: true, render: ({ authority, name }) => html`<b>${name ?? standings.get(authority)?.name ?? ""}</b>${found?.proposer === authority ? " ◆ proposes next" : ""} <${Ident} value=${authority} />` },
      { key: "standing", title: "Standing", render: ({ authority }) => standing(standings.get(authority)) },
      { key: "since", title: "Missing", render: ({ authority }) => {
        const gone = missing.get(authority);
        return gone ? html`<${Badge} kind="warning" text=${`${wordsOf(gone.standing)} ${spanText(gone.sinceMs)}`} />` : "no";
      } },
      { key: "seen", title: "Newest vote", number: true, render: ({ authority }) => {
        const height = standings.get(authority)?.lastSeenHeight;
        return height === null || height === undefined ? "–" : html`<${BlockLink} height=${height} />`;
      } },
      { key: "newest", title: "In newest certificate", render: ({ inNewestCertificate }) => (inNewestCertificate ? "yes" : "no, which proves nothing") },
    ]} /><p class="muted">“Silent” is said only of who is not heard. A certificate takes the first votes that suffice and leaves later ones out.</p>`}</${Panel}>`;
}

function standing(one) {
  if (!one) return html`<${Badge} kind="unknown" />`;
  return html`<${Badge} kind=${GOOD.has(one.standing) ? "ok" : one.standing === "unknown" ? "unknown" : "warning"} text=${wordsOf(one.standing)} />`;
}

function Grid() {
  const asked = useCall("consensus_getSigning", { blocks: GRID_BLOCKS }, { refresh: "block", empty: (data) => !data?.blocks.length });
  return html`<${Panel} wide title=${`Signing, last ${GRID_BLOCKS} blocks`} state=${asked} call empty=${{ text: "No block has a certificate yet.", command: "clawpurse status" }}>${(data) => html`
    <div class="grid">${signingRows(data).map(({ authority, name, cells, delayMs }) => {
      const share = signedShare(cells);
      return html`<div class="row" key=${authority}><span class="name">${name ?? authority}</span><span class="cells" role="img" aria-label=${`${name ?? authority}: in ${share === null ? "no" : `${Math.round(share * 100)} % of`} certificates`}>
        ${[...cells].reverse().map(({ height, mark }) => html`<span key=${height} class=${mark === "-" ? "n" : mark} title=${`block ${height}: ${MARKS[mark].word}`}>${MARKS[mark].glyph}</span>`)}</span>
        <span class="number">${share === null ? "–" : `${Math.round(share * 100)} %`} · ${delayText(delayMs)}</span></div>`;
    })}</div><p class="muted">${Object.values(MARKS).map(({ glyph, word }) => `${glyph} ${word}`).join("   ")}. At the right: in how many of these
      certificates, and the delay: how long after the first vote of a step its own usually comes to this node, the way included.</p>
    <details><summary>as table</summary><${Table} rows=${signingRows(data)} rowKey=${({ authority }) => authority} columns=${[
      { key: "name", title: "Authority", render: ({ name, authority }) => name ?? authority },
      ...["p", "s", "o", "-"].map((mark) => ({ key: mark, title: MARKS[mark].word, number: true, render: ({ cells }) => cells.filter((cell) => cell.mark === mark).length })),
      { key: "delay", title: "Delay", number: true, render: ({ delayMs }) => delayText(delayMs) },
    ]} /></details>`}</${Panel}>`;
}

/** A delay in words; a dash for what was not measured since this node started. */
function delayText(ms) {
  if (ms === null || ms === undefined) return "–";
  return ms < SECOND_MS ? `${ms} ms` : spanText(ms);
}

function Change({ asked }) {
  if (!asked.data?.change) return "";
  const { height, added, removed } = asked.data.change;
  return html`<${Panel} title=${`! From block ${height} on others decide`} state="ready"><${Facts} rows=${[["Added", html`<${Value} value=${added} />`], ["Removed", html`<${Value} value=${removed} />`]]} /></${Panel}>`;
}

function Round() {
  const asked = useCall("consensus_getState", {}, { refresh: 2_000 });
  return html`<${Panel} title="This height" state=${asked} call>${(data) => html`<${Facts} rows=${[
    ["Height, round", `${data.height}, ${data.round}`], ["Step", wordsOf(data.step)],
    ["This round takes", spanText(data.roundMs)], ["This height takes", spanText(data.heightMs)],
    ["Quorum", data.quorum],
    ...data.votes.map((one) => [`Votes, round ${one.round}`, `${countText(one.prevotesBy.length, "prevote")}, ${countText(one.precommitsBy.length, "precommit")}`]),
    ["Refused messages", data.refused?.length ?? data.refused ?? undefined],
  ].map(([name, value]) => [name, typeof value === "object" ? html`<${Value} value=${value} />` : value])} />`}</${Panel}>`;
}

function Proposals() {
  const { cursor, pager } = usePages("proposals");
  const asked = useCall("governance_listProposals", { status: "all", limit: PAGE_ROWS, cursor }, { refresh: SLOW_MS, empty: (data) => !data?.proposals.length });
  return html`<${Panel} wide title="What they vote on" state=${asked} call empty=${{ text: "Nothing was ever proposed.", command: "clawpurse authority propose --help" }}>${({ proposals, nextCursor }) => html`
    <${Table} rows=${proposals} rowKey=${({ proposal }) => proposal} columns=${[
      { key: "status", title: "Status", render: ({ status }) => html`<${Badge} kind=${{ passed: "final", open: "pending", waiting: "pending", failed: "failed", expired: "expired" }[status] ?? "unknown"} text=${wordsOf(status)} />` },
      { key: "says", title: "Proposal", render: ({ says, reason }) => html`${plainText(says)}${reason ? html`<br /><span class="muted">${plainText(reason)}</span>` : ""}` },
      { key: "votes", title: "Votes", number: true, render: ({ votes, counted, quorum }) => `${counted ?? votes.length} of ${quorum ?? "?"}` },
      { key: "expires", title: "Until", render: ({ expires }) => (expires ? utcText(expires) : "–") },
      { key: "proposal", title: "Id", wide: true, render: ({ proposal }) => html`<${Ident} value=${proposal} />` },
    ]} /><${Pager} nextCursor=${nextCursor} ...${pager} />`}</${Panel}>`;
}

function Amendments() {
  const asked = useCall("consensus_listAmendments", {}, { refresh: SLOW_MS, empty: (data) => !data?.amendments.length });
  return html`<${Panel} title="Changes of the rules" state=${asked} call empty=${{ text: "The rules are those of the genesis.", command: "clawpurse upgrade --help" }}>${({ amendments }) => html`
    <${Table} rows=${amendments} rowKey=${({ name }) => name} columns=${[
      { key: "name", title: "Amendment" }, { key: "activationHeight", title: "From block", number: true },
      { key: "active", title: "In force", render: ({ active }) => (active ? "yes" : "not yet") },
      { key: "known", title: "Known here", render: ({ known }) => html`<${Badge} kind=${known ? "ok" : "critical"} text=${known ? "known" : "unknown: upgrade this node"} />` },
    ]} />`}</${Panel}>`;
}

function Evidence() {
  const asked = useCall("consensus_getEvidence", { limit: PAGE_ROWS }, { refresh: SLOW_MS, empty: (data) => !data?.evidence.length });
  return html`<${Panel} title="Evidence" state=${asked} call empty=${{ text: "No authority was seen to sign twice." }}>${({ evidence }) => html`
    <${Table} rows=${evidence} rowKey=${({ raw }) => raw} columns=${[
      { key: "state", title: "State", render: ({ state }) => html`<${Badge} kind=${state === "committed" ? "final" : "pending"} text=${state} />` },
      { key: "height", title: "Block", number: true, render: ({ height }) => html`<${BlockLink} height=${height} />` },
      { key: "authority", title: "Signed twice", wide: true, render: ({ authority }) => html`<${Ident} value=${authority} />` },
    ]} />`}</${Panel}>`;
}

function Keys() {
  const asked = useCall("consensus_getSignerMetrics", {}, { refresh: SLOW_MS, empty: (data) => !data?.keys.length });
  return html`<${Panel} title="Keys of this node" state=${asked} call empty=${{ text: "This node follows: it has no authority key." }}>${({ keys }) => html`
    ${keys.map((one) => html`<${Facts} key=${one.authority} rows=${[
      ["Key", html`<${Ident} value=${one.authority} />`],
      ["State", html`<${Badge} kind=${one.state === "signing" ? "ok" : "warning"} text=${one.state} /> ${plainText(one.why)}`],
      ["Signed last", `block ${one.watermark.height}, round ${one.watermark.round}`], ["Refused to sign", one.refusals],
    ]} />`)}`}</${Panel}>`;
}

