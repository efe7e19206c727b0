// One account: what it has, what it did, who may sign for it, and what it has to do with.

import { NOT_FOUND } from "/assets/kit/rpc.js";
import { amountText, grouped, utcText } from "/assets/kit/format.js";
import { useCall } from "/assets/kit/live.js";
import { Account as AccountLink, Badge, BlockLink, Call, Command, Facts, Ident, Pager, Panel, Table, When, html, usePages } from "/assets/kit/parts.js";
import { go } from "/assets/kit/router.js";
import { useMemo, useState } from "/assets/kit/vendor/preact.js";
import { Fresh, Money, PAGE_ROWS, Title, Value, useCalm, useDecimals } from "./common.js";
import { transactionColumns } from "./block.js";
import { commandOf } from "./effects.js";
import { qrPath } from "./qr.js";
import { plainText, wordsOf } from "./text.js";

const SLOW_MS = 15_000;

export default function AccountPage({ params: { account } }) {
  const isAccount = /^claw1[02-9ac-hj-np-z]{58}$/.test(account);
  if (!isAccount) {
    return html`<${Title}>Account</${Title}><${Panel} wide title="This is no account" state="ready"><p><${Badge} kind="unknown" text="not an account" /> <code>${plainText(account)}</code></p>
      <p>Accounts are claw1 and 58 more letters and digits, without b, i, o and 1.</p></${Panel}><${Call} method="account_get" params=${{ account: plainText(account) }} />`;
  }
  return html`<${Title}>Account</${Title}><${Head} account=${account} /><${Balances} account=${account} />
    <${History} account=${account} /><${Signers} account=${account} /><${Credentials} account=${account} />
    <${Objects} account=${account} /><${Sponsorships} account=${account} />
    <${Call} method="account_get" params=${{ account }} />`;
}

function Head({ account }) {
  const asked = useCall("account_get", { account }, { refresh: "block" });
  const pending = useCall("mempool_getBySender", { account }, { refresh: "block" });
  const isUnknown = asked.error?.code === NOT_FOUND;
  const state = isUnknown ? "empty" : asked;
  return html`<${Panel} title="Address" state="ready"><p><${Ident} value=${account} /></p><${Receive} account=${account} />
    <${Panel} level=${3} title="" state=${state} empty=${{ text: "It is not open yet: it opens with the first payment to it.", command: "clawpurse wallet send " + account + " 1 --asset CLAW" }}>
    ${(data) => html`<${Facts} rows=${[
      ["Key", data.key ? html`<${Ident} value=${data.key} />` : data.multisig ? "several sign" : "none"],
      ["Takes payments from", data.depositAuth ? "those it allows" : "everybody"],
      ["Next sequences", data.lanes.length ? data.lanes.map(({ lane, nextSequence }) => `lane ${lane}: ${nextSequence}`).join(", ") : "0, it sent nothing yet"],
      ["Pending", pending.data ? `${pending.data.transactions.length}` : null],
      ["Quota", `${grouped(data.quota.used)} of ${grouped(data.quota.max)} cost in this minute`],
    ]} />`}</${Panel}></${Panel}>`;
}

function Receive({ account }) {
  const [open, setOpen] = useState(false);
  const code = useMemo(() => (open ? qrPath(account) : null), [open, account]);
  return html`<details onToggle=${(event) => setOpen(event.currentTarget.open)}><summary>Receive: as QR code</summary>
    ${code ? html`<svg viewBox=${`0 0 ${code.width} ${code.width}`} width="260" height="260" role="img" aria-label=${`QR code of ${account}`} shape-rendering="crispEdges">
      <rect width=${code.width} height=${code.width} fill="#ffffff" /><path d=${code.path} fill="#000000" /></svg>` : ""}
    <p class="muted">It holds the address above, nothing else. Compare the whole address before you pay.</p></details>`;
}

function Balances({ account }) {
  const asked = useCall("account_getBalances", { account }, { refresh: "block", empty: (data) => !data?.balances.length });
  return html`<${Panel} title="Balances" state=${asked} call empty=${{ text: "It has nothing.", command: "clawpurse faucet alice" }}>${({ balances }) => html`
    <${Table} rows=${balances} rowKey=${({ asset }) => asset} onOpen=${({ asset }) => go(`/asset/${asset}`)} columns=${[
      { key: "asset", title: "Asset", render: ({ asset }) => html`<a href=${`#/asset/${asset}`}>${asset}</a>` },
      { key: "amount", title: "Free", number: true, render: ({ amount, decimals }) => amountText(amount, decimals) },
      { key: "held", title: "Held", number: true, render: ({ held, decimals }) => amountText(held, decimals) },
      { key: "all", title: "Together", number: true, render: ({ amount, held, decimals }) => html`<b>${amountText(String(BigInt(amount) + BigInt(held)), decimals)}</b>` },
    ]} />`}</${Panel}>`;
}

function History({ account }) {
  const { cursor, pager } = usePages(account);
  const asked = useCall("account_getTransactions", { account, limit: PAGE_ROWS, cursor, newestFirst: true },
    { refresh: cursor ? null : "block", empty: (data) => !data?.transactions.length });
  const decimalsOf = useDecimals();
  const calm = useCalm(asked.data?.transactions ?? [], ({ txId }) => txId);
  return html`<${Panel} wide title="History" state=${asked} call actions=${html`<${Fresh} count=${calm.fresh} show=${calm.show} />`}
    empty=${{ text: "No final transaction touched it.", command: "clawpurse faucet alice" }}>${({ nextCursor }) => html`
    <div ...${calm.hold}><${Table} rows=${calm.rows} rowKey=${({ txId }) => txId} onOpen=${({ txId }) => go(`/tx/${txId}`)} columns=${[
      { key: "time", title: "Final", render: ({ receipt }) => html`<${When} time=${receipt.time} />` },
      { key: "way", title: "", render: ({ sender }) => (sender === account ? "→ out" : "← in") },
      ...transactionColumns(decimalsOf),
      { key: "height", title: "Block", number: true, render: ({ height }) => html`<${BlockLink} height=${height} />` },
    ]} /></div><${Pager} nextCursor=${nextCursor} ...${pager} />`}</${Panel}>`;
}

function Signers({ account }) {
  const asked = useCall("account_getSigners", { account }, { refresh: SLOW_MS });
  const state = asked.error?.code === NOT_FOUND ? "empty" : asked;
  return html`<${Panel} title="Who signs" state=${state} call empty=${{ text: "Nobody yet: the account is not open." }}>${({ key, threshold, policy, signers, sessions }) => html`
    <${Facts} rows=${[
      ["Its key", key ? html`<${Ident} value=${key} />` : "none: several sign"],
      ["Needed weight", threshold ?? undefined], ["Policy", policy ?? undefined],
    ]} />
    ${signers.length ? html`<${Table} rows=${signers} rowKey=${(one) => one.account} columns=${[
      { key: "account", title: "Signer", wide: true, render: (one) => html`<${AccountLink} account=${one.account} />` },
      { key: "weight", title: "Weight", number: true }]} />` : ""}
    <h3>Session keys</h3>
    ${sessions.length ? sessions.map((one) => html`<${Session} key=${one.key} session=${one} />`)
      : html`<p class="muted">None: only the account's own key signs. For an agent: <${Command} text="clawpurse session create robot --from alice --cap CLAW 1 10 --expires 7d" /></p>`}`}</${Panel}>`;
}

function Session({ session }) {
  const caps = session.caps.map(({ asset, decimals, perTransaction, perDay, leftToday }) => html`<li key=${asset}>
    <${Money} minor=${perTransaction} asset=${asset} decimals=${decimals} /> at once, ${amountText(perDay, decimals)} a day, ${amountText(leftToday, decimals)} left today</li>`);
  return html`<${Facts} rows=${[
    ["Key", html`<${Ident} value=${session.key} /> ${session.label ? html`<q>${plainText(session.label)}</q>` : ""}`],
    ["Until", html`${utcText(session.expires)} (<${When} time=${session.expires} />)`],
    ["May", session.actions.join(", ")],
    ["Limits", html`<ul class="plain">${caps}</ul>`],
    ["Only to", session.recipients.length ? html`<${Value} value=${session.recipients} />` : "anybody"],
  ]} />`;
}

function Credentials({ account }) {
  const asked = useCall("credential_list", { account }, { refresh: SLOW_MS, empty: (data) => !data?.credentials.length });
  return html`<${Panel} title="Attested of it" state=${asked} call empty=${{ text: "Nobody attests anything of it.", command: `clawpurse credential issue ${account} kyc --level 2 --from issuer` }}>
    ${({ credentials }) => html`<${Table} rows=${credentials} rowKey=${({ topic, issuer }) => topic + issuer} columns=${[
      { key: "topic", title: "Topic", render: ({ topic, level }) => `${topic}, level ${level}` },
      { key: "counts", title: "Counts", render: ({ counts, status }) => html`<${Badge} kind=${counts ? "ok" : status === "issued" ? "pending" : "expired"} text=${counts ? "counts" : status} />` },
      { key: "expires", title: "Until", render: ({ expires }) => utcText(expires).slice(0, 10) },
      { key: "issuer", title: "By", wide: true, render: ({ issuer }) => html`<${AccountLink} account=${issuer} />` },
    ]} />`}</${Panel}>`;
}

function Objects({ account }) {
  const { cursor, pager } = usePages(account);
  const asked = useCall("account_getObjects", { account, cursor, limit: PAGE_ROWS }, { refresh: "block", empty: (data) => !data?.objects.length });
  return html`<${Panel} title="Holds, escrows, batches, invoices, …" state=${asked} call empty=${{ text: "It has to do with nothing that is open.", command: "clawpurse invoice create 25 --purpose 'order 7' --from alice" }}>
    ${({ objects, nextCursor }) => html`<${Table} rows=${objects} rowKey=${({ kind, id }) => kind + id} columns=${[
      { key: "kind", title: "Kind", render: ({ kind }) => wordsOf(kind) },
      { key: "id", title: "Id", wide: true, render: ({ kind, id }) => html`<${Value} value=${id} />${SHOWN.has(kind) ? html`<br /><${Command} text=${commandOf({ kind, id })} />` : ""}` },
    ]} /><${Pager} nextCursor=${nextCursor} ...${pager} />`}</${Panel}>`;
}

const SHOWN = new Set(["hold", "escrow", "batch", "invoice", "channel", "payment", "scheduled", "proposal"]);

function Sponsorships({ account }) {
  const given = useCall("sponsorship_list", { sponsor: account }, { refresh: SLOW_MS });
  const taken = useCall("sponsorship_list", { account }, { refresh: SLOW_MS });
  const rows = [...(given.data?.sponsorships ?? []), ...(taken.data?.sponsorships ?? [])];
  const asked = given.state !== "ready" ? given : taken;
  return html`<${Panel} title="Sponsorships" state=${asked.state === "ready" && !rows.length ? "empty" : asked} empty=${{ text: "It pays nobody's fees, and nobody pays its.", command: "clawpurse sponsor grant --help" }}>
    ${() => html`<${Table} rows=${rows} rowKey=${(row) => row.sponsor + row.account} columns=${[
      { key: "sponsor", title: "Pays", wide: true, render: ({ sponsor }) => html`<${AccountLink} account=${sponsor} />` },
      { key: "account", title: "for", wide: true, render: (row) => html`<${AccountLink} account=${row.account} />` },
      { key: "left", title: "Left today", number: true, render: ({ leftToday, asset, decimals }) => html`<${Money} minor=${leftToday} asset=${asset} decimals=${decimals} />` },
      { key: "expires", title: "Until", render: ({ expires }) => utcText(expires).slice(0, 16) },
    ]} />`}</${Panel}>`;
}
