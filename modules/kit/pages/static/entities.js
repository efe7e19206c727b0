// One way to list, look at and decide things, for every module: a definition says what there is,
// this file draws it. Pages hold no keys: a decision is a command to paste, with its effects
// before it.
//
// A definition is a plain object:
//   name, title, plural   "batch", "Batch", "Batches"
//   path                  where its list lies: "/approvals/batches"; one of them at path/:id
//   about                 a sentence on what these are
//   list                  {method, params(query), rows(data), needs: [{name, label, hint}]}; until the
//                         query has what it needs, the list asks for it
//   views                 [{title, query}], saved filters; filters: [{name, label, options?}]
//   columns               as Table's; id(row); csv: [[head, read(row)]] (all columns as text if absent)
//   empty                 {text, command}
//   detail                {method, params(id), of(data)}
//   summary(one)          its title in words; state(one) → {kind, text} for Badge
//   facts(one)            rows for Facts; timeline(one) → [{time?, text, mine?}]
//   moves(one)            [{title, command, refused?, action?}]: a refused one says why; an action, {name,
//                         fields}, can be handed over to the page of a wallet service
//   approval(one)         null, or {have, need, text?, expires?, effects: [text], voices: [{kind, text}],
//                         approve: {title, command, refused?}, reject?, contents?}
//   decimals              true: functions of a row get decimals(asset) as their second argument

import { html, useState } from "./vendor/preact.js";
import { csvText } from "./format.js";
import { useCall } from "./live.js";
import { useEscape } from "./keys.js";
import { Badge, Call, Command, Facts, Pager, Panel, Table, When, usePages } from "./parts.js";
import { go, linkTo, setQuery } from "./router.js";

const ASSETS_MAX = 500;
const RENEWED_MS = 5_000;

/** Decimals of assets by name, as far as they are known. */
function useDecimalsOf() {
  const { data } = useCall("asset_list", { limit: ASSETS_MAX }, { refresh: 60_000 });
  return (asset) => data?.assets.find((one) => one.asset === asset)?.decimals;
}

// -- list

/** The list of a definition: views, filters kept in the address, CSV, pages. */
export function EntityList({ entity, query }) {
  const missing = (entity.list.needs ?? []).filter(({ name }) => !query[name]);
  return html`<${Panel} wide level="1" title=${entity.plural} actions=${html`<${Views} entity=${entity} query=${query} />`}>
    <p class="muted">${entity.about}</p>
    <${Filters} entity=${entity} query=${query} />
    ${missing.length ? html`<p>${missing.map(({ hint }) => hint).join(" ")}</p>` : ""}<//>
    ${missing.length ? "" : html`<${Rows} entity=${entity} query=${query} />`}`;
}

function Views({ entity, query }) {
  const isHere = (view) => Object.entries(view.query).every(([name, value]) => (query[name] ?? "") === value);
  return html`<nav class="views" aria-label="Views">${(entity.views ?? []).map((view) => html`<a key=${view.title}
    href=${linkTo(entity.path, { ...query, ...view.query })} aria-current=${isHere(view) ? "true" : undefined}>${view.title}</a>`)}</nav>`;
}

function Filters({ entity, query }) {
  const fields = [...(entity.list.needs ?? []), ...(entity.filters ?? [])];
  if (!fields.length) return "";
  const submit = (event) => {
    event.preventDefault();
    setQuery(Object.fromEntries([...new FormData(event.currentTarget)].map(([name, value]) => [name, value.trim()])));
  };
  return html`<form class="views" onSubmit=${submit}>${fields.map(({ name, label, options }) => html`<label key=${name}>${label}
    ${options ? html`<select name=${name}>${options.map((one) => html`<option key=${one} value=${one} selected=${query[name] === one}>${one || "any"}</option>`)}</select>`
      : html`<input name=${name} defaultValue=${query[name] ?? ""} autocomplete="off" spellcheck="false" />`}</label>`)}
    <button>Show</button></form>`;
}

function Rows({ entity, query }) {
  const decimalsOf = useDecimalsOf();
  const { cursor, pager } = usePages(JSON.stringify(query));
  const params = { ...entity.list.params(query), ...(cursor ? { cursor } : {}) };
  const found = useCall(entity.list.method, params, {
    refresh: RENEWED_MS, empty: (data) => !entity.list.rows(data, query).length,
  });
  const rows = found.data ? entity.list.rows(found.data, query) : [];
  const columns = entity.columns.map((column) => ({
    ...column, render: column.render && ((row) => column.render(row, decimalsOf)),
  }));
  const withState = [{ key: "state", title: "State", render: (row) => html`<${Badge} ...${entity.state(row)} />` }, ...columns];
  const save = html`<button type="button" disabled=${!rows.length} onClick=${() => saveCsv(entity, rows)}>CSV</button>`;
  return html`<${Panel} wide state=${found} empty=${entity.empty} call actions=${save} title="">${() => html`
    <${Table} rows=${rows} columns=${withState} rowKey=${entity.id} onOpen=${(row) => go(`${entity.path}/${entity.id(row)}`)} />
    <${Pager} nextCursor=${found.data.nextCursor} ...${pager} />`}<//>`;
}

/** The rows that are shown, as a file. What the page shows in colour is a word there, too. */
function saveCsv(entity, rows) {
  const text = csvText(entity.csv.map(([head]) => head), rows.map((row) => entity.csv.map(([, read]) => read(row))));
  const link = document.createElement("a");
  const address = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.href = address;
  link.download = `${entity.plural.toLowerCase().replaceAll(" ", "-")}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1_000);
}

// -- one of them

/** One thing of a definition: what it is, what happened to it, what can be done. */
export function EntityPage({ entity, id }) {
  const decimalsOf = useDecimalsOf();
  const back = () => go(entity.path);
  useEscape(back);
  const found = useCall(entity.detail.method, entity.detail.params(id), { refresh: RENEWED_MS });
  if (found.state === "error" && found.error.code === NOT_THERE) return html`<${Gone} entity=${entity} id=${id} found=${found} />`;
  const one = found.data && entity.detail.of(found.data);
  return html`<${Panel} wide level="1" state=${found} title=${one ? entity.summary(one, decimalsOf) : entity.title}
      actions=${html`${one ? html`<${Badge} ...${entity.state(one)} />` : ""}<a href=${linkTo(entity.path)}>all ${entity.plural.toLowerCase()}</a>`}>
    ${() => html`<${Facts} rows=${entity.facts(one, decimalsOf)} />`}<//>
    ${one ? html`<${Approval} found=${entity.approval?.(one, decimalsOf)} />
      <${Moves} moves=${entity.moves?.(one) ?? []} />
      <${Timeline} steps=${entity.timeline?.(one, decimalsOf) ?? []} />` : ""}
    <${Call} method=${found.method} params=${found.params} data=${found.data} />`;
}

const NOT_THERE = -32001;

// A valid id that is not open is over or not here yet; which of them, nobody can say from here.
function Gone({ entity, id, found }) {
  return html`<${Panel} wide level="1" title=${entity.title} actions=${html`<${Badge} kind="unknown" text="not open" />`}>
    <p class="ident">${id}</p><p>No ${entity.title.toLowerCase()} with this id is open here. It may be over, or not have reached this node.
      It is looked for again every few seconds.</p>
    <p class="muted">What became of it stands in the payments of its account.</p>
    <${Call} method=${found.method} params=${found.params} /><//>`;
}

/** What is decided, who said what, and the command by which one decides. */
function Approval({ found }) {
  const [choice, setChoice] = useState(null);
  if (!found) return "";
  const count = found.need === null || found.need === undefined ? "" : `: ${found.have} of ${found.need}`;
  const deeds = [found.approve, found.reject].filter(Boolean);
  return html`<section class="panel wide approve" aria-label="Approval"><header><h2>Approval${count}</h2>
      ${found.expires ? html`<span class="muted">ends <${When} time=${found.expires} /></span>` : ""}</header>
    ${found.text ? html`<p>${found.text}</p>` : ""}
    ${found.effects.length ? html`<h3>Effects</h3><ul>${found.effects.map((effect, at) => html`<li key=${at}>${effect}</li>`)}</ul>` : ""}
    <ul class="lines">${found.voices.map(({ kind, text }, at) => html`<li key=${at}><${Badge} kind=${kind} /><span class="what">${text}</span></li>`)}</ul>
    <div class="moves">${deeds.map((deed) => html`<${Deed} key=${deed.title} deed=${deed} primary=${deed === found.approve}
      chosen=${choice === deed.title} choose=${() => setChoice(choice === deed.title ? null : deed.title)} />`)}</div>
    ${deeds.filter(({ title, refused }) => title === choice && !refused).map((deed) => html`<${Sign} key=${deed.title} deed=${deed} />`)}
    ${found.contents ? html`<details><summary>exactly what is signed</summary><pre tabindex="0">${JSON.stringify(found.contents, null, 2)}</pre></details>` : ""}</section>`;
}

function Deed({ deed, primary, chosen, choose }) {
  return html`<span><button type="button" class=${primary ? "primary" : ""} disabled=${Boolean(deed.refused)} aria-expanded=${chosen}
    onClick=${choose}>${deed.title}</button>${deed.refused ? html` <span class="muted">${deed.refused}</span>` : ""}</span>`;
}

// Whoever pastes it, or follows the link, is asked once more where the key is, with the same effects.
function Sign({ deed }) {
  return html`<div role="status"><p>This page holds no keys. Paste this where your key is; it shows what it will sign, and asks:<br />
    <${Command} text=${deed.command} /></p>${deed.action ? html`<${InWallet} action=${deed.action} />` : ""}</div>`;
}

const WALLET_KEY = "clawpurse.wallet";
const WALLET_DEFAULT = "127.0.0.1:9638";

/** The same decision on the page of a wallet service, whose address this browser remembers. */
function InWallet({ action }) {
  const [where, setWhere] = useState(localStorage.getItem(WALLET_KEY) ?? WALLET_DEFAULT);
  const isGood = /^[a-z0-9.-]+(:[0-9]{1,5})?$/.test(where);
  const change = (event) => {
    setWhere(event.currentTarget.value.trim());
    localStorage.setItem(WALLET_KEY, event.currentTarget.value.trim());
  };
  const address = `${location.protocol === "https:" ? "https:" : "http:"}//${where}/#action=${encodeURIComponent(JSON.stringify(action))}`;
  return html`<p>Or where <code>clawpurse wallet serve</code> runs: <label>address <input value=${where} onInput=${change} size="18"
    autocomplete="off" spellcheck="false" /></label>
    ${isGood ? html`<a href=${address} target="_blank" rel="noreferrer">Sign in your wallet</a>` : html`<span class="muted">HOST:PORT</span>`}</p>`;
}

function Moves({ moves }) {
  const [choice, setChoice] = useState(null);
  if (!moves.length) return "";
  const chosen = moves.find(({ title }) => title === choice);
  return html`<${Panel} title="Moves"><div class="moves">${moves.map((move) => html`<${Deed} key=${move.title} deed=${move}
    chosen=${choice === move.title} choose=${() => setChoice(choice === move.title ? null : move.title)} />`)}</div>
    ${chosen ? html`<${Sign} deed=${chosen} />` : ""}<//>`;
}

function Timeline({ steps }) {
  if (!steps.length) return "";
  return html`<${Panel} title="Timeline"><ol class="timeline">${steps.map(({ time, text }, at) => html`<li key=${at}>${text}
    ${time ? html`<br /><span class="muted"><${When} time=${time} /></span>` : ""}</li>`)}</ol><//>`;
}
