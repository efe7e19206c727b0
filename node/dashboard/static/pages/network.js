// This node's peers: a table, and a picture of who called whom.

import { bytesText, countText, endsText, spanText } from "/assets/kit/format.js";
import { useCall } from "/assets/kit/live.js";
import { Badge, Call, Facts, Ident, Panel, Table, html } from "/assets/kit/parts.js";
import { Title } from "./common.js";
import { plainText } from "./text.js";

const REFRESH_MS = 5_000;
// Heard less than this ago, a peer lives; links are pinged more often.
const SILENT_MAX_S = 30;
const DRAWN_MAX = 40;

export default function Network() {
  const asked = useCall("net_getPeers", {}, { refresh: REFRESH_MS });
  const empty = { text: "No peer is connected: this node is alone and sees nothing of others.", command: "clawpurse doctor" };
  const state = asked.state === "ready" && !asked.data.peers.length ? "empty" : asked;
  return html`<${Title}>Network</${Title}>
    <${Panel} title="Who is connected" state=${state} empty=${empty}>${({ peers, nodeId }) => html`<${Picture} peers=${peers} nodeId=${nodeId} />`}</${Panel}>
    <${Panel} title="This node" state=${asked}>${({ nodeId, listen, peers }) => html`<${Facts} rows=${[
      ["Node id", html`<${Ident} value=${nodeId} />`], ["Others reach it at", html`<${Ident} value=${listen} />`],
      ["Peers", `${peers.length}: ${peers.filter(({ direction }) => direction === "inbound").length} called in, ${peers.filter(({ direction }) => direction === "outbound").length} called`],
    ]} />`}</${Panel}>
    <${Panel} wide title="Peers" state=${state} empty=${empty}>${({ peers }) => html`<${Table} rows=${peers} rowKey=${({ nodeId }) => nodeId} columns=${COLUMNS} />`}</${Panel}>
    <${Panel} wide title="Bans" state=${asked.state === "ready" && !asked.data.bans.length ? "empty" : asked} empty=${{ text: "Nobody is banned." }}>${({ bans }) => html`
      <${Table} rows=${bans} rowKey=${({ subject }) => subject} columns=${[
        { key: "subject", title: "Who", wide: true, render: ({ subject }) => html`<${Ident} value=${subject} />` },
        { key: "reason", title: "Why", render: ({ reason }) => plainText(reason) }, { key: "until", title: "Until" },
      ]} />`}</${Panel}>
    <${Call} method="net_getPeers" data=${asked.data} />`;
}

const COLUMNS = [
  { key: "is", title: "State", render: ({ silentSeconds }) => html`<${Badge} kind=${silentSeconds > SILENT_MAX_S ? "warning" : "ok"} text=${silentSeconds > SILENT_MAX_S ? `silent ${silentSeconds} s` : "heard"} />` },
  { key: "direction", title: "Direction", render: ({ direction, persistent }) => `${direction === "inbound" ? "← in" : "→ out"}${persistent ? ", kept" : ""}` },
  { key: "address", title: "Address", render: ({ address }) => html`<${Ident} value=${address} />` },
  { key: "agent", title: "Software", render: ({ agent }) => plainText(agent, 60) },
  { key: "connectedSeconds", title: "For", number: true, render: ({ connectedSeconds }) => spanText(connectedSeconds * 1000) },
  { key: "traffic", title: "In / out", number: true, render: ({ bytesIn, bytesOut }) => `${bytesText(bytesIn)} / ${bytesText(bytesOut)}` },
  { key: "dropped", title: "Dropped", number: true, render: ({ dropped }) => Object.values(dropped ?? {}).reduce((sum, one) => sum + one, 0) },
  { key: "score", title: "Misbehaviour", number: true, render: ({ score }) => (score === undefined || score === null ? "–" : score.toFixed(1)) },
  { key: "nodeId", title: "Node id", wide: true, render: ({ nodeId }) => html`<${Ident} value=${nodeId} />` },
];

/** This node in the middle, peers around it; the arrow points to who was called. */
function Picture({ peers, nodeId }) {
  const drawn = peers.slice(0, DRAWN_MAX);
  const at = (index) => {
    const angle = 2 * Math.PI * index / drawn.length - Math.PI / 2;
    return [200 + 130 * Math.cos(angle), 150 + 105 * Math.sin(angle)];
  };
  return html`<svg viewBox="0 0 400 300" width="100%" role="img" aria-label=${`This node and ${countText(peers.length, "peer")}; the table below has them all`}>
    <defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="currentColor" /></marker></defs>
    ${drawn.map((peer, index) => {
      const [x, y] = at(index);
      const [dx, dy] = [x - 200, y - 150];
      const length = Math.hypot(dx, dy);
      const near = [200 + 26 * dx / length, 150 + 26 * dy / length];
      const far = [x - 16 * dx / length, y - 16 * dy / length];
      const [from, to] = peer.direction === "inbound" ? [far, near] : [near, far];
      const isSilent = peer.silentSeconds > SILENT_MAX_S;
      return html`<g key=${peer.nodeId}><title>${peer.nodeId}</title>
        <line x1=${from[0]} y1=${from[1]} x2=${to[0]} y2=${to[1]} stroke="currentColor" stroke-width="1.5" stroke-dasharray=${isSilent ? "4 4" : "none"} marker-end="url(#arrow)" opacity="0.7" />
        <circle cx=${x} cy=${y} r="12" fill="none" stroke="currentColor" stroke-width="2" stroke-dasharray=${isSilent ? "4 3" : "none"} />
        <text x=${x} y=${y + (y < 150 ? -18 : 28)} text-anchor="middle" font-size="11" fill="currentColor">${isSilent ? "! " : ""}${endsText(peer.nodeId, 6, 4)}</text></g>`;
    })}
    <circle cx="200" cy="150" r="22" fill="none" stroke="currentColor" stroke-width="3" /><text x="200" y="154" text-anchor="middle" font-size="11" fill="currentColor">this</text></svg>
  <p class="muted">An arrow points to who was called; dashed is silent.${peers.length > drawn.length ? ` The first ${drawn.length} of ${peers.length}.` : ""} This node: ${endsText(nodeId, 6, 4)}</p>`;
}
