// What an alert means, how to check it, what mends it: the runbooks that came with this node. They
// come as paragraphs, lists, code and links, so nothing here parses markup, and text stays text.

import { Command, html } from "/assets/kit/parts.js";
import { linkTo } from "/assets/kit/router.js";
import { useLoaded } from "./common.js";

const ADDRESS = "/assets/node/runbooks.json";
const TIMEOUT_MS = 10_000;

let loading = null;

async function load() {
  const answer = await fetch(ADDRESS, { credentials: "omit", signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (!answer.ok) throw new Error(`the node answers ${answer.status}`);
  return answer.json();
}

/** All runbooks by name, asked for once a page load: {state, data, error, retry}. */
export function useRunbooks() {
  return useLoaded(async () => {
    try {
      return await (loading ??= load());
    } catch (error) {
      loading = null; // What failed is asked for again.
      throw { reason: "the runbooks cannot be read", hint: error.message };
    }
  }, "runbooks");
}

/** One runbook; headings at `level`. */
export function Runbook({ book, level = 3 }) {
  const Heading = `h${level}`;
  return html`${book.parts.map(({ title, blocks }) => html`<${Heading} key=${title}>${title}<//>
    ${blocks.map((block, at) => (block.list
      ? html`<ul key=${at}>${block.list.map((runs, item) => html`<li key=${item}><${Runs} runs=${runs} /></li>`)}</ul>`
      : html`<p key=${at}><${Runs} runs=${block.text} /></p>`))}`)}`;
}

function Runs({ runs }) {
  return runs.map((run, at) => {
    if (typeof run === "string") return run;
    if (run.runbook) return html`<a key=${at} href=${linkTo(`/runbook/${run.runbook}`)}>${run.text}</a>`;
    return run.code.startsWith("clawpurse ") ? html`<${Command} key=${at} text=${run.code} />` : html`<code key=${at}>${run.code}</code>`;
  });
}
