// What a transaction did to balances, worked out from its receipt's events. Pure; sums in BigInt.
//
// An account's change is that of all it has, free and held together: setting value apart moves
// none of it, and is told beside.

export const NATIVE = "CLAW";
export const FEES = "fees";
export const CREATED = "created";
export const DESTROYED = "destroyed";
export const DEPOSITS = "opening deposits";

/** {assets, apart}: per asset the changes and their sum; what was set apart, or came back.
 *
 * `assets` is [{asset, rows: [{who, change}], sum, isBalanced}]; `who` is an account, "fees",
 * "opening deposits", or where supply changed "created" or "destroyed", so that each sum is 0 if
 * the books are right. `apart` is [{asset, amount, account, to, holdId, rule, fate}]. */
export function effectsOf(transaction) {
  const receipt = transaction.receipt;
  const books = new Map();
  const apart = [];
  const add = (asset, who, change) => {
    if (!books.has(asset)) books.set(asset, new Map());
    const rows = books.get(asset);
    rows.set(who, (rows.get(who) ?? 0n) + change);
  };
  const move = (asset, from, to, amount) => {
    add(asset, from, -BigInt(amount));
    add(asset, to, BigInt(amount));
  };
  const payer = transaction.payer ?? transaction.sender;
  if (BigInt(receipt.fee) > 0n) move(NATIVE, payer, FEES, receipt.fee);
  for (const { kind, accounts, data } of receipt.events) {
    const [first, second] = accounts;
    if (kind === "assets.transferred" || kind === "kernel.seized") move(data.asset, first, second, data.amount);
    else if (kind === "assets.minted") move(data.asset, CREATED, first, data.amount);
    else if (kind === "assets.burned") move(data.asset, first, DESTROYED, data.amount);
    else if (kind === "accounts.opened" && BigInt(data.deposit || 0) > 0n) {
      move(NATIVE, second ?? payer, DEPOSITS, data.deposit);
    } else if (APART[kind]) {
      apart.push({
        asset: data.asset, amount: data.amount, account: first, to: second, holdId: data.holdId,
        rule: data.rule ?? "", fate: kind === "kernel.holdEnded" && data.released ? "released" : APART[kind],
      });
    }
  }
  return { assets: [...books].map(([asset, rows]) => bookOf(asset, rows)), apart };
}

const APART = {
  "kernel.held": "held", "kernel.setApart": "set apart", "kernel.givenBack": "given back",
  "kernel.holdEnded": "returned",
};

function bookOf(asset, changes) {
  const rows = [...changes].filter(([, change]) => change !== 0n).map(([who, change]) => ({ who, change }));
  const sum = rows.reduce((total, { change }) => total + change, 0n);
  return { asset, rows, sum, isBalanced: sum === 0n };
}

/** `+12.50` or `−12.50`: signed minor units for a table; `text` writes the digits. */
export function signedText(change, text) {
  return change < 0n ? `−${text(String(-change))}` : `+${text(String(change))}`;
}

/** What a payment list shows of a transaction: the first movement of value that it asked for.
 *
 * {asset, amount, from, to, more} or null for one that moves none. Final ones are read from their
 * events, others from what they ask for. */
export function movementOf(transaction) {
  const found = transaction.receipt?.code === "ok" ? movedBy(transaction.receipt) : [];
  if (found.length) return { ...found[0], more: found.length - 1 };
  const asked = transaction.actions.filter(({ fields }) => fields?.asset && fields?.amount && fields?.recipient);
  if (!asked.length) return null;
  const { asset, amount, recipient } = asked[0].fields;
  return { asset, amount, from: transaction.sender, to: recipient, more: asked.length - 1 };
}

function movedBy(receipt) {
  const movements = receipt.events.filter(({ kind }) => MOVES.has(kind));
  return movements.map(({ accounts, data }) => ({
    asset: data.asset, amount: data.amount, from: accounts.length > 1 ? accounts[0] : null,
    to: accounts[1] ?? accounts[0],
  }));
}

const MOVES = new Set(["assets.transferred", "kernel.held", "kernel.setApart", "kernel.seized", "assets.minted"]);

/** supply = its parts? {parts: [{name, amount}], sum, supply, isEqual}; parts are strings. */
export function supplyOf(supply, parts) {
  const sum = parts.reduce((total, { amount }) => total + BigInt(amount), 0n);
  return { parts, sum: String(sum), supply, isEqual: sum === BigInt(supply) };
}

/** Ids in a receipt that lead on: [{kind, id}], each once, in order. */
export function linkedOf(receipt) {
  const found = new Map();
  for (const { data } of receipt?.events ?? []) {
    for (const [name, kind] of LINKS) {
      const id = data[name];
      if (typeof id === "string" && id.startsWith("0x") && !found.has(kind + id)) found.set(kind + id, { kind, id });
    }
  }
  return [...found.values()];
}

const LINKS = [
  ["invoiceId", "invoice"], ["holdId", "hold"], ["escrowId", "escrow"], ["batchId", "batch"],
  ["channelId", "channel"], ["paymentId", "payment"], ["scheduledId", "scheduled"],
  ["proposal", "proposal"],
];

/** The command that shows a linked thing. */
export function commandOf({ kind, id }) {
  const commands = {
    payment: `clawpurse rpc payment_getRefunds payment=${id}`,
    scheduled: `clawpurse rpc payment_getScheduled scheduled=${id}`,
    proposal: `clawpurse rpc multisig_getProposal proposal=${id}`,
  };
  return commands[kind] ?? `clawpurse ${kind} show ${id}`;
}
