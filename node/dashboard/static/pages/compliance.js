// Rules in force, lists they look into, what waits for officers, and who is frozen.

import { utcText } from "/assets/kit/format.js";
import { useCall, useTopic } from "/assets/kit/live.js";
import { Account, Badge, BlockLink, Call, Command, Facts, Ident, Pager, Panel, Table, TxLink, When, html, usePages } from "/assets/kit/parts.js";
import { setQuery } from "/assets/kit/router.js";
import { Money, PAGE_ROWS, Title, Value, useDecimals } from "./common.js";
import { verdictBadge } from "./story.js";
import { plainText, wordsOf } from "./text.js";

const SLOW_MS = 10_000;
const OFFICERS = "compliance";
const EVENTS_KEPT = 50;

export default function Compliance({ query }) {
  const holds = useHolds();
  return html`<${Title}>Compliance</${Title}><${Holds} holds=${holds} /><${Policies} query=${query} />
    <${Deciding} /><${Lists} query=${query} /><${Freezes} query=${query} /><${Issuers} /><${Lately} />
    <${Call} method="payment_listHolds" params=${{ officers: OFFICERS }} data=${holds.asked.data} />`;
}

function useHolds() {
  const { cursor, pager } = usePages("holds");
  const asked = useCall("payment_listHolds", { officers: OFFICERS, limit: PAGE_ROWS, cursor }, { refresh: "block", empty: (data) => !data?.holds.length });
  return { asked, pager };
}

function Holds({ holds: { asked, pager } }) {
  const decimalsOf = useDecimals();
  return html`<${Panel} wide title="Payments that wait for a decision" state=${asked} empty=${{ text: "Nothing is held: no rule of verdict hold applied to a payment.", command: "clawpurse hold list" }}>${({ holds, nextCursor }) => html`
    <${Table} rows=${holds} rowKey=${({ holdId }) => holdId} columns=${[
      { key: "state", title: "State", render: ({ votes, needed }) => html`<${Badge} kind="held" text=${`${votes.length} of ${needed}`} />` },
      { key: "amount", title: "Amount", number: true, render: ({ amount, asset }) => html`<${Money} minor=${amount} asset=${asset} decimals=${decimalsOf(asset)} />` },
      { key: "rule", title: "Rule", render: ({ rule, ruleVersion }) => html`<code>${rule}</code> v${ruleVersion}` },
      { key: "since", title: "Since", render: ({ since }) => html`<${When} time=${since} />` },
      { key: "expires", title: "Ends", render: ({ expires, atExpiry }) => (expires ? html`<${When} time=${expires} />: ${atExpiry}` : "–") },
      { key: "who", title: "From → to", wide: true, render: ({ payer, payee }) => html`<${Account} account=${payer} /><br />→ <${Account} account=${payee} />` },
      { key: "id", title: "Hold, and how to decide", wide: true, render: ({ holdId }) => html`<${Ident} value=${holdId} /><br /><${Command} text=${`clawpurse hold release ${holdId} --reason case-1 --from officer`} />` },
    ]} /><${Pager} nextCursor=${nextCursor} ...${pager} />`}</${Panel}>`;
}

function Policies() {
  const asked = useCall("compliance_getRules", {}, { refresh: SLOW_MS, empty: (data) => !data?.policies.length });
  return html`<${Panel} wide title="Rules" state=${asked} call empty=${{ text: "No policy is in force: every payment is allowed that its asset allows.", command: "clawpurse compliance propose policy.json --from officer" }}>${({ policies, quorum }) => html`
    ${quorum ? html`<p class="muted">${quorum.needed} officers must agree, and a policy begins ${quorum.delayMs / 3_600_000} h after they did at the earliest.</p>` : ""}
    ${policies.map((one) => html`<${Policy} key=${`${one.policy}.${one.version}`} policy=${one} />`)}`}</${Panel}>`;
}

function Policy({ policy }) {
  return html`<h3>${policy.policy} version ${policy.version} <${Badge} kind=${policy.state === "active" ? "ok" : policy.state === "waiting" ? "pending" : "expired"} text=${policy.state} />${" "}
      <span class="muted">${policy.asset ? html`for <a href=${`#/asset/${policy.asset}`}>${policy.asset}</a>` : "for all assets"}, since ${policy.activeFrom ? utcText(policy.activeFrom) : "–"}</span></h3>
    <p>${plainText(policy.meaning, 1_000)}</p>
    <${Table} rows=${policy.rules} rowKey=${({ rule }) => rule} columns=${[
      { key: "rule", title: "Rule", render: ({ rule }) => html`<code>${rule}</code>` },
      { key: "verdict", title: "Verdict", render: ({ verdict }) => html`<${Badge} ...${badgeOf(verdict)} />` },
      { key: "words", title: "Says", wide: true, render: ({ words }) => plainText(words, 1_000) },
    ]} /><details><summary>Approved by, and where</summary><${Facts} rows=${[["Approved by", html`<${Value} value=${policy.approvedBy} />`], ["In force from block", policy.activeHeight], ["Proposal", html`<${Ident} value=${policy.proposal} />`]]} /></details>`;
}

function badgeOf(verdict) {
  const [kind, text] = verdictBadge(verdict);
  return { kind, text };
}

function Deciding() {
  const asked = useCall("compliance_listProposals", { limit: PAGE_ROWS }, { refresh: SLOW_MS, empty: (data) => !data?.proposals.length && !data?.ballots.length });
  return html`<${Panel} title="Officers decide on" state=${asked} call empty=${{ text: "No policy and no other measure waits for officers.", command: "clawpurse compliance propose policy.json --from officer" }}>${({ proposals, ballots }) => html`
    ${proposals.map((one) => html`<${Facts} key=${one.proposal} rows=${[
      [`Proposal ${one.number}`, `${one.policy}: ${plainText(one.meaning)}`], ["Status", html`<${Badge} kind="pending" text=${one.status} /> ${one.approvedBy.length} for it, ${one.rejectedBy.length} against`],
      ["Ends", one.ends ? utcText(one.ends) : null], ["To approve", html`<${Command} text=${`clawpurse compliance approve ${one.number} --from officer`} />`]]} />`)}
    ${ballots.map((one) => html`<${Facts} key=${one.digest} rows=${[["Measure", one.action], ["Supported by", html`<${Value} value=${one.supportedBy} />`], ["Terms", html`<${Value} value=${one.fields} />`]]} />`)}`}</${Panel}>`;
}

function Lists({ query }) {
  const { cursor, pager } = usePages(query.list ?? "lists");
  const asked = useCall("compliance_getList", query.list ? { name: query.list, limit: PAGE_ROWS, cursor } : { limit: PAGE_ROWS, cursor },
    { refresh: SLOW_MS, empty: (data) => !data || (data.lists ? !data.lists.length : !data.entries.length) });
  return html`<${Panel} title=${query.list ? `List ${plainText(query.list)}` : "Lists"} state=${asked} call
      actions=${query.list ? html`<button type="button" onClick=${() => setQuery({ list: "" })}>All lists</button>` : ""}
      empty=${{ text: query.list ? "It has no entry." : "There is no list.", command: `clawpurse compliance ${query.list ? `list-add ${plainText(query.list)}` : "set-list"} --help` }}>${(data) => html`
    ${data.lists ? html`<${Table} rows=${data.lists} rowKey=${({ name }) => name} onOpen=${({ name }) => setQuery({ list: name })} columns=${[
      { key: "name", title: "List", render: ({ name }) => html`<button type="button" onClick=${() => setQuery({ list: name })}>${name}</button>` }, { key: "title", title: "Title", render: ({ title }) => plainText(title) },
      { key: "entries", title: "Entries", number: true }, { key: "version", title: "Version", number: true }]} />`
      : html`<${Table} rows=${data.entries} rowKey=${({ entry }) => entry} columns=${[
        { key: "entry", title: "Entry", wide: true, render: ({ entry, account }) => (account ? html`<${Account} account=${account} />` : html`<${Ident} value=${entry} />`) },
        { key: "since", title: "Since version", number: true, render: ({ since }) => (typeof since === "object" ? html`<${Value} value=${since} />` : since) }]} />`}
    <${Pager} nextCursor=${data.nextCursor} ...${pager} />`}</${Panel}>`;
}

function Freezes({ query }) {
  const assets = useCall("asset_list", { limit: 500 }, { refresh: SLOW_MS });
  const freezable = (assets.data?.assets ?? []).filter(({ flags }) => flags.includes("freezable")).map(({ asset }) => asset);
  const asset = query.asset ?? freezable[0];
  const { cursor, pager } = usePages(asset);
  const asked = useCall("compliance_listFreezes", { asset, limit: PAGE_ROWS, cursor }, { refresh: SLOW_MS, when: Boolean(asset), empty: (data) => !data?.freezes.length && !data?.allFrozen });
  const state = assets.state === "ready" && !asset ? "empty" : asset ? asked : assets;
  return html`<${Panel} title="Frozen" state=${state} empty=${{ text: asset ? `Nobody is frozen in ${asset}.` : "No asset can be frozen.", command: asset ? `clawpurse asset freeze ${asset} alice --reason case-1 --from issuer` : undefined }}
      actions=${freezable.length ? html`<label class="inline">Asset <select onChange=${(event) => setQuery({ asset: event.currentTarget.value })}>${freezable.map((one) => html`<option key=${one} selected=${one === asset}>${one}</option>`)}</select></label>` : ""}>${({ allFrozen, freezes, nextCursor }) => html`
    ${allFrozen ? html`<p><${Badge} kind="held" text="all frozen" /> Nobody can move ${asset}.</p>` : ""}
    ${freezes.length ? html`<${Table} rows=${freezes} rowKey=${({ account }) => account} columns=${[
      { key: "level", title: "How", render: ({ level }) => html`<${Badge} kind="held" text=${wordsOf(level)} />` },
      { key: "height", title: "Block", number: true, render: ({ height }) => html`<${BlockLink} height=${height} />` },
      { key: "reason", title: "Why", render: ({ reason }) => plainText(reason ?? "no reason given") },
      { key: "account", title: "Who", wide: true, render: ({ account }) => html`<${Account} account=${account} />` },
      { key: "by", title: "By", wide: true, render: ({ by }) => html`<${Account} account=${by} />` },
    ]} />` : ""}<${Pager} nextCursor=${nextCursor} ...${pager} />`}</${Panel}>`;
}

function Issuers() {
  const { cursor, pager } = usePages("issuers");
  const asked = useCall("credential_listIssuers", { limit: PAGE_ROWS, cursor }, { refresh: SLOW_MS, empty: (data) => !data?.issuers.length });
  return html`<${Panel} title="Who may attest" state=${asked} call empty=${{ text: "Nobody may attest anything.", command: "clawpurse credential set-issuer bank kyc --from office" }}>${({ issuers, nextCursor }) => html`
    <${Table} rows=${issuers} rowKey=${({ issuer }) => issuer} columns=${[
      { key: "active", title: "State", render: ({ active }) => html`<${Badge} kind=${active ? "ok" : "expired"} text=${active ? "may" : "no longer"} />` },
      { key: "topics", title: "Topics", render: ({ topics }) => topics.join(", ") },
      { key: "issuer", title: "Issuer", wide: true, render: ({ issuer }) => html`<${Account} account=${issuer} />` },
    ]} /><${Pager} nextCursor=${nextCursor} ...${pager} />`}</${Panel}>`;
}

function Lately() {
  const { events, failure } = useTopic("compliance", null, EVENTS_KEPT);
  const state = failure ? { state: "error", error: failure } : events.length ? "ready" : "empty";
  return html`<${Panel} wide title="Since this page was opened" state=${state} empty=${{ text: "Nothing that officers follow happened since." }}>${() => html`
    <${Table} rows=${events} rowKey=${({ cursor }) => cursor} columns=${[
      { key: "kind", title: "Event", render: ({ data }) => html`<code>${data.kind}</code>` },
      { key: "height", title: "Block", number: true, render: ({ data }) => html`<${BlockLink} height=${data.height} />` },
      { key: "data", title: "Data", wide: true, render: ({ data }) => html`<${Value} value=${data.data} />` },
      { key: "tx", title: "Transaction", wide: true, render: ({ data }) => (data.txId ? html`<${TxLink} txId=${data.txId} />` : "due work") },
    ]} />`}</${Panel}>`;
}
