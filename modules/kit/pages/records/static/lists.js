// Lists of records: views by state, filters kept in the address, moves of many, export; and what
// waits for somebody's approval.

import { useAnswer } from "/assets/kit/answers.js";
import { csvText, spanText, utcText } from "/assets/kit/format.js";
import { Badge, Empty, Pager, Panel, Table, When, usePages } from "/assets/kit/parts.js";
import { go, linkTo, setQuery } from "/assets/kit/router.js";
import { call } from "/assets/kit/rpc.js";
import { html, useState } from "/assets/kit/vendor/preact.js";
import { Failure, requestKey } from "./asking.js";
import { typedIn } from "./forms.js";
import {
  PAGE_ROWS, clockWords, columnsOf, csvOf, deedOf, filtersOf, isSameQuery, labelOf, mayAsk, readViews, sharedMoves, stateBadge, valueText, withView,
} from "./words.js";

const EXPORT_ROWS = 500;
// 100,000 records: what a spreadsheet still opens. Whole exports are for `clawpurse`.
const EXPORT_PAGES_MAX = 200;

export function RecordList({ about, kind, query }) {
  const filters = filtersOf(kind, query);
  const { cursor, pager } = usePages(JSON.stringify([kind.name, filters]));
  const [chosen, setChosen] = useState([]);
  const found = useAnswer(kind.methods.list, { ...filters, limit: PAGE_ROWS, ...(cursor ? { cursor } : {}) });
  const records = found.data?.records ?? [];
  const picked = records.filter(({ id }) => chosen.includes(id));
  const isMade = mayAsk(kind.access.create, about.you.roles);
  return html`<${Panel} wide level="1" title=${kind.nouns} actions=${html`<${Views} kind=${kind} query=${query} />`}>
      <${Filters} kind=${kind} query=${query} />
      <div class="moves">${isMade ? html`<a class="button" href=${linkTo(`/${kind.name}/new`)}>New ${kind.title.toLowerCase()}</a>` : ""}
        <${Csv} kind=${kind} filters=${filters} isEmpty=${!records.length} /></div>
      ${found.error ? html`<${Failure} error=${found.error} lead=${found.data ? "Not renewed. " : ""} />` : ""}<//>
    <${Bulk} kind=${kind} picked=${picked} done=${() => { setChosen([]); found.again(); }} />
    ${found.data ? html`<${Panel} wide title=""><${Rows} kind=${kind} records=${records} chosen=${chosen} setChosen=${setChosen} />
      <${Pager} nextCursor=${found.data.nextCursor} ...${pager} /><//>` : ""}`;
}

function Views({ kind, query }) {
  const views = [["All", ""], ...kind.states.map((state) => [labelOf(state), state])];
  const saved = useSavedViews(kind);
  return html`<nav class="views" aria-label="Views">${views.map(([title, state]) => html`<a key=${title}
      href=${linkTo(`/${kind.name}`, { ...query, state })} aria-current=${(query.state ?? "") === state ? "true" : undefined}>${title}</a>`)}
    ${saved.views.map(({ name, query: kept }) => html`<span key=${name} class="saved"><a href=${linkTo(`/${kind.name}`, kept)}
      aria-current=${isSameQuery(kept, query) ? "true" : undefined}>${name}</a>
      <button type="button" aria-label=${`Forget the view ${name}`} onClick=${() => saved.forget(name)}>×</button></span>`)}
    ${kind.methods.proposals ? html`<a href=${linkTo(`/${kind.name}/waiting`)}>Waiting for approval</a>` : ""}
    ${saved.isAsking ? html`<form class="views" onSubmit=${(event) => { event.preventDefault(); saved.keep(typedIn(event.currentTarget).view, query); }}>
        <label>Name of this view <input name="view" required maxlength="40" autocomplete="off" /></label><button>Keep it</button></form>`
    : html`<button type="button" onClick=${saved.ask}>Save this view…</button>`}</nav>`;
}

/** Views that somebody named, kept in this browser: which records they look at is nobody else's business. */
function useSavedViews(kind) {
  const key = `clawpurse.views.${location.host}.${kind.name}`;
  const [views, setViews] = useState(() => readViews(localStorage.getItem(key)));
  const [isAsking, setAsking] = useState(false);
  const store = (next) => {
    localStorage.setItem(key, JSON.stringify(next));
    setViews(next);
    setAsking(false);
  };
  return { views, isAsking, ask: () => setAsking(true), forget: (name) => store(views.filter((one) => one.name !== name)),
    keep: (name, query) => store(withView(views, name, query)) };
}

function Filters({ kind, query }) {
  const fields = kind.fields.filter(({ searched }) => searched);
  const submit = (event) => {
    event.preventDefault();
    setQuery({ archived: "", ...typedIn(event.currentTarget) });
  };
  return html`<form class="views" onSubmit=${submit}>${fields.map(({ name }) => html`<label key=${name}>${labelOf(name)}
      <input name=${name} defaultValue=${query[name] ?? ""} autocomplete="off" spellcheck="false" /></label>`)}
    <label><input type="checkbox" name="archived" value="yes" defaultChecked=${query.archived === "yes"} /> archived ones too</label>
    <button>Show</button></form>`;
}

function Rows({ kind, records, chosen, setChosen }) {
  const toggle = (id) => setChosen(chosen.includes(id) ? chosen.filter((one) => one !== id) : [...chosen, id]);
  const columns = [
    { key: "chosen", title: "", render: (row) => html`<input type="checkbox" aria-label=${`choose ${row.id}`} checked=${chosen.includes(row.id)}
      onChange=${() => toggle(row.id)} />` },
    { key: "id", title: kind.title, render: (row) => html`<a href=${linkTo(`/${kind.name}/${row.id}`)}>${row.id}</a>` },
    { key: "state", title: "State", render: (row) => html`<${Badge} ...${stateBadge(kind, row)} />` },
    ...columnsOf(kind).map((field) => ({ key: field.name, title: labelOf(field.name), number: field.holds === "integer",
      render: (row) => valueText(field, row) })),
    ...(kind.clocks.length ? [{ key: "clocks", title: "Promises", render: (row) => html`<${Clocks} clocks=${row.clocks} />` }] : []),
    { key: "changed", title: "Changed", render: (row) => html`<${When} time=${row.changed} />` },
  ];
  return html`<${Table} rows=${records} columns=${columns} rowKey=${({ id }) => id} onOpen=${({ id }) => go(`/${kind.name}/${id}`)}
    empty=${`No ${kind.title.toLowerCase()} is like this.`} />`;
}

/** How promises stand, each with its own word. */
export function Clocks({ clocks }) {
  return clocks.filter(({ standing }) => standing !== "waiting").map((clock) => {
    const { kind, word, text } = clockWords(clock, spanText);
    return html`<span key=${clock.name}><${Badge} kind=${kind} text=${word} /> ${text} </span>`;
  });
}

/** Moves that are possible for all chosen records, made one after the other. */
function Bulk({ kind, picked, done }) {
  const [told, setTold] = useState("");
  const [isBusy, setBusy] = useState(false);
  const run = async (move) => {
    setBusy(true);
    const refused = [];
    for (const one of picked) {
      try {
        await call(kind.methods.move, { id: one.id, move: move.name, version: one.version, idempotencyKey: requestKey() });
      } catch (failure) {
        refused.push(`${one.id}: ${failure.reason}`);
      }
    }
    setBusy(false);
    setTold([`${labelOf(move.name)}: ${picked.length - refused.length} of ${picked.length} done.`, ...refused].join(" "));
    done();
  };
  if (!picked.length) return told ? html`<p role="status">${told}</p>` : "";
  const moves = sharedMoves(kind, picked);
  return html`<section class="panel wide" aria-label="Chosen"><p>${picked.length} chosen.</p>
    <div class="moves">${moves.map((move) => html`<button key=${move.name} type="button" disabled=${isBusy} onClick=${() => run(move)}>
      ${deedOf(move)} all ${picked.length}</button>`)}
      ${moves.length ? "" : html`<span class="muted">No move is possible for all of them.</span>`}</div></section>`;
}

/** Saves every record of the list, page by page. */
function Csv({ kind, filters, isEmpty }) {
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const save = async () => {
    setBusy(true);
    setError(null);
    try {
      const records = [];
      let cursor;
      for (let page = 0; page < EXPORT_PAGES_MAX; page += 1) {
        const found = await call(kind.methods.list, { ...filters, limit: EXPORT_ROWS, ...(cursor ? { cursor } : {}) });
        records.push(...found.records);
        cursor = found.nextCursor;
        if (!cursor) break;
      }
      const { heads, cells } = csvOf(kind, records);
      download(csvText(heads, cells), `${kind.name}.csv`, "text/csv");
    } catch (failure) {
      setError(failure);
    }
    setBusy(false);
  };
  return html`<button type="button" disabled=${isEmpty || isBusy} onClick=${save}>CSV</button>${error ? html`<${Failure} error=${error} />` : ""}`;
}

/** Hand a text over as a file. */
export function download(text, name, type) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1_000);
}

/** Moves of this kind that somebody must approve. */
export function Waiting({ kind }) {
  const { cursor, pager } = usePages(kind.name);
  const { data, error } = useAnswer(kind.methods.proposals, { limit: PAGE_ROWS, ...(cursor ? { cursor } : {}) });
  return html`<${Panel} wide level="1" title=${`${kind.nouns}: waiting for approval`} actions=${html`<a href=${linkTo(`/${kind.name}`)}>all ${kind.nouns.toLowerCase()}</a>`}>
    ${error ? html`<${Failure} error=${error} />` : ""}
    ${data ? html`${data.proposals.length ? "" : html`<${Empty} text="Nothing waits for anybody." />`}
      <ul class="lines">${data.proposals.map((one) => html`<li key=${one.proposal}><${Badge} kind="pending" text=${`${one.missing} missing`} />
        <a class="what" href=${linkTo(`/${kind.name}/${one.record}`)}>${labelOf(one.move)} ${one.record}</a>
        <span class="muted">asked by ${one.askedBy}, until ${utcText(one.expires)}</span></li>`)}</ul>
      <${Pager} nextCursor=${data.nextCursor} ...${pager} />` : html`<p class="muted">…</p>`}<//>`;
}
