// All assets: what exists of each, who issues it, what its issuer can do.

import { amountText } from "/assets/kit/format.js";
import { useCall } from "/assets/kit/live.js";
import { Account, Badge, Call, Pager, Panel, Table, html, usePages } from "/assets/kit/parts.js";
import { go } from "/assets/kit/router.js";
import { PAGE_ROWS, Title } from "./common.js";
import { plainText, wordsOf } from "./text.js";

export default function Assets() {
  const { cursor, pager } = usePages("assets");
  const params = { limit: PAGE_ROWS, cursor };
  const asked = useCall("asset_list", params, { refresh: "block", empty: (data) => !data?.assets.length });
  return html`<${Title}>Assets</${Title}>
    <${Panel} wide title="Oldest first" state=${asked} empty=${{ text: "No asset exists.", command: "clawpurse asset create EURX --from issuer" }}>${({ assets, nextCursor }) => html`
      <${Table} rows=${assets} rowKey=${({ asset }) => asset} onOpen=${({ asset }) => go(`/asset/${asset}`)} columns=${[
        { key: "asset", title: "Asset", render: ({ asset }) => html`<a href=${`#/asset/${asset}`}><b>${asset}</b></a>` },
        { key: "title", title: "Title", render: ({ title }) => plainText(title) },
        { key: "supply", title: "Supply", number: true, render: ({ supply, decimals }) => amountText(supply, decimals) },
        { key: "cap", title: "Cap", number: true, render: ({ cap, decimals }) => (cap === null ? "none" : amountText(cap, decimals)) },
        { key: "flags", title: "Its issuer can", render: ({ flags, issuer, frozen }) => html`${frozen ? html`<${Badge} kind="held" text="all frozen" /> ` : ""}${issuer ? flags.map(wordsOf).join(", ") || "nothing special" : html`<span class="muted">no issuer</span>`}` },
        { key: "issuer", title: "Issuer", wide: true, render: ({ issuer }) => (issuer ? html`<${Account} account=${issuer} />` : html`<span class="muted">of the genesis</span>`) },
      ]} /><${Pager} nextCursor=${nextCursor} ...${pager} />`}</${Panel}>
    <${Call} method="asset_list" params=${params} data=${asked.data} />`;
}
