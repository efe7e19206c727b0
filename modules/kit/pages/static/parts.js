// The parts that pages are made of. Each says in words what it shows in colour, and none of them
// knows a page.

import { html, useEffect, useRef, useState } from "./vendor/preact.js";
import { agoText, amountText, callText, spanText, utcText } from "./format.js";
import {
  FORBIDDEN, METHOD_DISABLED, METHOD_NOT_FOUND, UNAUTHENTICATED,
} from "./rpc.js";
import { connection, explanation, explanationFailure, second, useSignal } from "./live.js";
import { linkTo } from "./router.js";

export { html };

// Faster answers come without a flicker in between.
const SKELETON_AFTER_MS = 150;
const COPIED_MS = 1_500;
const BADGES = {
  final: ["✓", "final"],
  pending: ["◷", "pending"],
  failed: ["✗", "failed"],
  held: ["‖", "held"],
  warning: ["!", "warning"],
  critical: ["✗", "critical"],
  unknown: ["?", "unknown"],
  expired: ["∅", "expired"],
  replaced: ["↻", "replaced"],
  ok: ["✓", "ok"],
  open: ["○", "open"],
  none: ["–", "none"],
};

/** Glyph, word and colour of a state. `text` says it in the page's own word. */
export function Badge({ kind, text }) {
  const [glyph, word] = BADGES[kind] ?? ["?", kind];
  return html`<span class=${`badge is-${BADGES[kind] ? kind : "unknown"}`}>
    <span aria-hidden="true">${glyph}</span> ${text ?? word}</span>`;
}

/** Copies a text and says that it did. */
export function CopyButton({ text, what = "Copy" }) {
  const [copied, setCopied] = useState(false);
  const copy = async (event) => {
    event.preventDefault();
    event.stopPropagation();
    if (await copyText(text)) {
      setCopied(true);
      setTimeout(() => setCopied(false), COPIED_MS);
    }
  };
  const name = copied ? "copied" : what;
  return html`<button type="button" class="copy" data-copy=${text} onClick=${copy}
    aria-label=${`${name}: ${text.length > 60 ? "the whole text" : text}`}>${copied ? "✓" : "copy"}</button>`;
}

/** Put a text on the clipboard; true when it is there. Plain http off loopback has no clipboard
 * API, and the old way still works there. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "off-screen";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

// -- values

/** Minor units as units of an asset. `sign` shows a plus, too. */
export function Amount({ minor, decimals, asset, sign = false }) {
  const text = amountText(minor, decimals);
  const plus = sign && !text.startsWith("−") && /[1-9]/.test(text) ? "+" : "";
  return html`<span class="amount">${plus}${text}${asset ? html` <span class="unit">${asset}</span>` : ""}</span>`;
}

/** How long ago, counted on while one looks; the absolute time in UTC as title. */
export function When({ time }) {
  useSignal(second);
  if (time === null || time === undefined) return html`<span class="muted">–</span>`;
  return html`<time datetime=${new Date(time).toISOString()} title=${utcText(time)}>${agoText(time, Date.now())}</time>`;
}

/** A whole id with a button that copies it, and optionally a link. Never shortened: what is
 * compared by its ends only can be forged. */
export function Ident({ value, link, kind = "" }) {
  if (!value) return html`<span class="muted">–</span>`;
  const text = link ? html`<a href=${link}>${value}</a>` : value;
  return html`<span class=${`ident ${kind}`} data-ident=${value}><code>${text}</code><${CopyButton} text=${value} /></span>`;
}

/** An account, whole, with its name if one is known. */
export function Account({ account, name }) {
  if (!account) return html`<span class="muted">–</span>`;
  return html`<span class="account">${name ? html`<b>${name}</b> ` : ""}<${Ident} value=${account} kind="account"
    link=${linkTo(`/account/${account}`)} /></span>`;
}

/** A transaction's id. */
export function TxLink({ txId }) {
  return html`<${Ident} value=${txId} kind="tx" link=${linkTo(`/tx/${txId}`)} />`;
}

/** A block's height as a link. */
export function BlockLink({ height }) {
  if (height === null || height === undefined) return html`<span class="muted">–</span>`;
  return html`<a class="number" href=${linkTo(`/block/${height}`)}>${height}</a>`;
}

/** A command to paste into a terminal. */
export function Command({ text }) {
  return html`<span class="command"><code>${text}</code><${CopyButton} text=${text} what="Copy the command" /></span>`;
}

/** Names and values in two columns: rows [[name, value], …]; rows without a value are left out. */
export function Facts({ rows }) {
  const shown = rows.filter((row) => row && row[1] !== undefined);
  return html`<dl class="facts">${shown.map(([name, value]) => html`
    <div key=${name}><dt>${name}</dt><dd>${value ?? html`<span class="muted">–</span>`}</dd></div>`)}</dl>`;
}

/** The call behind what is shown, as a command, with its answer as JSON on request. */
export function Call({ method, params = {}, data }) {
  const [open, setOpen] = useState(false);
  return html`<footer class="call"><span class="muted">Call</span> <${Command} text=${callText(method, params)} />
    ${data === undefined ? "" : html`<details onToggle=${(event) => setOpen(event.currentTarget.open)}>
      <summary>JSON</summary>${open ? html`<pre tabindex="0">${JSON.stringify(data, null, 2)}</pre>` : ""}</details>`}
  </footer>`;
}

// -- the sentence

/** What consensus_explain says, first on every page that is about the network; the only thing
 * that is announced when it changes. */
export function Sentence() {
  const found = useSignal(explanation);
  const failure = useSignal(explanationFailure);
  const link = useSignal(connection);
  const isStale = link.state !== "live" && link.state !== "connecting";
  let body;
  if (isStale) {
    const word = link.state === "stale" ? "No news" : "Reconnecting: no news";
    body = html`<p class="headline"><span aria-hidden="true">…</span> ${word} for ${spanText(link.ageMs)}.
      ${found ? html` <span class="muted">Last heard: ${found.sentence}</span>` : ""}</p>`;
  } else if (failure) {
    body = html`<p class="headline"><span aria-hidden="true">?</span> ${refusalWords(failure)}</p>`;
  } else if (!found) {
    body = html`<p class="headline muted">Asking the node how things are …</p>`;
  } else {
    body = html`<p class="headline"><span class="glyph" aria-hidden="true">${found.ok ? "✓" : "!"}</span> ${found.sentence}</p>
      ${found.also.map((one) => html`<p key=${one}>${one}</p>`)}
      ${found.hint ? html`<p class="muted">${found.hint}</p>` : ""}
      ${found.command ? html`<p><${Command} text=${found.command} /></p>` : ""}`;
  }
  const kind = isStale ? "is-stale" : found && !found.ok ? "is-warning" : "is-ok";
  // Ages within the sentence change all the time; a screen reader hears of changed states only.
  return html`<section class=${`sentence ${kind}`}>${body}
    <p class="off-screen" aria-live="polite">${announced(found, isStale)}</p></section>`;
}

function announced(found, isStale) {
  if (isStale) return "No news from the node.";
  return found ? found.sentence.replace(/\d[\d.,]* ?(ms|s|min|h|d)\b/g, "some time") : "";
}

// -- panels

/** Who can mend a refusal, in a sentence. */
export function refusalWords(failure) {
  const scope = failure.data?.scope ?? failure.data?.role ?? failure.data?.method ?? failure.data?.needs;
  if (failure.code === UNAUTHENTICATED) return "This needs a token. Sign in, above right.";
  const needed = scope ? `the role or scope ${scope}` : "a role that your token does not have";
  return `This needs ${needed}. Who runs this node grants it: clawpurse token create.`;
}

/** A part of a page with a heading.
 *
 * `state`: what useCall returned, or one of its words. `empty`: {text, command}, why there is
 * nothing and what fills it. `actions`: at the right of the heading. `call`: true shows the call
 * below (of `state`), or {method, params, data}. `kind`: a class of its own. `children`: what it shows; a function gets the
 * data and is asked only when there is some. */
export function Panel({ title, state, empty, actions, call, children, level = 2, wide = false, kind = "" }) {
  const asked = typeof state === "object" && state !== null ? state : { state: state ?? "ready" };
  const shown = call === true ? asked : call;
  const Heading = `h${level}`;
  return html`<section class=${`panel ${kind}${wide ? " wide" : ""}${asked.state === "stale" ? " is-stale" : ""}`}
      aria-busy=${asked.state === "loading"}>
    ${title || actions ? html`<header><${Heading}>${title}<//>${
      asked.state === "stale" ? html`<span class="age">${asked.ageMs ? `as of ${spanText(asked.ageMs)} ago` : "no news"}</span>` : ""
    }<span class="actions">${actions}</span></header>` : ""}
    <${Body} asked=${asked} empty=${empty}>${children}<//>
    ${shown?.method ? html`<${Call} ...${{ method: shown.method, params: shown.params, data: shown.data }} />` : ""}
  </section>`;
}

function Body({ asked, empty, children }) {
  const draw = () => {
    const [only] = Array.isArray(children) ? children : [children];
    return typeof only === "function" ? only(asked.data) : children;
  };
  switch (asked.state) {
    case "loading": return html`<${Skeleton} />`;
    case "empty": return html`<${Empty} ...${empty ?? {}} />`;
    case "error": return html`<${Trouble} error=${asked.error} retry=${asked.retry} />`;
    case "forbidden": return html`<div class="state"><${Badge} kind="held" text="not allowed" />
      <p>${refusalWords(asked.error)}</p></div>`;
    case "stale": return html`${draw()}${asked.error ? html`<p class="muted">! Not renewed: ${asked.error.reason}.
      <${Retry} retry=${asked.retry} /></p>` : ""}`;
    default: return draw();
  }
}

/** Grey lines where text will be, after a moment. */
export function Skeleton({ lines = 3 }) {
  const [shown, setShown] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setShown(true), SKELETON_AFTER_MS);
    return () => clearTimeout(timer);
  }, []);
  return html`<div class="skeleton" role="status" aria-label="loading">${
    shown ? Array.from({ length: lines }, (_, at) => html`<span key=${at}></span>`) : ""}</div>`;
}

/** Why there is nothing, and the command that changes that. */
export function Empty({ text = "There is nothing here yet.", command }) {
  return html`<div class="state empty"><p>${text}</p>${command ? html`<p><${Command} text=${command} /></p>` : ""}</div>`;
}

function Retry({ retry }) {
  return retry ? html`<button type="button" onClick=${() => retry()}>Retry</button>` : "";
}

/** An error: cause, what helps, Retry, and the id under which the node knows it. */
export function Trouble({ error, retry }) {
  if ([METHOD_NOT_FOUND, METHOD_DISABLED].includes(error.code)) {
    return html`<div class="state"><${Badge} kind="unknown" text="not available" /><p>This node does not offer it:
      ${" "}${error.reason}.</p></div>`;
  }
  return html`<div class="state" role="group" aria-label="error"><p><${Badge} kind="failed" text="not answered" /> ${error.reason}.</p>
    ${error.hint ? html`<p class="muted">→ ${error.hint}</p>` : ""}
    <p><${Retry} retry=${retry} /> ${error.requestId ? html`<span class="muted">request ${error.requestId}</span>` : ""}</p></div>`;
}

// -- tables

const TAGS_WITH_A_DEED = "a, button, input, summary, select, textarea, label";

/** Rows as a table, on a phone as cards.
 *
 * columns: [{key, title, render?(row), number?, wide?}]; onOpen(row) is what Enter, or a click
 * beside links, does; rowKey(row) is what stays the same when rows come. j and k move. */
export function Table({ columns, rows, onOpen, empty, rowKey, caption }) {
  if (!rows?.length) return html`<${Empty} ...${typeof empty === "string" ? { text: empty } : empty ?? {}} />`;
  const open = (event, row) => {
    if (onOpen && !event.target.closest(TAGS_WITH_A_DEED)) onOpen(row);
  };
  const keyOf = rowKey ?? ((row, at) => row.txId ?? row.id ?? row.hash ?? row.height ?? at);
  return html`<div class="scroller"><table data-rows class=${onOpen ? "opens" : ""}>
    ${caption ? html`<caption>${caption}</caption>` : ""}
    <thead><tr>${columns.map(({ key, title, number }) => html`<th key=${key} scope="col" class=${number ? "number" : ""}>${title}</th>`)}</tr></thead>
    <tbody>${rows.map((row, at) => html`<tr key=${keyOf(row, at)} tabindex=${onOpen ? 0 : -1} data-row
        onClick=${(event) => open(event, row)}
        onKeyDown=${(event) => { if (event.key === "Enter" && event.target === event.currentTarget) onOpen?.(row); }}>
      ${columns.map(({ key, title, render, number, wide }) => html`<td key=${key} data-title=${title}
        class=${`${number ? "number" : ""}${wide ? " wide" : ""}`}>${(render ? render(row) : row[key]) ?? "–"}</td>`)}
    </tr>`)}</tbody></table></div>`;
}

/** Steps through pages of a list with cursors: `trail` of cursors seen, go(cursor|null). */
export function Pager({ nextCursor, trail = [], go }) {
  if (!nextCursor && !trail.length) return "";
  return html`<nav class="pager" aria-label="pages">
    <button type="button" disabled=${!trail.length} onClick=${() => go(trail.at(-2) ?? null, trail.slice(0, -1))}>‹ Back</button>
    <span class="muted">page ${trail.length + 1}</span>
    <button type="button" disabled=${!nextCursor} onClick=${() => go(nextCursor, [...trail, nextCursor])}>Next ›</button></nav>`;
}

/** The cursor of a paged list and what Pager needs: {cursor, pager: {trail, go}}. Starts anew
 * when `key` changes. */
export function usePages(key = "") {
  const [{ of, trail }, setTrail] = useState({ of: key, trail: [] });
  const mine = of === key ? trail : [];
  return { cursor: mine.at(-1) ?? null, pager: { trail: mine, go: (_cursor, next) => setTrail({ of: key, trail: next }) } };
}

/** The same function, called when a component is first drawn with something to measure. */
export function useMeasured(measure) {
  const element = useRef(null);
  useEffect(() => {
    if (!element.current) return undefined;
    const observer = new ResizeObserver(([entry]) => measure(entry.contentRect));
    observer.observe(element.current);
    return () => observer.disconnect();
  }, []);
  return element;
}
