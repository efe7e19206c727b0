// What waits for somebody's yes, by kind: proposals of authorities, of accounts with several
// signers, batches of payments, and value that is held.

import { EntityList, EntityPage } from "/assets/kit/entities.js";
import { amountText, countText } from "/assets/kit/format.js";
import { Account, Amount, When, html } from "/assets/kit/parts.js";
import { linkTo } from "/assets/kit/router.js";

const LIMIT = 50;
const FOR_ACCOUNT = { name: "account", label: "Account", hint: "Give an account, claw1…: these are listed by who has to do with them." };
const word = (text) => text.replace(/([A-Z])/g, " $1").toLowerCase();
const votes = (yes, no) => [...yes.map((one) => ({ kind: "ok", text: one })), ...no.map((one) => ({ kind: "failed", text: `${one} said no` }))];
const waiting = (accounts) => accounts.map((one) => ({ kind: "open", text: `${one} has not answered` }));

const GOVERNANCE_STATES = {
  open: "open", waiting: "pending", adopted: "final", inForce: "final", rejected: "failed", expired: "expired", failed: "failed",
};

const governance = {
  name: "governance", title: "Change of the network", plural: "Changes of the network", path: "/approvals/governance",
  about: "What the authorities vote on: authorities, parameters, roles and amendments. A quorum of them makes it.",
  list: {
    method: "governance_listProposals", params: ({ status }) => ({ status: status === "all" ? "all" : "open", limit: LIMIT }),
    rows: (data) => data.proposals,
  },
  views: [{ title: "Open", query: { status: "" } }, { title: "All", query: { status: "all" } }],
  id: (one) => one.proposal,
  columns: [
    { key: "says", title: "Change" },
    { key: "votes", title: "Votes", number: true, render: (one) => `${one.counted} of ${one.quorum ?? "?"}` },
    { key: "expires", title: "Ends", render: (one) => html`<${When} time=${one.expires} />` },
  ],
  csv: [["id", (one) => one.proposal], ["change", (one) => one.says], ["status", (one) => one.status], ["votes", (one) => one.counted],
    ["quorum", (one) => one.quorum], ["ends", (one) => one.expires]],
  empty: { text: "The authorities vote on nothing now.", command: "clawpurse authority propose --help" },
  detail: { method: "governance_getProposal", params: (proposal) => ({ proposal }), of: (data) => data },
  summary: (one) => one.says,
  state: (one) => ({ kind: GOVERNANCE_STATES[one.status] ?? "unknown", text: word(one.status) }),
  facts: (one) => [["Proposal", html`<code>${one.proposal}</code>`], ["Kind", word(one.change.kind)], ["Reason", one.reason ?? undefined],
    ["Opened by", one.opener ? html`<code>${one.opener}</code>` : undefined], ["Ends", html`<${When} time=${one.expires} />`]],
  timeline: (one) => [
    { text: html`Opened in block <a href=${linkTo(`/block/${one.openedHeight}`)}>${one.openedHeight}</a>` },
    ...(one.statusHeight ? [{ text: html`${word(one.status)} in block <a href=${linkTo(`/block/${one.statusHeight}`)}>${one.statusHeight}</a>` }] : []),
    ...(one.inForce ? [{ text: `In force from block ${one.inForce}` }] : []),
  ],
  approval: (one) => (one.status !== "open" ? null : {
    have: one.counted, need: one.quorum, expires: one.expires,
    effects: [`${one.says}, in force two blocks after the quorum is reached`], voices: votes(one.votes, []), contents: one.change,
    approve: { title: "Vote for it", command: `clawpurse authority vote ${one.proposal} --authority-home DIR` },
    reject: { title: "Take a vote back", command: `clawpurse authority withdraw ${one.proposal} --authority-home DIR`,
      refused: one.votes.length ? "" : "Nobody has voted." },
  }),
};

/** What an action does, in its fields; amounts stay minor units, as they are signed. */
function actionText({ name, fields }) {
  const shown = Object.entries(fields ?? {}).filter(([, value]) => value !== null)
    .map(([field, value]) => `${word(field)} ${typeof value === "object" ? JSON.stringify(value) : value}`);
  return `${name}: ${shown.join(", ")}`;
}

function effectText(action, decimalsOf) {
  const { asset, amount, recipient } = action.fields ?? {};
  const decimals = decimalsOf(asset);
  if (action.name !== "assets.transfer" || decimals === undefined) return actionText(action);
  return `pays ${amountText(amount, decimals)} ${asset} to ${recipient}`;
}

const multisig = {
  name: "multisig", title: "Proposal", plural: "Proposals of accounts", path: "/approvals/multisig",
  about: "What accounts with several signers shall do, once enough of them approve.",
  list: {
    method: "multisig_listProposals", params: ({ account }) => ({ account, limit: LIMIT }), rows: (data) => data.proposals, needs: [FOR_ACCOUNT],
  },
  id: (one) => one.proposal,
  columns: [
    { key: "what", title: "What", wide: true, render: (one, decimalsOf) => one.actions.map((action) => effectText(action, decimalsOf)).join("; ") },
    { key: "weight", title: "Approved", number: true, render: (one) => `${one.weight} of ${one.threshold ?? "?"}` },
    { key: "expires", title: "Ends", render: (one) => html`<${When} time=${one.expires} />` },
  ],
  csv: [["id", (one) => one.proposal], ["account", (one) => one.account], ["proposer", (one) => one.proposer],
    ["what", (one) => one.actions.map(actionText).join("; ")], ["weight", (one) => one.weight], ["threshold", (one) => one.threshold], ["ends", (one) => one.expires]],
  empty: { text: "Nothing is proposed for this account.", command: "clawpurse multisig propose --help" },
  detail: { method: "multisig_getProposal", params: (proposal) => ({ proposal }), of: (data) => data },
  summary: (one) => `Proposal ${one.number}`,
  state: (one) => (one.ready ? { kind: "final", text: "ready" } : { kind: "pending", text: `${one.weight} of ${one.threshold ?? "?"}` }),
  facts: (one) => [["Account", html`<${Account} account=${one.account} />`], ["Proposed by", html`<${Account} account=${one.proposer} />`],
    ["Memo", one.memoText || undefined], ["Missing", one.missing], ["Proposal", html`<code>${one.proposal}</code>`]],
  timeline: (one) => [{ text: html`Proposed in block <a href=${linkTo(`/block/${one.opened}`)}>${one.opened}</a>` }],
  approval: (one, decimalsOf) => ({
    have: one.weight, need: one.threshold, expires: one.expires, text: one.missing,
    effects: one.actions.map((action) => effectText(action, decimalsOf)),
    voices: [...votes(one.approvals, one.rejections), ...waiting(one.waiting)], contents: { actions: one.actions, bytes: one.contents },
    approve: { title: "Approve", command: `clawpurse multisig approve ${one.proposal} --from YOUR-KEY`, refused: one.ready ? "Enough have approved." : "",
      action: { name: "accounts.approve", fields: { proposal: one.proposal } } },
    reject: { title: "Reject…", command: `clawpurse multisig reject ${one.proposal} --from YOUR-KEY`,
      action: { name: "accounts.reject", fields: { proposal: one.proposal } } },
  }),
  moves: (one) => [
    { title: "Execute", command: `clawpurse multisig execute ${one.proposal} --from YOUR-KEY`, refused: one.ready ? "" : "Not enough have approved." },
    { title: "Withdraw", command: `clawpurse multisig withdraw ${one.proposal} --from YOUR-KEY`,
      action: { name: "accounts.withdrawProposal", fields: { proposal: one.proposal } } },
  ],
};

const batches = {
  name: "batch", title: "Batch", plural: "Batches", path: "/approvals/batches",
  about: "Many payments that happen together or not at all, once enough have approved.",
  list: { method: "payment_listBatches", params: ({ account }) => ({ account, limit: LIMIT }), rows: (data) => data.batches, needs: [FOR_ACCOUNT] },
  id: (one) => one.batchId,
  columns: [
    { key: "amount", title: "Total", number: true, render: (one, decimalsOf) => html`<${Amount} minor=${one.amount} decimals=${decimalsOf(one.asset)} asset=${one.asset} />` },
    { key: "legCount", title: "Payments", number: true },
    { key: "approvals", title: "Approved", number: true, render: (one) => `${one.approvals} of ${one.needed}` },
    { key: "expires", title: "Ends", render: (one) => html`<${When} time=${one.expires} />` },
  ],
  csv: [["id", (one) => one.batchId], ["payer", (one) => one.payer], ["asset", (one) => one.asset], ["minor units", (one) => one.amount],
    ["payments", (one) => one.legCount], ["approvals", (one) => one.approvals], ["needed", (one) => one.needed], ["ends", (one) => one.expires]],
  empty: { text: "No batch of this account is open.", command: "clawpurse batch propose --help" },
  detail: { method: "payment_getBatch", params: (batch) => ({ batch }), of: (data) => data },
  summary: (one, decimalsOf) => `${amountText(one.amount, decimalsOf(one.asset))} ${one.asset} in ${countText(one.legCount, "payment")}`,
  state: (one) => (one.executable ? { kind: "final", text: "ready" } : { kind: "pending", text: `${one.approvals} of ${one.needed}` }),
  facts: (one) => [["Payer", html`<${Account} account=${one.payer} />`], ["Reference", one.referenceText || undefined],
    ["Ends", html`<${When} time=${one.expires} />`], ["Batch", html`<code>${one.batchId}</code>`]],
  approval: (one, decimalsOf) => ({
    have: one.approvals, need: one.needed, expires: one.expires, text: "The id stands for all that is listed here; who approves it approves nothing else.",
    effects: (one.legs ?? []).map((leg) => `${amountText(leg.amount, decimalsOf(one.asset))} ${one.asset} to ${leg.recipient}${leg.referenceText ? `, ${leg.referenceText}` : ""}`),
    voices: [...votes(one.approvers.filter(({ approved }) => approved).map(({ account }) => account),
      one.approvers.filter(({ rejected }) => rejected).map(({ account }) => account)),
    ...waiting(one.approvers.filter(({ approved, rejected }) => !approved && !rejected).map(({ account }) => account))],
    contents: { batchId: one.batchId, legs: one.legs },
    approve: { title: `Approve ${amountText(one.amount, decimalsOf(one.asset))} ${one.asset}`, command: `clawpurse batch approve ${one.batchId} --from YOUR-KEY`,
      action: { name: "payments.approveBatch", fields: { batch: one.batchId, until: one.expires } } },
    reject: { title: "Reject…", command: `clawpurse batch reject ${one.batchId} --reason WHY --from YOUR-KEY` },
  }),
  moves: (one) => [
    { title: "Execute", command: `clawpurse batch execute ${one.batchId} --from YOUR-KEY`,
      refused: one.executable ? "" : `${one.needed - one.approvals} more must approve.` },
    { title: "Withdraw", command: `clawpurse batch withdraw ${one.batchId} --from YOUR-KEY` },
  ],
};

const decidersOf = (one) => one.placed?.releasers ?? [];

const holds = {
  name: "hold", title: "Hold", plural: "Holds", path: "/approvals/holds",
  about: "Value that is set apart: by a rule, until its officers decide, or by its payer. It stays the payer's until then.",
  list: {
    method: "payment_listHolds", params: ({ account, officers }) => (account ? { account, limit: LIMIT } : { officers: officers || "compliance", limit: LIMIT }),
    rows: (data) => data.holds,
  },
  filters: [{ name: "account", label: "Account" }, { name: "officers", label: "or officers with the role" }],
  views: [{ title: "For compliance", query: { officers: "", account: "" } }],
  id: (one) => one.holdId,
  columns: [
    { key: "amount", title: "Amount", number: true, render: (one, decimalsOf) => html`<${Amount} minor=${one.amount} decimals=${decimalsOf(one.asset)} asset=${one.asset} />` },
    { key: "payer", title: "Payer", wide: true, render: (one) => html`<${Account} account=${one.payer} />` },
    { key: "payee", title: "Payee", wide: true, render: (one) => html`<${Account} account=${one.payee} />` },
    { key: "why", title: "Why", render: (one) => one.placed?.reason ?? one.rule },
    { key: "expires", title: "Ends", render: (one) => html`<${When} time=${one.expires} />` },
  ],
  csv: [["id", (one) => one.holdId], ["purpose", (one) => one.purpose], ["asset", (one) => one.asset], ["minor units", (one) => one.amount],
    ["payer", (one) => one.payer], ["payee", (one) => one.payee], ["rule", (one) => one.rule], ["since", (one) => one.since], ["ends", (one) => one.expires]],
  empty: { text: "Nothing waits for these officers, and nothing is set apart for this account.", command: "clawpurse hold list" },
  detail: { method: "payment_getHold", params: (hold) => ({ hold }), of: (data) => data },
  summary: (one, decimalsOf) => `${amountText(one.amount, decimalsOf(one.asset))} ${one.asset} held`,
  state: (one) => ({ kind: "held", text: one.purpose === "rule" ? "held by a rule" : word(one.purpose) }),
  facts: (one) => [["Payer", html`<${Account} account=${one.payer} />`], ["Payee", html`<${Account} account=${one.payee} />`],
    ["Why", one.placed?.reason ?? `${one.rule}, version ${one.ruleVersion}`], ["Decided by", one.officers ? `who holds the role ${one.officers}` : decidersOf(one).join(", ") || undefined],
    ["When it ends", one.expires ? html`<${When} time=${one.expires} />: ${one.atExpiry === "release" ? "it is paid" : "it comes back"}` : undefined],
    ["Hold", html`<code>${one.holdId}</code>`]],
  timeline: (one) => [{ time: one.since, text: "Set apart" },
    ...one.votes.map((vote) => ({ time: vote.time, text: `${vote.voter} said ${vote.release ? "release" : "return"}: ${vote.reason}` }))],
  approval: (one, decimalsOf) => (one.needed === null ? null : {
    have: one.votes.filter(({ release }) => release).length, need: one.needed, expires: one.expires,
    effects: [`Released: ${amountText(one.amount, decimalsOf(one.asset))} ${one.asset} to ${one.payee}`, `Returned: it stays with ${one.payer}`],
    voices: one.votes.map(({ voter, release, reason }) => ({ kind: release ? "ok" : "failed", text: `${voter}: ${reason}` })), contents: one,
    approve: { title: `Release ${amountText(one.amount, decimalsOf(one.asset))} ${one.asset}`, command: `clawpurse hold release ${one.holdId} --reason WHY --from YOUR-KEY` },
    reject: { title: "Return…", command: `clawpurse hold return ${one.holdId} --reason WHY --from YOUR-KEY` },
  }),
};

const KINDS = { governance, multisig, batches, holds };

export default function Approvals({ params, query }) {
  const kind = params.kind ?? "governance";
  const entity = KINDS[kind];
  const tabs = html`<nav class="views" aria-label="Kinds">${Object.entries(KINDS).map(([name, one]) => html`<a key=${name}
    href=${linkTo(one.path, query.account ? { account: query.account } : {})} aria-current=${name === kind ? "page" : undefined}>${one.plural}</a>`)}</nav>`;
  if (!entity) return html`${tabs}<p>There is nothing of the kind ${kind}.</p>`;
  if (params.id) return html`${tabs}<${EntityPage} entity=${entity} id=${params.id} />`;
  return html`${tabs}<${EntityList} entity=${entity} query=${query} />`;
}
