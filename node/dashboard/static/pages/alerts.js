// What somebody should look at: what fires now, what ended since the page was opened, and all that
// this node can tell.

import { utcText } from "/assets/kit/format.js";
import { useCall } from "/assets/kit/live.js";
import { Badge, Call, Facts, Panel, Sentence, Table, Trouble, When, html } from "/assets/kit/parts.js";
import { linkTo } from "/assets/kit/router.js";
import { useEffect, useRef } from "/assets/kit/vendor/preact.js";
import { Title, Value } from "./common.js";
import { Runbook, useRunbooks } from "./runbooks.js";
import { plainText, wordsOf } from "./text.js";

const REFRESH_MS = 2_000;
const HISTORY_MAX = 100;

export default function Alerts({ query }) {
  const asked = useCall("node_getAlerts", {}, { refresh: REFRESH_MS, empty: (data) => !data?.alerts.length });
  const history = useHistory(asked.data?.alerts);
  return html`<${Title}>Alerts</${Title}><${Sentence} />
    <${Panel} wide title="Firing" state=${asked} empty=${{ text: "✓ None of this node's own checks fires.", command: "clawpurse doctor" }}>${({ alerts }) => html`
      ${alerts.map((one) => html`<${Alert} key=${idOf(one)} alert=${one} isChosen=${query.name === one.name} />`)}`}</${Panel}>
    <${Panel} wide title="Since this page was opened" state=${history.length ? "ready" : "empty"} empty=${{ text: "Nothing began or ended since." }}>
      <${Table} rows=${history} rowKey=${({ id, at, what }) => `${id}${at}${what}`} columns=${[
        { key: "at", title: "UTC", render: ({ at }) => html`<${When} time=${at} />` },
        { key: "what", title: "What", render: ({ what, severity }) => html`<${Badge} kind=${what === "ended" ? "ok" : severity} text=${what} />` },
        { key: "name", title: "Alert", render: ({ name, summary }) => html`<b>${name}</b> ${plainText(summary)}` },
      ]} /></${Panel}>
    <${Panel} wide title="All checks" state=${asked.data ? "ready" : asked}>${() => html`<${Table} rows=${asked.data.checks} rowKey=${({ name }) => name} columns=${[
      { key: "name", title: "Check", render: ({ name }) => html`<a href=${linkTo(`/runbook/${name}`)}><b>${name}</b></a>` },
      { key: "severity", title: "Severity" },
      { key: "is", title: "Now", render: ({ name }) => (asked.data.alerts.some((one) => one.name === name) ? html`<${Badge} kind="warning" text="fires" />` : html`<${Badge} kind="ok" text="quiet" />`) },
      { key: "meaning", title: "Fires when", render: ({ meaning }) => plainText(meaning) },
    ]} />`}</${Panel}>
    <${Call} method="node_getAlerts" data=${asked.data} />`;
}

const idOf = ({ name, subject }) => `${name} ${subject ?? ""}`;

function Alert({ alert, isChosen }) {
  return html`<section class="alert" aria-current=${isChosen ? "true" : undefined}><h3><${Badge} kind=${alert.severity} text=${alert.severity} /> ${alert.name}</h3>
    <p>${plainText(alert.summary, 600)}</p><${Facts} rows=${[
      ["Since", html`${utcText(alert.since)}, <${When} time=${alert.since} />`], ["Means", plainText(alert.meaning, 600)],
      ...Object.entries(alert.facts ?? {}).map(([name, value]) => [wordsOf(name), html`<${Value} value=${value} />`]),
    ]} /><${Remedy} name=${alert.name} isOpen=${isChosen || alert.severity === "critical"} /></section>`;
}

/** What to do, where the alert is: nobody looks for a file while payments wait. */
function Remedy({ name, isOpen }) {
  const { data, error, retry } = useRunbooks();
  const book = data?.[name];
  return html`<details open=${isOpen}><summary>Runbook</summary>
    ${error ? html`<${Trouble} error=${error} retry=${retry} />` : book ? html`<${Runbook} book=${book} level=${4} />` : ""}
    <p><a href=${linkTo(`/runbook/${name}`)}>On a page of its own</a></p></details>`;
}

/** What began and what ended while somebody looks, newest first; the node keeps no history. */
function useHistory(alerts) {
  const kept = useRef({ before: null, entries: [] });
  useEffect(() => {
    if (!alerts) return;
    const { before, entries } = kept.current;
    const now = new Map(alerts.map((one) => [idOf(one), one]));
    const moves = before === null ? [] : [
      ...alerts.filter((one) => !before.has(idOf(one))).map((one) => entryOf(one, "began")),
      ...[...before.values()].filter((one) => !now.has(idOf(one))).map((one) => entryOf(one, "ended")),
    ];
    kept.current = { before: now, entries: [...moves, ...entries].slice(0, HISTORY_MAX) };
  }, [alerts]);
  return kept.current.entries;
}

function entryOf(alert, what) {
  return { id: idOf(alert), at: Date.now(), what, name: alert.name, severity: alert.severity, summary: alert.summary };
}
