// The services in this node's process: how well each is, and a row for each kind of record it keeps.

import { grouped } from "/assets/kit/format.js";
import { useCall } from "/assets/kit/live.js";
import { Badge, Call, Panel, Table, html } from "/assets/kit/parts.js";
import { Title } from "./common.js";
import { plainText, wordsOf } from "./text.js";

const REFRESH_MS = 5_000;

export default function Modules() {
  const asked = useCall("node_getModules", {}, { refresh: REFRESH_MS, empty: (data) => !data?.modules.length });
  return html`<${Title}>Modules</${Title}>
    <${Panel} wide title="In this node's process" state=${asked} empty=${{ text: "No module runs in this node's process. Others run by themselves: clawpurse module serve NAME.",
      command: "clawpurse config set modules NAME" }}>${({ modules }) => modules.map((one) => html`<${Module} key=${one.name} module=${one} />`)}</${Panel}>
    <${Call} method="node_getModules" data=${asked.data} />`;
}

function Module({ module }) {
  const badge = module.problem ? { kind: "warning", text: "waits" } : module.url ? { kind: "ok", text: "runs" } : { kind: "pending", text: "starts" };
  return html`<section class="alert"><h3><${Badge} ...${badge} /> ${plainText(module.title)}</h3>
    ${module.problem ? html`<p>${plainText(module.problem, 600)} <a href="#/alerts">Alerts</a></p>` : ""}
    ${module.url ? html`<p>Its pages: <a href=${pagesAt(module.url)} rel="noreferrer">${pagesAt(module.url)}</a></p>` : ""}
    ${module.kinds.length ? html`<${Table} rows=${module.kinds} rowKey=${({ name }) => name} columns=${[
      { key: "name", title: "Records", render: ({ name }) => html`<b>${wordsOf(name)}</b>` },
      { key: "all", title: "All", number: true, render: ({ states }) => grouped(String(Object.values(states).reduce((sum, count) => sum + count, 0))) },
      { key: "states", title: "By state", render: ({ states }) => Object.entries(states).filter(([, count]) => count).map(([state, count]) => `${wordsOf(state)} ${grouped(String(count))}`).join(", ") || "none" },
      { key: "missed", title: "Promises broken", number: true, render: ({ missed }) => grouped(String(missed)) },
    ]} />` : ""}</section>`;
}

/** Services listen on this machine: whoever reads the dashboard from elsewhere needs a way of their own. */
function pagesAt(url) {
  return /^https?:\/\/[\w.:[\]-]+$/.test(url) ? url : "";
}
