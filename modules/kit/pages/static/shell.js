// The frame around every page: head with name, search and connection, menu, and the place where
// the page is drawn. A host lists its routes and calls `open`.

import { html, render, useEffect, useState } from "./vendor/preact.js";
import { searchMeanings, spanText } from "./format.js";
import { KeyHelp, startKeys } from "./keys.js";
import { connection, followBlocks, paused, setPaused, startLive, useCall, useSignal } from "./live.js";
import { Command, Trouble } from "./parts.js";
import { Outlet, allRoutes, go, linkTo, usePlace } from "./router.js";
import { call } from "./rpc.js";
import { arrive } from "./arriving.js";
import { keepFresh } from "./session.js";
import { SignIn, SignInNotice } from "./signin.js";

const THEME_KEY = "clawpurse.theme";
const THEMES = { "": ["◐", "as the system"], light: ["○", "light"], dark: ["●", "dark"] };
const STATES = {
  live: ["●", "live"], connecting: ["○", "connecting"], reconnecting: ["◌", "Reconnecting"], stale: ["✗", "no news"],
};

/** Draw the shell into an element. Routes must have been added before. */
export function openShell(element) {
  applyTheme(localStorage.getItem(THEME_KEY) ?? "");
  arrive();
  keepFresh();
  startLive();
  followBlocks();
  startKeys();
  // The address after `#` is a route here, so the skip link moves the focus itself.
  document.querySelector(".skip")?.addEventListener("click", (event) => {
    event.preventDefault();
    document.getElementById("main")?.focus();
  });
  render(html`<${Shell} />`, element);
}

function applyTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  dispatchEvent(new Event("themechange"));
}

function Shell() {
  const link = useSignal(connection);
  const { path } = usePlace();
  const isOld = link.state === "stale" || link.state === "reconnecting";
  return html`<div class=${`shell${isOld ? " is-old" : ""}`}>
    <${Head} />
    <${Menu} path=${path} />
    <main id="main" tabindex="-1">
      <${SignInNotice} />
      <${Outlet} nowhere=${(where) => html`<${Nowhere} path=${where} />`}
        failed=${(error) => html`<section class="panel wide"><${Trouble} retry=${() => location.reload()}
          error=${{ reason: "this page could not be loaded", hint: error.message }} /></section>`} />
    </main>
    <${KeyHelp} /></div>`;
}

function Head() {
  const status = useCall("chain_getStatus", {}, { refresh: 60_000 });
  const { chainId, testNetwork } = status.data ?? {};
  return html`<header class="head">
    <a class="brand" href="#/">ClawPurse</a>
    <span class="chain">${chainId ?? ""}</span>
    ${testNetwork ? html`<span class="badge is-warning">TEST</span>` : ""}
    <${Search} />
    <${Link} />
    <${Theme} />
    <${SignIn} />
  </header>`;
}

function Link() {
  const { state, ageMs } = useSignal(connection);
  const isPaused = useSignal(paused);
  const [glyph, word] = STATES[state];
  const pause = html`<button type="button" aria-pressed=${isPaused} onClick=${() => setPaused(!isPaused)}
    title="p">${isPaused ? "▶ Go on" : "‖ Pause"}</button>`;
  return html`<span class=${`link is-${isPaused ? "paused" : state}`}><span aria-hidden="true">${isPaused ? "‖" : glyph}</span> ${
    isPaused ? "paused" : word} <span class="age">${spanText(ageMs)}</span></span>${pause}`;
}

function Theme() {
  const [theme, setTheme] = useState(localStorage.getItem(THEME_KEY) ?? "");
  const names = Object.keys(THEMES);
  const next = names[(names.indexOf(theme) + 1) % names.length];
  const change = () => {
    localStorage.setItem(THEME_KEY, next);
    setTheme(next);
    applyTheme(next);
  };
  const [glyph, word] = THEMES[theme] ?? THEMES[""];
  return html`<button type="button" class="theme" onClick=${change} aria-label=${`Colours: ${word}. Change to ${THEMES[next][1]}.`}
    title=${`Colours: ${word}`}>${glyph}</button>`;
}

function Menu({ path }) {
  const [isOpen, setOpen] = useState(false);
  const items = allRoutes().filter((one) => one.menu);
  useEffect(() => setOpen(false), [path]);
  const isHere = (item) => path === item.path || (item.path !== "/" && path.startsWith(`${item.path}/`));
  return html`<nav class=${`menu${isOpen ? " is-open" : ""}`} aria-label="Pages">
    <button type="button" class="menu-button" aria-expanded=${isOpen} onClick=${() => setOpen(!isOpen)}>☰ ${
      items.find(isHere)?.menu ?? "Pages"}</button>
    <ul>${items.map((item) => html`<li key=${item.path}><a href=${linkTo(item.path)} aria-current=${isHere(item) ? "page" : undefined}
      title=${item.key ? `g ${item.key}` : undefined}>${item.menu}</a></li>`)}</ul></nav>`;
}

// -- search

const PLACES = {
  height: (height) => `/block/${height}`,
  tx: (txId) => `/tx/${txId}`,
  block: (hash) => `/block/${hash}`,
  account: (account) => `/account/${account}`,
  asset: (asset) => `/asset/${asset}`,
};

function Search() {
  const [problem, setProblem] = useState("");
  const { path } = usePlace();
  useEffect(() => setProblem(""), [path]);
  const search = async (event) => {
    event.preventDefault();
    const field = event.currentTarget.elements.q;
    const [kind, value] = await meaningOf(field.value);
    if (!kind) {
      setProblem(value);
      return;
    }
    setProblem("");
    field.value = "";
    field.blur();
    go(PLACES[kind](value));
  };
  return html`<form class="search" role="search" onSubmit=${search}>
    <label class="off-screen" for="search">Search a height, an id, an account or an asset</label>
    <input id="search" name="q" type="search" autocomplete="off" spellcheck="false" placeholder="/ search"
      title="A block's height, the id of a transaction or block, an account, an asset" onInput=${() => setProblem("")} />
    <p role="alert">${problem}</p></form>`;
}

/** What is meant: 64 digits can be a transaction or a block, and only a block that is there is
 * one; everything else is a transaction that was perhaps not seen here yet. */
async function meaningOf(typed) {
  const meanings = searchMeanings(typed);
  if (!meanings.length) return [null, "Search a block's height, an id of 64 digits, an account claw1…, or an asset such as CLAW."];
  const [first, other] = meanings;
  if (other?.[0] !== "block") return first;
  try {
    await call("chain_getBlock", { hash: other[1] });
    return other;
  } catch {
    return first; // Whatever the reason is: the page of the transaction meets it again, and says it.
  }
}

function Nowhere({ path }) {
  return html`<section class="panel wide"><header><h1>There is no page ${path}</h1></header>
    <p>The menu has all pages; search finds blocks, payments, accounts and assets.</p>
    <p><a href="#/">Home</a></p><p class="muted">What a node offers beside pages:</p><p><${Command} text="clawpurse methods" /></p></section>`;
}
