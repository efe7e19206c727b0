// One record: what it holds, its promises, what may be done and why not, who must approve, and what
// became of it since it was made.

import { useAnswer } from "/assets/kit/answers.js";
import { spanText } from "/assets/kit/format.js";
import { useEscape } from "/assets/kit/keys.js";
import { Badge, Facts, Panel, When } from "/assets/kit/parts.js";
import { go, linkTo } from "/assets/kit/router.js";
import { call } from "/assets/kit/rpc.js";
import { html, useState } from "/assets/kit/vendor/preact.js";
import { CONFLICT, Failure, Undo, useAsking } from "./asking.js";
import { Inputs, typedIn } from "./forms.js";
import { download } from "./lists.js";
import {
  canBeUndone, clockWords, deedOf, differences, labelOf, mayAsk, plainText, readForm, stateBadge, stepText, valueText,
} from "./words.js";

const PROPOSALS_MAX = 500;
const STEPS = 100;

export function RecordPage({ about, kind, id }) {
  useEscape(() => go(`/${kind.name}`));
  const found = useAnswer(kind.methods.get, { id, viewing: true });
  const record = found.data;
  const back = html`<a href=${linkTo(`/${kind.name}`)}>all ${kind.nouns.toLowerCase()}</a>`;
  if (!record) return html`<${Panel} wide level="1" title=${id} actions=${back}>
    ${found.error ? html`<${Failure} error=${found.error} />` : html`<p class="muted">…</p>`}<//>`;
  const shared = { about, kind, record, again: found.again };
  return html`<${Panel} wide level="1" title=${`${kind.title} ${record.id}`} actions=${html`<${Badge} ...${stateBadge(kind, record)} /> ${back}`}>
      ${found.error ? html`<${Failure} error=${found.error} lead="Not renewed. " />` : ""}
      ${record.viewers.map((who) => html`<p key=${who} class="muted">● <span class="ident">${who}</span> is looking at it, too.</p>`)}
      ${record.archived ? html`<p><${Badge} kind="expired" text="archived" /> kept long enough <${When} time=${record.archived} /></p>` : ""}
      <${Facts} rows=${[...kind.fields.map((field) => [labelOf(field.name), valueText(field, record)]),
    ["Made", html`<${When} time=${record.created} />`], ["Changed", html`<${When} time=${record.changed} />`]]} />
      <ul class="lines">${record.clocks.map((clock) => { const { kind: look, word, text } = clockWords(clock, spanText);
    return html`<li key=${clock.name}><${Badge} kind=${look} text=${word} /><span class="what">${text}</span>
        <span class="muted">${clock.due ? html`due <${When} time=${clock.due} />` : ""}</span></li>`; })}</ul><//>
    ${kind.methods.approve ? html`<${Approvals} ...${shared} />` : ""}
    <${Moves} ...${shared} /><${Change} ...${shared} /><${Timeline} ...${shared} /><${Erase} ...${shared} />`;
}

// -- moves

/** A change to what somebody looked at: where another came first, both are shown before anything is done. */
function useChange({ kind, record, again }) {
  const [clash, setClash] = useState(null);
  const asking = useAsking({
    done: () => { setClash(null); again(); },
    failed: (error, params) => {
      if (error.code !== CONFLICT) return false;
      again();
      setClash({ error, params });
      return true;
    },
  });
  const stale = clash && clash.params.version && record.version !== clash.params.version ? clash : null;
  const lone = clash && !stale ? clash.error : null;
  const redo = (method, delayed) => {
    const { idempotencyKey: _old, ...params } = clash.params;
    setClash(null);
    asking.ask(method, { ...params, version: record.version }, { delayed });
  };
  const view = stale ? html`<${Clash} kind=${kind} record=${record} clash=${stale} leave=${() => setClash(null)} redo=${redo}
    method=${stale.params.move ? kind.methods.move : kind.methods.update} />` : "";
  return { ...asking, error: asking.error ?? lone, clash: view };
}

function Clash({ kind, record, clash, leave, redo, method }) {
  const { params } = clash;
  const rows = differences(kind, params, record);
  return html`<section class="panel wide notice" role="alert" aria-label="Conflict"><h2>Somebody changed it first</h2>
    <p>You looked at version ${params.version}; it is version ${record.version} now, ${record.state}. Nothing of yours was done.</p>
    ${params.move ? html`<p>You wanted: ${labelOf(params.move)}.</p>` : ""}
    ${rows.length ? html`<table><thead><tr><th scope="col"></th><th scope="col">yours</th><th scope="col">theirs</th></tr></thead>
      <tbody>${rows.map(({ label, mine, theirs }) => html`<tr key=${label}><th scope="row">${label}</th><td>${mine}</td><td>${theirs}</td></tr>`)}</tbody></table>` : ""}
    <div class="moves"><button type="button" onClick=${leave}>Keep theirs</button>
      <button type="button" onClick=${() => redo(method, false)}>Do mine on version ${record.version}</button></div></section>`;
}

function Moves({ kind, record, again }) {
  const [choice, setChoice] = useState("");
  const asking = useChange({ kind, record, again: () => { setChoice(""); again(); } });
  const leaving = kind.moves.filter(({ name }) => record.moves.includes(name) || name in record.refused);
  if (!leaving.length) return "";
  const chosen = leaving.find(({ name }) => name === choice);
  const start = (move) => {
    if (move.sets.length || !canBeUndone(move)) setChoice(choice === move.name ? "" : move.name);
    else asking.ask(kind.methods.move, { id: record.id, move: move.name, version: record.version }, { delayed: true, label: deedOf(move) });
  };
  return html`${asking.clash}<${Panel} wide title="Moves"><div class="moves">${leaving.map((move) => html`<span key=${move.name}>
      <button type="button" disabled=${move.name in record.refused || asking.busy} aria-expanded=${choice === move.name}
        onClick=${() => start(move)}>${deedOf(move)}</button>
      ${move.name in record.refused ? html` <span class="muted">${record.refused[move.name]}</span>` : ""}</span>`)}</div>
    ${chosen ? html`<${MoveForm} key=${choice} kind=${kind} record=${record} move=${chosen} asking=${asking} />` : ""}
    <${Undo} asking=${asking} />${asking.error ? html`<${Failure} error=${asking.error} />` : ""}<//>`;
}

function MoveForm({ kind, record: newest, move, asking }) {
  const [record] = useState(newest);
  const [problem, setProblem] = useState("");
  const fields = kind.fields.filter(({ name }) => move.sets.includes(name));
  const submit = (event) => {
    event.preventDefault();
    const read = readForm(fields, typedIn(event.currentTarget));
    setProblem(read.problem);
    if (read.problem) return;
    asking.ask(kind.methods.move, { id: record.id, move: move.name, version: record.version, ...read.values },
      { delayed: canBeUndone(move), label: deedOf(move) });
  };
  return html`<form class="fields" onSubmit=${submit} aria-busy=${asking.busy}>${move.says ? html`<p>${move.says}</p>` : ""}
    <p class="muted">${record.state} → ${move.to}${move.sends ? "; it sends to the ledger, which nobody can take back" : ""}${
  move.approvals ? `; ${move.approvals} of ${move.approvers.join(", ") || "others"} must approve, and you are none of them` : ""}.</p>
    <${Inputs} fields=${fields} values=${record.values} needs=${move.needs} />
    <p><button class="primary" disabled=${asking.busy}>${deedOf(move)} ${record.id}</button></p><p role="alert">${problem}</p></form>`;
}

function Change({ about, kind, record, again }) {
  // What was looked at when the form was opened: a page that is renewed changes nothing under the hand.
  const [seen, setSeen] = useState(null);
  const [problem, setProblem] = useState("");
  const asking = useChange({ kind, record, again: () => { setSeen(null); again(); } });
  const fields = kind.fields.filter(({ moved, name }) => !moved && !record.hidden.includes(name) && !record.erased.includes(name));
  if (!mayAsk(kind.access.update, about.you.roles) || kind.ends.includes(record.state) || record.archived) return "";
  const submit = (event) => {
    event.preventDefault();
    const read = readForm(fields, typedIn(event.currentTarget), seen.values);
    const isSame = !read.problem && !Object.keys(read.values).length;
    setProblem(read.problem || (isSame ? "Nothing was changed." : ""));
    if (!read.problem && !isSame) asking.ask(kind.methods.update, { id: record.id, version: seen.version, ...read.values });
  };
  return html`${asking.clash}<${Panel} wide title="Change" actions=${html`<button type="button" aria-expanded=${Boolean(seen)}
      onClick=${() => setSeen(seen ? null : record)}>${seen ? "Leave it" : "Change values…"}</button>`}>
    ${seen ? html`<form class="fields" onSubmit=${submit} aria-busy=${asking.busy}><${Inputs} fields=${fields} values=${seen.values} />
      <p><button class="primary" disabled=${asking.busy}>Change ${record.id}</button></p></form>` : ""}
    <p role="alert">${problem}</p>${asking.error ? html`<${Failure} error=${asking.error} />` : ""}<//>`;
}

// -- approvals

function Approvals({ about, kind, record, again }) {
  const { data, again: look } = useAnswer(kind.methods.proposals, { limit: PROPOSALS_MAX });
  const mine = (data?.proposals ?? []).filter((one) => one.record === record.id);
  return mine.map((one) => html`<${Approval} key=${one.proposal} about=${about} kind=${kind} proposal=${one} again=${() => { look(); again(); }} />`);
}

function Approval({ about, kind, proposal, again }) {
  const [isRejecting, setRejecting] = useState(false);
  const asking = useAsking({ done: again });
  const move = kind.moves.find(({ name }) => name === proposal.move);
  const you = about.you.subject;
  const reason = proposal.askedBy === you ? "You asked for it: somebody else must decide."
    : proposal.approvedBy.includes(you) ? "You approved it already."
      : mayAsk(move.approvers, about.you.roles) ? "" : `For ${move.approvers.join(", ")}.`;
  const deed = `${labelOf(move.name)} ${proposal.record}`;
  const decide = (approve, why) => asking.ask(kind.methods.approve, { proposal: proposal.proposal, approve, ...(why ? { reason: why } : {}) });
  const reject = (event) => {
    event.preventDefault();
    decide(false, typedIn(event.currentTarget).reason);
  };
  const voices = [[proposal.askedBy, "asked"], ...proposal.approvedBy.map((who) => [who, "approves"])];
  return html`<section class="panel wide approve" aria-label="Approval"><header><h2>Approval ${move.approvals - proposal.missing} of ${move.approvals}: ${deed}</h2>
      <span class="muted">ends <${When} time=${proposal.expires} /></span></header>
    <${Facts} rows=${Object.entries(proposal.values).map(([name, value]) => [labelOf(name), plainText(value)])} />
    ${move.sends ? html`<p><${Badge} kind="warning" text="money" /> The last approval sends to the ledger. Nobody can take that back.</p>` : ""}
    <ul class="lines">${voices.map(([who, what]) => html`<li key=${`${who} ${what}`}><${Badge} kind="ok" text=${what} /><span class="what">${who}</span></li>`)}</ul>
    <div class="moves"><button type="button" class="primary" disabled=${Boolean(reason) || asking.busy} onClick=${() => decide(true, "")}>Approve: ${deed}</button>
      <button type="button" disabled=${Boolean(reason) || asking.busy} aria-expanded=${isRejecting} onClick=${() => setRejecting(!isRejecting)}>Reject…</button>
      ${reason ? html`<span class="muted">${reason}</span>` : ""}</div>
    ${isRejecting ? html`<form onSubmit=${reject}><label>Why; kept for ever, so nothing personal <input name="reason" maxlength="500" autocomplete="off" required /></label>
      <button disabled=${asking.busy}>Reject: ${deed}</button></form>` : ""}
    ${asking.error ? html`<${Failure} error=${asking.error} />` : ""}
    <details><summary>exactly what is decided</summary><pre tabindex="0">${JSON.stringify(proposal, null, 2)}</pre></details></section>`;
}

// -- what became of it

function Timeline({ kind, record }) {
  const [cursor, setCursor] = useState(null);
  const { data, error } = useAnswer(kind.methods.history, { id: record.id, limit: STEPS, ...(cursor ? { cursor } : {}) });
  const [problem, setProblem] = useState(null);
  const prove = async (version) => {
    setProblem(null);
    try {
      const proof = await call(kind.methods.prove, { id: record.id, version });
      download(`${JSON.stringify(proof, null, 2)}\n`, `${record.id}-${version}.proof.json`, "application/json");
    } catch (failure) {
      setProblem(failure);
    }
  };
  return html`<${Panel} wide title="Timeline">${error ? html`<${Failure} error=${error} />` : ""}${problem ? html`<${Failure} error=${problem} />` : ""}
    ${data ? html`<ol class="timeline">${data.entries.map((entry) => { const { head, who, changes } = stepText(entry);
    return html`<li key=${entry.number}>${head}${changes.map((one) => html`<br />${one}`)}
        <br /><span class="muted"><${When} time=${entry.time} />, ${who} · version ${entry.version}</span>
        <button type="button" class="quiet" onClick=${() => prove(entry.version)}>Proof</button></li>`; })}</ol>
      <div class="moves">${cursor ? html`<button type="button" onClick=${() => setCursor(null)}>From the beginning</button>` : ""}
        ${data.nextCursor ? html`<button type="button" onClick=${() => setCursor(data.nextCursor)}>What came later</button>` : ""}</div>` : html`<p class="muted">…</p>`}<//>`;
}

function Erase({ about, kind, record, again }) {
  const [isOpen, setOpen] = useState(false);
  const [problem, setProblem] = useState("");
  const [told, setTold] = useState("");
  const asking = useAsking({ done: (done) => {
    setOpen(false);
    setTold(`Erased: ${done.records} records, ${done.commitments} commitments.${done.compacted ? "" : " The files are cleaned within the minute."}`);
    again();
  } });
  const personal = kind.fields.filter((field) => field.personal && !record.erased.includes(field.name));
  if (!personal.length || !mayAsk([about.privacy], about.you.roles)) return told ? html`<p role="status">${told}</p>` : "";
  const submit = (event) => {
    event.preventDefault();
    const { typed, reason, person } = typedIn(event.currentTarget);
    setProblem(typed === record.id ? "" : `Type ${record.id} to say that you mean it.`);
    if (typed === record.id) asking.ask(kind.methods.erase, { id: record.id, reason, person: person === "yes" }, { keyed: false });
  };
  return html`<${Panel} wide title="Personal data" actions=${html`<button type="button" aria-expanded=${isOpen} onClick=${() => setOpen(!isOpen)}>Erase…</button>`}>
    <p class="muted">${personal.map(({ name }) => labelOf(name)).join(", ")}. Erasing destroys the key; proofs stay, values do not.</p>
    ${isOpen ? html`<form class="fields" onSubmit=${submit} aria-busy=${asking.busy}>
      <label>Why; kept for ever, so nothing personal <input name="reason" maxlength="200" required autocomplete="off" /></label>
      <label><input type="checkbox" name="person" value="yes" /> everything that is known of the person, not this record alone</label>
      <label>Type ${record.id} <input name="typed" required autocomplete="off" /></label>
      <p><button disabled=${asking.busy}>Erase for ever</button></p></form>` : ""}
    <p role="alert">${problem}</p>${asking.error ? html`<${Failure} error=${asking.error} />` : ""}<//>`;
}
