// One asset: its supply as a sum, its issuer's powers, its holders and what backs it.

import { amountText, utcText } from "/assets/kit/format.js";
import { useCall } from "/assets/kit/live.js";
import { Account, Badge, BlockLink, Call, Command, Facts, Ident, Pager, Panel, Table, html, usePages } from "/assets/kit/parts.js";
import { go } from "/assets/kit/router.js";
import { NOT_FOUND } from "/assets/kit/rpc.js";
import { PAGE_ROWS, Title } from "./common.js";
import { NATIVE, supplyOf } from "./effects.js";
import { plainText, wordsOf } from "./text.js";

const POWERS = {
  authorisationRequired: "holders must be authorised",
  authorisationRevocable: "an authorisation can be taken back",
  freezable: "a holder, or all, can be frozen",
  clawback: "the issuer can take it back from a holder",
  transferable: "holders can pay each other",
  immutable: "nothing of this can change any more",
};
const PARTS = { balances: "Balances", holds: "Holds", escrows: "Escrows", channels: "Channels", scheduled: "Scheduled payments" };
const SLOW_MS = 15_000;

export default function Asset({ params: { asset } }) {
  const asked = useCall("asset_get", { asset }, { refresh: "block" });
  if (asked.error?.code === NOT_FOUND) {
    return html`<${Title}>${plainText(asset)}</${Title}><${Panel} wide title="Not here" state="empty" empty=${{ text: "No asset of this name exists. It may be of another network, or not created yet.", command: `clawpurse asset create ${plainText(asset)} --from issuer` }} />
      <${Call} method="asset_get" params=${{ asset }} />`;
  }
  return html`<${Title} beside=${asked.data?.frozen ? html`<${Badge} kind="held" text="all frozen" />` : ""}>${asset} ${asked.data ? html`<small class="muted">${plainText(asked.data.title)}</small>` : ""}</${Title}>
    <${Supply} asset=${asset} /><${What} asked=${asked} />
    <${Reserve} asked=${asked} />${asset === NATIVE ? "" : html`<${Holders} asset=${asset} decimals=${asked.data?.decimals} />`}
    <${Call} method="asset_get" params=${{ asset }} data=${asked.data} />`;
}

function Supply({ asset }) {
  const asked = useCall("asset_getSupplyParts", { asset }, { refresh: SLOW_MS });
  return html`<${Panel} title="Supply" state=${asked} call>${({ supply, decimals, parts, height, why }) => {
    if (!parts) return html`<p><b>${amountText(supply, decimals)} ${asset}</b></p><p class="muted">Its parts are not added up: ${why}.</p>`;
    const sum = supplyOf(supply, Object.entries(parts).map(([name, amount]) => ({ name: PARTS[name] ?? wordsOf(name), amount })));
    return html`<dl class="facts">${sum.parts.map(({ name, amount }, at) => html`<div key=${name}><dt>${at ? "+ " : ""}${name}</dt><dd class="number">${amountText(amount, decimals)}</dd></div>`)}
      <div><dt>= all of it</dt><dd class="number"><b>${amountText(sum.sum, decimals)}</b></dd></div>
      <div><dt>Supply, as the ledger counts it</dt><dd class="number"><b>${amountText(supply, decimals)} ${asset}</b>${" "}
        <${Badge} kind=${sum.isEqual ? "ok" : "failed"} text=${sum.isEqual ? "equal" : "NOT equal"} /></dd></div></dl>
      <p class="muted">After block <${BlockLink} height=${height} />, each balance and hold added up by the node for this page.</p>`;
  }}</${Panel}>`;
}

function What({ asked }) {
  return html`<${Panel} title="What it is" state=${asked}>${(data) => html`<${Facts} rows=${[
    ["Issuer", data.issuer ? html`<${Account} account=${data.issuer} />` : "none: it is of the genesis, and nobody can issue, freeze or take it"],
    ["Decimals", data.decimals],
    ["Cap", data.cap === null ? "none" : amountText(data.cap, data.decimals)],
    ["Powers", data.flags.length ? html`<ul class="plain">${data.flags.map((flag) => html`<li key=${flag}><b>${wordsOf(flag)}</b>: ${POWERS[flag] ?? ""}</li>`)}</ul>` : "none"],
    ["Frozen", data.frozen ? "all of it" : "no"],
    ["Metadata", data.metadata ? plainText(data.metadata, 1_000) : "none"],
    ["Metadata hash", data.metadataHash ? html`<${Ident} value=${data.metadataHash} />` : undefined],
    ...data.agents.map(({ duty, accounts }) => [`May ${wordsOf(duty)}`, html`<ul class="plain">${accounts.map((account) => html`<li key=${account}><${Account} account=${account} /></li>`)}</ul>`]),
  ]} />`}</${Panel}>`;
}

function Reserve({ asked }) {
  const reserve = asked.data?.reserve;
  return html`<${Panel} title="What backs it" state=${asked.state === "ready" && !reserve ? "empty" : asked}
      empty=${{ text: "Nobody attested a reserve.", command: asked.data?.issuer ? `clawpurse asset reserve ${asked.data.asset} --help` : undefined }}>${({ decimals, supply }) => html`
    <p><${Badge} kind=${reserve.valid ? "ok" : "expired"} text=${reserve.valid ? "valid" : "not valid any more"} />
      ${BigInt(reserve.amount) >= BigInt(supply) ? "It covers the supply." : html`<${Badge} kind="warning" text="less than the supply" />`}</p>
    <${Facts} rows=${[
      ["Reserve", amountText(reserve.amount, decimals)], ["As of", utcText(reserve.asOf)], ["Valid until", utcText(reserve.validUntil)],
      ["Document", html`<${Ident} value=${reserve.documentHash} />`], ["Attested by", html`<${Account} account=${reserve.by} />`],
      ["In block", html`<${BlockLink} height=${reserve.height} />`],
    ]} />`}</${Panel}>`;
}

function Holders({ asset, decimals }) {
  const { cursor, pager } = usePages(asset);
  const asked = useCall("asset_getHolders", { asset, cursor, limit: PAGE_ROWS }, { refresh: "block", empty: (data) => !data?.holders.length });
  return html`<${Panel} wide title="Holders" state=${asked} call empty=${{ text: "Nobody has any of it.", command: `clawpurse asset mint ${asset} alice 100 --from issuer` }}>${({ holders, nextCursor }) => html`
    <${Table} rows=${holders} rowKey=${({ account }) => account} onOpen=${({ account }) => go(`/account/${account}`)} columns=${[
      { key: "account", title: "Holder", wide: true, render: ({ account }) => html`<${Account} account=${account} />` },
      { key: "amount", title: "Free", number: true, render: ({ amount }) => amountText(amount, decimals) },
      { key: "held", title: "Held", number: true, render: ({ held }) => amountText(held, decimals) },
      { key: "authorisation", title: "Authorised", render: ({ authorisation }) => authorisation ?? "–" },
      { key: "freeze", title: "Frozen", render: ({ freeze, frozenBy }) => (freeze === "none" ? "no" : html`<${Badge} kind="held" text=${wordsOf(freeze)} />${frozenBy ? html` ${plainText(frozenBy.reason ?? "")}, block <${BlockLink} height=${frozenBy.height} />` : ""}`) },
    ]} /><${Pager} nextCursor=${nextCursor} ...${pager} />`}</${Panel}>`;
}
