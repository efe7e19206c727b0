// This node: whether it can be relied on, what it is, how it is set, and what it stands on.

import { bytesText, countText, grouped, spanText, utcText } from "/assets/kit/format.js";
import { useCall } from "/assets/kit/live.js";
import { Badge, BlockLink, Call, Command, Facts, Ident, Panel, Sentence, Table, When, html } from "/assets/kit/parts.js";
import { Title, Value } from "./common.js";
import { Pins } from "./pinning.js";
import { plainText, wordsOf } from "./text.js";

const REFRESH_MS = 5_000;

export default function Node() {
  const info = useCall("node_getInfo", {}, { refresh: REFRESH_MS });
  return html`<${Title}>Node ${info.data?.name ?? ""}</${Title}><${Sentence} />
    <${Health} /><${Identity} info=${info} /><${Storage} /><${Modules} info=${info} /><${Settings} /><${Parameters} /><${Pins} />
    <${Call} method="node_getInfo" data=${info.data} />`;
}

function Health() {
  const health = useCall("node_getHealth", {}, { refresh: REFRESH_MS });
  const alerts = useCall("node_getAlerts", {}, { refresh: REFRESH_MS });
  return html`<${Panel} title="Health" state=${health} call>${({ ready, problems, alarms, height, behind, peers }) => html`
    <p><${Badge} kind=${ready ? "ok" : "critical"} text=${ready ? "ready" : "not ready"} /></p>
    ${[...problems, ...alarms].map((one) => html`<p key=${one}><${Badge} kind="warning" text="finding" /> ${plainText(one, 600)}</p>`)}
    ${(alerts.data?.alerts ?? []).map((one) => html`<p key=${one.name + (one.subject ?? "")}><${Badge} kind=${one.severity} text=${one.name} /> ${plainText(one.summary, 600)} <a href=${`#/runbook/${one.name}`}>Runbook</a></p>`)}
    ${!problems.length && !alarms.length && alerts.data && !alerts.data.alerts.length ? html`<p>Nothing was found that is wrong.</p>` : ""}
    <${Facts} rows=${[["Block", html`<${BlockLink} height=${height} />`], ["Behind", behind ? countText(behind, "block") : "no"], ["Peers", peers]]} />
    <p>More checks, on the machine itself: <${Command} text="clawpurse doctor" /></p>`}</${Panel}>`;
}

function Identity({ info }) {
  return html`<${Panel} title="What it is" state=${info}>${(data) => html`<${Facts} rows=${[
    ["Version", data.version], ["Up since", html`${utcText(data.startedAt)}, <${When} time=${data.startedAt} />`],
    ["Uptime", spanText(Date.now() - Date.parse(data.startedAt))],
    ["Network", data.chainId], ["Genesis", html`<${Ident} value=${data.genesisHash} />`],
    ["Node id", html`<${Ident} value=${data.nodeId} />`],
    ["Authority", data.authority ? html`<${Ident} value=${data.authority} /> ${data.isAuthority ? html`<${Badge} kind=${data.signing ? "ok" : "warning"} text=${data.signing ? "signs" : "does not sign"} />` : html`<${Badge} kind="none" text="its key is no authority now" />`}` : "no: it follows"],
    ["Metrics", html`<${Ident} value=${data.metrics} />`],
  ]} />`}</${Panel}>`;
}

function Storage() {
  const asked = useCall("node_getStorage", {}, { refresh: 4 * REFRESH_MS });
  return html`<${Panel} title="Disk and history" state=${asked} call>${({ freeMb, minFreeMb, firstHeight, height, backup }) => html`
    <${Facts} rows=${[
      ["Free disk", html`<b>${bytesText(freeMb * 1024 * 1024)}</b> <${Badge} kind=${freeMb > 2 * minFreeMb ? "ok" : "warning"} text=${freeMb > 2 * minFreeMb ? "enough" : "low"} />`],
      ["Stops below", bytesText(minFreeMb * 1024 * 1024)],
      ["Blocks kept", html`<${BlockLink} height=${firstHeight} /> … <${BlockLink} height=${height} /> (${grouped(height - firstHeight + 1)})`],
      ["Backup", backup ? html`<${When} time=${backup.time} />` : html`<span class="muted">no data: this node makes no backups itself.</span> Copy its folder while it is stopped.`],
    ]} />`}</${Panel}>`;
}

function Modules({ info }) {
  return html`<${Panel} title="Modules" state=${info}>${({ modules }) => html`<${Table} rows=${modules} rowKey=${({ name }) => name} columns=${[
    { key: "name", title: "Module" }, { key: "version", title: "Version", number: true }]} />`}</${Panel}>`;
}

function Settings() {
  const asked = useCall("node_getConfig", {}, { refresh: null });
  return html`<${Panel} title="Settings, without secrets" state=${asked} call>${({ settings }) => html`
    <${Table} rows=${settings} rowKey=${({ name }) => name} columns=${[
      { key: "name", title: "Setting", render: ({ name }) => html`<code>${name}</code>` },
      { key: "value", title: "Value", wide: true, render: ({ value, isSecret }) => (isSecret ? html`<span class="muted">not shown</span>` : html`<${Value} value=${value} />`) },
      { key: "isDefault", title: "", render: ({ isDefault }) => (isDefault ? html`<span class="muted">default</span>` : "set") },
    ]} /><p>To check a changed file: <${Command} text="clawpurse config validate" /></p>`}</${Panel}>`;
}

function Parameters() {
  const asked = useCall("chain_getParameters", {}, { refresh: null });
  return html`<${Panel} title="Parameters of the network" state=${asked} call>${({ parameters }) => html`
    <${Facts} rows=${Object.entries(parameters).map(([name, value]) => [wordsOf(name), value === null ? null : grouped(value)])} />`}</${Panel}>`;
}
