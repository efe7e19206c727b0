// The runbook of one alert, and whether it fires now.

import { useCall } from "/assets/kit/live.js";
import { Badge, Call, Panel, When, html } from "/assets/kit/parts.js";
import { linkTo } from "/assets/kit/router.js";
import { Title } from "./common.js";
import { Runbook, useRunbooks } from "./runbooks.js";
import { plainText } from "./text.js";

const REFRESH_MS = 2_000;

export default function RunbookPage({ params: { name } }) {
  const books = useRunbooks();
  const book = books.data && Object.hasOwn(books.data, name) ? books.data[name] : null;
  return html`<${Title} beside=${book ? html`<${Badge} kind=${book.severity} text=${book.severity} />` : ""}>${plainText(name)}</${Title}>
    <${Now} name=${name} />
    <${Panel} wide title="Runbook" state=${books.data && !book ? "empty" : books} empty=${{ text: `This node has no alert of the name ${plainText(name)}.` }}
      actions=${html`<a href="#/alerts">all alerts</a>`}>${() => html`<${Runbook} book=${book} />`}</${Panel}>
    <${Call} method="node_getAlerts" />`;
}

function Now({ name }) {
  const asked = useCall("node_getAlerts", {}, { refresh: REFRESH_MS });
  return html`<${Panel} wide title="Now" state=${asked}>${({ alerts }) => {
    const mine = alerts.filter((one) => one.name === name);
    if (!mine.length) return html`<p><${Badge} kind="ok" text="quiet" /> It does not fire.</p>`;
    return mine.map((one) => html`<p key=${one.subject}><${Badge} kind=${one.severity} text="fires" /> ${plainText(one.summary, 600)}
      ${" "}<span class="muted">since <${When} time=${one.since} /> · <a href=${linkTo("/alerts", { name })}>its facts</a></span></p>`);
  }}</${Panel}>`;
}
