// Single keys, the same on every page: `/` search, g and a letter for a page, j k Enter Esc in
// lists, c copies the id in hand, p pauses, ? helps. Off wherever one types.

import { html, useEffect, useState } from "./vendor/preact.js";
import { copyText } from "./parts.js";
import { paused, setPaused } from "./live.js";
import { allRoutes, go } from "./router.js";

// Longer between `g` and its letter, and it was no chord.
const CHORD_MS = 1_500;

let chordUntil = 0;
let helpOpen = () => {};

const isTyping = ({ target }) => target.isContentEditable
  || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName);

/** What Esc does where nothing is open: set by a page that has somewhere to go back to. */
let escape = null;

/** While the component is there, Esc without anything open calls `back`. */
export function useEscape(back) {
  useEffect(() => {
    escape = back;
    return () => { if (escape === back) escape = null; };
  }, [back]);
}

/** Listen for keys; called once, by the shell. */
export function startKeys() {
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") escaped(event);
    else if (!isTyping(event)) pressed(event);
  });
}

function escaped(event) {
  if (document.querySelector("dialog[open]")) return; // The dialog closes itself.
  if (isTyping(event)) event.target.blur();
  else if (document.activeElement?.matches("[data-row]")) document.activeElement.blur();
  else escape?.();
}

function pressed(event) {
  const inChord = performance.now() < chordUntil;
  chordUntil = 0;
  const deed = inChord ? chord(event.key) : DEEDS[event.key];
  if (!deed) return;
  event.preventDefault();
  deed();
}

function chord(letter) {
  const found = allRoutes().find((one) => one.key === letter);
  return found && (() => go(found.path));
}

const DEEDS = {
  "/": () => document.querySelector("#search")?.focus(),
  g: () => { chordUntil = performance.now() + CHORD_MS; },
  j: () => step(1),
  k: () => step(-1),
  c: copyInHand,
  p: () => setPaused(!paused.value),
  "?": () => helpOpen(),
};

function step(by) {
  const rows = [...document.querySelectorAll("main [data-row]")];
  if (!rows.length) return;
  const at = rows.indexOf(document.activeElement?.closest?.("[data-row]"));
  const row = rows[Math.min(rows.length - 1, Math.max(0, at < 0 ? 0 : at + by))];
  if (!row.hasAttribute("tabindex")) row.tabIndex = -1;
  row.focus();
}

/** The id in the focused row, else the first of the page. */
function copyInHand() {
  const place = document.activeElement?.closest("[data-row], .ident") ?? document.querySelector("main");
  const ident = place?.matches("[data-ident]") ? place : place?.querySelector("[data-ident]");
  if (ident) copyText(ident.dataset.ident).then((done) => { if (done) ident.querySelector("[data-copy]")?.classList.add("was-copied"); });
}

/** The list of keys, on `?`. */
export function KeyHelp() {
  const [open, setOpen] = useState(false);
  useEffect(() => {
    helpOpen = () => setOpen(true);
    return () => { helpOpen = () => {}; };
  }, []);
  if (!open) return "";
  const rows = [
    ["/", "search"], ["j k", "next and previous row"], ["Enter", "open the row"],
    ["Esc", "back, or leave the field"], ["c", "copy the id in hand"], ["p", "pause, and go on"], ["?", "this list"],
    ...allRoutes().filter((one) => one.key).map((one) => [`g ${one.key}`, one.menu]),
  ];
  return html`<${Dialog} title="Keys" close=${() => setOpen(false)}><dl class="facts keys">${rows.map(([keys, what]) =>
    html`<div key=${keys}><dt>${keys.split(" ").map((one) => html`<kbd>${one}</kbd> `)}</dt><dd>${what}</dd></div>`)}</dl><//>`;
}

/** A dialog over the page; Esc and the button close it. */
export function Dialog({ title, close, children }) {
  const shown = (element) => { if (element && !element.open) element.showModal(); };
  return html`<dialog ref=${shown} onClose=${close} aria-label=${title}>
    <header><h2>${title}</h2><button type="button" onClick=${close} aria-label="Close">✕</button></header>${children}</dialog>`;
}
