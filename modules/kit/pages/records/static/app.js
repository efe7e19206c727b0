// The pages of any service: what it says of itself is drawn. They keep a token for their tab and
// nothing else; who may see and do what is decided by the service, from the ledger's roles.

import { useAnswer } from "/assets/kit/answers.js";
import { Badge, Panel } from "/assets/kit/parts.js";
import { linkTo, usePlace } from "/assets/kit/router.js";
import { onToken, sessionToken, wantsToken } from "/assets/kit/rpc.js";
import { arrive } from "/assets/kit/arriving.js";
import { farewellText, keepFresh, leave, onSession } from "/assets/kit/session.js";
import { WaysIn } from "/assets/kit/signin.js";
import { html, render, useEffect, useState } from "/assets/kit/vendor/preact.js";
import { Failure } from "./asking.js";
import { CreateForm } from "./forms.js";
import { RecordList, Waiting } from "./lists.js";
import { RecordPage } from "./record.js";
import { placeOf, serviceOf } from "./words.js";

const DESCRIBED_MS = 60_000;
const BEHIND_MS = 5_000;

function App({ service }) {
  const [, redraw] = useState(0);
  useEffect(() => {
    const again = () => redraw((count) => count + 1);
    const stops = [onToken(again), onSession(again)];
    return () => stops.forEach((stop) => stop());
  }, []);
  const isIn = sessionToken() && !wantsToken();
  return html`<div class="shell"><header class="head"><a class="brand" href="#/">${service.title || "ClawPurse"}</a>
      ${sessionToken() ? html`<button type="button" onClick=${leave}>Sign out</button>` : ""}</header>
    ${isIn ? html`<${Inside} service=${service} />` : html`<main id="main" tabindex="-1"><${SignIn} service=${service} /></main>`}</div>`;
}

function SignIn({ service }) {
  const command = `clawpurse module token create ${service.name || "NAME"} --account ACCOUNT --out me.token`;
  const said = farewellText() || (sessionToken() ? "This token is not accepted: it may have expired or been revoked." : "");
  return html`<${Panel} wide level="1" title="Sign in">${said ? html`<p role="alert">${said}</p>` : ""}
    <${WaysIn} done=${() => {}} command=${command} probe=${`${service.name}_describe`} /><//>`;
}

function Inside({ service }) {
  const { path, query } = usePlace();
  const { data: about, error } = useAnswer(`${service.name}_describe`, {}, DESCRIBED_MS);
  useEffect(() => { document.title = service.title || "ClawPurse"; }, [service.title]);
  if (!about) return html`<main id="main" tabindex="-1"><${Panel} wide level="1" title=${service.title}>
      ${error ? html`<${Failure} error=${error} />` : html`<p class="muted">…</p>`}<//></main>`;
  const place = placeOf(path, about.kinds);
  return html`<nav class="menu" aria-label="Kinds">${about.kinds.map((kind) => html`<a key=${kind.name} href=${linkTo(`/${kind.name}`)}
      aria-current=${place.kind === kind ? "page" : undefined}>${kind.nouns}</a>`)}</nav>
    <main id="main" tabindex="-1"><${Behind} /><${Place} key=${path} place=${place} about=${about} query=${query} />
      <p class="muted">You act for <span class="ident">${about.you.subject}</span>${about.you.roles.length ? ` as ${about.you.roles.join(", ")}` : ", without a role here"}.</p></main>`;
}

function Place({ place, about, query }) {
  const shared = { about, kind: place.kind };
  switch (place.page) {
    case "list": return html`<${RecordList} ...${shared} query=${query} />`;
    case "new": return html`<${CreateForm} ...${shared} />`;
    case "waiting": return html`<${Waiting} ...${shared} />`;
    case "record": return html`<${RecordPage} ...${shared} id=${place.id} />`;
    default: return html`<${Panel} wide level="1" title="Nothing here"><p>This address leads nowhere. <a href="#/">Back to the start</a></p><//>`;
  }
}

/** Says when the service cannot go on with the chain: then what is shown may be old. */
function Behind() {
  const [problem, setProblem] = useState("");
  useEffect(() => {
    const look = async () => {
      try {
        setProblem((await (await fetch("/readyz", { credentials: "omit" })).json()).problem ?? "");
      } catch {
        setProblem("the service does not answer");
      }
    };
    look();
    const timer = setInterval(() => { if (!document.hidden) look(); }, BEHIND_MS);
    return () => clearInterval(timer);
  }, []);
  return problem ? html`<section class="panel wide notice" role="status"><p><${Badge} kind="warning" text="not up to date" /> ${problem}.</p></section>` : "";
}

async function start() {
  arrive();
  keepFresh();
  let service = { name: "", title: "" };
  try {
    service = serviceOf(await (await fetch("/openrpc.json", { credentials: "omit" })).json());
  } catch {
    // Whoever signs in is told that nobody answers.
  }
  render(html`<${App} service=${service} />`, document.getElementById("app"));
}

start();
