// For administrators: who there is, invitations, locks; and which role reaches what.

import { html, useState } from "/assets/kit/vendor/preact.js";
import { useAnswer } from "/assets/kit/answers.js";
import { csvText, utcText } from "/assets/kit/format.js";
import { Badge, CopyButton, Pager, Panel, Table, usePages } from "/assets/kit/parts.js";
import { typedIn, useProvenDeed } from "./proofs.js";
import { ask } from "/assets/kit/session.js";
import { factorText, invitationLink, matrixRows, problemText, stateBadge } from "./words.js";

const RENEWED_MS = 5_000;
const ROWS = 50;

export function Users() {
  const deed = useProvenDeed();
  const [invited, setInvited] = useState(null);
  const [choice, setChoice] = useState(null);
  const { cursor, pager } = usePages("users");
  const { data, error, again } = useAnswer("auth_listUsers", { limit: ROWS, ...(cursor ? { cursor } : {}) }, RENEWED_MS, ask);
  const invite = (event) => {
    event.preventDefault();
    const form = event.currentTarget;
    const { name } = typedIn(form);
    deed.run(async () => { setInvited(await ask("auth_invite", { name: name.trim() })); form.reset(); again(); });
  };
  const act = (method, user, reason) => deed.run(async () => {
    const answer = await ask(method, { user, reason });
    if (answer.invitation) setInvited(answer);
    setChoice(null);
    again();
  });
  if (!data) return html`<${Panel} wide level="1" title="Users">${error ? html`<p role="alert">${problemText(error)}</p>` : html`<p class="muted">…</p>`}<//>`;
  return html`<${Panel} wide level="1" title="Users">${deed.dialog}${error ? html`<p role="alert">Not renewed. ${problemText(error)}</p>` : ""}
      <form class="views" onSubmit=${invite}><label>Name <input name="name" required maxlength="64" autocomplete="off" spellcheck="false" /></label>
        <button class="primary" disabled=${deed.busy}>Invite</button></form>
      <p role="alert">${deed.problem}</p>${invited ? html`<${Invited} made=${invited} close=${() => setInvited(null)} />` : ""}
      <${Table} rows=${data.users} rowKey=${({ id }) => id} columns=${columnsOf(choice, setChoice)} empty="Nobody was invited yet." />
      <${Pager} nextCursor=${data.nextCursor} ...${pager} /><//>
    ${choice ? html`<${Decide} key=${choice.user.id + choice.method} choice=${choice} act=${act} busy=${deed.busy} close=${() => setChoice(null)} />` : ""}`;
}

function columnsOf(choice, setChoice) {
  const button = (user, title, method) => html`<button type="button" aria-expanded=${choice?.user.id === user.id && choice.method === method}
    onClick=${() => setChoice({ user, title, method })}>${title} ${user.name ?? user.id}</button> `;
  return [
    { key: "name", title: "Name", render: (user) => user.name ?? "erased" },
    { key: "state", title: "State", render: (user) => html`<${Badge} ...${stateBadge(user)} />` },
    { key: "kind", title: "Kind" },
    { key: "account", title: "Account", wide: true, render: (user) => html`<span class="ident">${user.account ?? "–"}</span>` },
    { key: "factors", title: "Factors", render: (user) => user.factors.map(factorText).join(", ") || "–" },
    { key: "deeds", title: "", render: (user) => user.state === "closed" ? "" : html`${user.state === "locked" ? button(user, "Unlock", "auth_unlockUser") : user.state === "active" ? button(user, "Lock", "auth_lockUser") : ""}
      ${user.kind === "person" ? button(user, "New password for", "auth_renewPassword") : ""}` },
  ];
}

function Decide({ choice, act, busy, close }) {
  const submit = (event) => {
    event.preventDefault();
    act(choice.method, choice.user.id, typedIn(event.currentTarget).reason.trim());
  };
  return html`<section class="panel wide approve" aria-label="Decision"><h2>${choice.title} ${choice.user.name ?? choice.user.id}</h2>
    <form class="fields" onSubmit=${submit}><label>Why; kept for ever, so nothing personal <input name="reason" required maxlength="200" autocomplete="off" /></label>
      <p><button class="primary" disabled=${busy}>${choice.title} this user</button> <button type="button" onClick=${close}>Leave it</button></p></form></section>`;
}

function Invited({ made, close }) {
  const link = invitationLink(location.origin, made.invitation);
  return html`<div role="status" class="notice"><p>Give this to the person alone; it is shown this once and works until ${utcText(made.expires)}:</p>
    <p class="ident">${link} <${CopyButton} text=${link} /></p><p><button type="button" onClick=${close}>I have it</button></p></div>`;
}

export function Roles() {
  const { data, error } = useAnswer("auth_getRoleMatrix", {}, 60_000, ask);
  if (!data) return html`<${Panel} wide level="1" title="Roles">${error ? html`<p role="alert">${problemText(error)}</p>` : html`<p class="muted">…</p>`}<//>`;
  const rows = matrixRows(data);
  const text = csvText(["role", "scopes", "actions"], rows);
  const address = `data:text/csv;charset=utf-8,${encodeURIComponent(text)}`;
  return html`<${Panel} wide level="1" title="Roles" actions=${html`<a href=${address} download="roles.csv">CSV</a>`}>
    <p class="muted">What a role on the ledger reaches: methods by token, actions by transaction.</p>
    <${Table} rows=${rows} rowKey=${([role]) => role} columns=${["Role", "Methods", "Actions"].map((title, at) => ({ key: title, title, wide: at > 0,
    render: (row) => row[at] || "–" }))} /><//>`;
}
