// What several pages share: assets and their decimals, names of authorities, lists that hold still
// under a reader, and lists that go on by cursor.

import { amountText, endsText } from "/assets/kit/format.js";
import { explanation, useCall, useSignal } from "/assets/kit/live.js";
import { Account, Amount, Badge, Ident, html } from "/assets/kit/parts.js";
import { useEffect, useRef, useState } from "/assets/kit/vendor/preact.js";
import { isIdentifier, memoOf, plainText, wordsOf } from "./text.js";

const ASSETS_MAX = 500;
const ASSETS_REFRESH_MS = 60_000;
/** Rows that a page draws at most; the rest is reached by Next. */
export const ROWS_MAX = 200;
export const PAGE_ROWS = 50;
// On a phone a row is a card of half a screen.
const CARDS = { wanted: 10, most: 20 };
const PHONE = "(max-width: 600px)";
// Scrolled further than this, somebody reads: nothing moves.
const READING_PX = 240;

/** Decimals by asset: a function asset → number, undefined while they are being asked for, null
 * when the node does not tell them. */
export function useDecimals() {
  const { data, error } = useCall("asset_list", { limit: ASSETS_MAX }, { refresh: ASSETS_REFRESH_MS });
  const known = new Map((data?.assets ?? []).map(({ asset, decimals }) => [asset, decimals]));
  return (asset) => known.get(asset) ?? (data || error ? null : undefined);
}

/** How many rows a page asks for, and shows at most with those that came since: {wanted, most}. */
export function useRows() {
  const [isPhone, setPhone] = useState(() => matchMedia(PHONE).matches);
  useEffect(() => {
    const query = matchMedia(PHONE);
    const changed = () => setPhone(query.matches);
    query.addEventListener("change", changed);
    return () => query.removeEventListener("change", changed);
  }, []);
  return isPhone ? CARDS : { wanted: PAGE_ROWS, most: ROWS_MAX };
}

/** An amount with its asset as a link. */
export function Money({ minor, asset, decimals }) {
  return html`<span class="amount">${amountText(minor, decimals)} <a class="unit" href=${`#/asset/${asset}`}>${asset}</a></span>`;
}

/** Names of authorities as consensus_explain tells them: a function clawval1… → name. */
export function useNames() {
  const found = useSignal(explanation);
  const names = new Map((found?.authorities ?? []).map(({ authority, name }) => [authority, name]));
  return (authority) => names.get(authority) ?? endsText(authority);
}

/** A memo or reference of somebody, marked as theirs. */
export function Memo({ bytes, text }) {
  const memo = memoOf(bytes, text);
  if (!memo) return html`<span class="muted">none</span>`;
  return memo.isText ? html`<q>${memo.text}</q>` : html`<span class="muted">no text:</span> <${Ident} value=${memo.text} />`;
}

/** The answer that a transaction has, as a badge. */
export function Verdict({ tx }) {
  if (!tx.receipt) return html`<${Badge} kind="pending" />`;
  if (tx.receipt.code !== "ok") return html`<${Badge} kind="failed" text=${wordsOf(tx.receipt.code)} />`;
  const isHeld = tx.receipt.events.some(({ kind }) => kind === "kernel.held");
  return html`<${Badge} kind=${isHeld ? "held" : "final"} />`;
}

/** Any value of the API: accounts and ids whole and to be copied, the rest as plain text. */
export function Value({ value }) {
  if (value === null || value === undefined) return html`<span class="muted">none</span>`;
  if (Array.isArray(value)) {
    if (!value.length) return html`<span class="muted">none</span>`;
    return html`<ul class="plain">${value.map((one, at) => html`<li key=${at}><${Value} value=${one} /></li>`)}</ul>`;
  }
  if (typeof value === "object") {
    return html`<dl class="facts">${Object.entries(value).map(([name, one]) => html`
      <div key=${name}><dt>${wordsOf(name)}</dt><dd><${Value} value=${one} /></dd></div>`)}</dl>`;
  }
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (isIdentifier(value) && value.startsWith("claw1")) return html`<${Account} account=${value} />`;
  if (isIdentifier(value)) return html`<${Ident} value=${value} />`;
  return plainText(value);
}

/** Rows that do not move while somebody points at them or has scrolled down.
 *
 * {rows, fresh, show, hold}: spread `hold` on the element around the list; `fresh` rows wait
 * until show(), or until the pointer leaves. */
export function useCalm(rows, keyOf) {
  const shown = useRef(rows);
  const [isPointed, setPointed] = useState(false);
  const [, redraw] = useState(0);
  const isReading = isPointed || (globalThis.scrollY ?? 0) > READING_PX;
  if (!isReading || !shown.current?.length) shown.current = rows;
  const known = new Set((shown.current ?? []).map(keyOf));
  const fresh = (rows ?? []).filter((row) => !known.has(keyOf(row))).length;
  const show = () => {
    shown.current = rows;
    redraw((count) => count + 1);
  };
  return {
    rows: shown.current, fresh, show,
    hold: { onPointerEnter: () => setPointed(true), onPointerLeave: () => setPointed(false) },
  };
}

/** Says that there is more, and shows it when asked. */
export function Fresh({ count, show }) {
  return count ? html`<button type="button" onClick=${show}>${count} new: show</button>` : "";
}

/** A function that runs when `key` changes, its answer kept: {data, error, isLoading, retry}. */
export function useLoaded(load, key) {
  const [found, setFound] = useState({ key: null });
  const [attempt, setAttempt] = useState(0);
  useEffect(() => {
    let isMine = true;
    load().then(
      (data) => { if (isMine) setFound({ key, data, error: null }); },
      (error) => { if (isMine) setFound({ key, data: null, error }); },
    );
    return () => { isMine = false; };
  }, [key, attempt]);
  const mine = found.key === key ? found : {};
  const state = mine.error ? "error" : mine.data === undefined ? "loading" : "ready";
  return { state, data: mine.data, error: mine.error ?? null, retry: () => setAttempt(attempt + 1) };
}

/** A title of a page with what belongs beside it. */
export function Title({ children, beside }) {
  return html`<header class="title"><h1>${children}</h1>${beside ?? ""}</header>`;
}

export { Account, Amount, html };
