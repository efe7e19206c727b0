// Lines and stacked areas over time. uPlot is loaded with the first chart; a gap in the data is
// a gap in the line, and every chart can be read as a table.

import { html, useEffect, useRef, useState } from "./vendor/preact.js";
import { clockText, figureText } from "./format.js";
import { useMeasured } from "./parts.js";

const HEIGHT_PX = 168;
// Lines differ by dashes, too: in grey they stay apart.
const DASHES = [[], [6, 4], [2, 3], [10, 3, 2, 3]];
// How much of its colour an area shows on the surface.
const AREA_SHARE = 0.45;
let loading = null;

const loadPlot = () => (loading ??= import("./vendor/uplot.js").then((module) => module.default));

/** A chart of series over time.
 *
 * times: ms since 1970, ascending. series: [{name, values (null is a gap), limit?: bool}].
 * unit: "s". stacked: areas on each other. limit: {name, value, isFar?}, a dashed line; one that is
 * far above all values is only named, or they would lie flat on the floor. spanMs: the axis covers
 * at least so long. Below: "as table". */
export function Chart({ title, times, series, unit = "", stacked = false, limit = null, spanMs = 0 }) {
  const place = useRef(null);
  const plot = useRef(null);
  const [width, setWidth] = useState(0);
  const [Plot, setPlot] = useState(null);
  const measured = useMeasured((box) => setWidth(Math.floor(box.width)));
  const theme = useTheme();
  useEffect(() => { loadPlot().then((found) => setPlot(() => found)); }, []);
  const names = series.map((one) => one.name).join();
  const isDrawn = limit && !limit.isFar;
  const all = isDrawn ? [...series, { name: limit.name, values: times.map(() => limit.value), limit: true }] : series;

  useEffect(() => {
    if (!Plot || !width) return undefined;
    const made = new Plot(optionsOf({ all: drawn(all, stacked), unit, stacked, width, spanMs }), dataOf(times, all, stacked), place.current);
    plot.current = made;
    return () => {
      plot.current = null;
      made.destroy();
    };
  }, [Plot, width > 0, names, unit, stacked, theme, isDrawn ? limit.value : null]);
  useEffect(() => {
    plot.current?.setData(dataOf(times, all, stacked));
  }, [times, series]);
  useEffect(() => {
    if (width) plot.current?.setSize({ width, height: HEIGHT_PX });
  }, [width]);

  return html`<figure class="chart" ref=${measured}><div ref=${place} class="plot" role="img" aria-label=${describe(title, all, unit)}></div>
    <ul class="legend">${all.map((one, at) => html`<li key=${one.name}><span class=${`mark s${at + 1}${one.limit ? " limit" : ""}`}
      aria-hidden="true"></span>${one.name} <b>${figureText(lastOf(one.values), unit)}</b></li>`)}${
      limit && !isDrawn ? html`<li key="limit">${limit.name}, far above: <b>${figureText(limit.value, unit)}</b></li>` : ""}</ul>
    <${AsTable} title=${title} times=${times} all=${all} unit=${unit} /></figure>`;
}

const lastOf = (values) => values.findLast((value) => value !== null && value !== undefined) ?? null;

function describe(title, all, unit) {
  const parts = all.map((one) => `${one.name} now ${figureText(lastOf(one.values), unit)}`);
  return `${title}: ${parts.join(", ")}. The numbers are in the table below.`;
}

function AsTable({ title, times, all, unit }) {
  const [open, setOpen] = useState(false);
  const rows = open ? times.map((time, at) => [time, at]).reverse() : [];
  return html`<details onToggle=${(event) => setOpen(event.currentTarget.open)}><summary>as table</summary>
    ${open ? html`<div class="scroller short" tabindex="0"><table><caption class="off-screen">${title}</caption>
      <thead><tr><th scope="col">UTC</th>${all.map((one) => html`<th scope="col" class="number" key=${one.name}>${one.name}${unit ? ` (${unit})` : ""}</th>`)}</tr></thead>
      <tbody>${rows.map(([time, at]) => html`<tr key=${time}><td>${clockText(time)}</td>${all.map((one) =>
        html`<td class="number" key=${one.name}>${figureText(one.values[at])}</td>`)}</tr>`)}</tbody></table></div>` : ""}</details>`;
}

/** Drawn again when the theme changes: a canvas does not know style sheets. */
function useTheme() {
  const [count, setCount] = useState(0);
  useEffect(() => {
    const again = () => setCount((old) => old + 1);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", again);
    addEventListener("themechange", again);
    return () => {
      dark.removeEventListener("change", again);
      removeEventListener("themechange", again);
    };
  }, []);
  return count;
}

// Of stacked areas the highest is drawn first: each covers what belongs to those below it.
const drawn = (all, stacked) => {
  const placed = all.map((one, at) => ({ ...one, at }));
  return stacked ? placed.reverse() : placed;
};

/** Seconds, as uPlot wants them, and the values in the order in which they are drawn; stacked
 * ones added up from the first. */
export function dataOf(times, all, stacked) {
  const seconds = times.map((time) => time / 1000);
  if (!stacked) return [seconds, ...all.map((one) => one.values)];
  const sums = [];
  let below = null;
  for (const one of all) {
    const under = below;
    const sum = one.limit ? one.values : one.values.map((value, at) => (value === null ? null : value + (under?.[at] ?? 0)));
    if (!one.limit) below = sum;
    sums.push(sum);
  }
  return [seconds, ...sums.reverse()];
}

function colours() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(name).trim();
  return { muted: read("--muted"), grid: read("--line"), surface: read("--surface"), series: [1, 2, 3, 4].map((at) => read(`--series-${at}`)), limit: read("--warning") };
}

/** Two colours `#rrggbb` as one, the first by a share of 0 to 1. Opaque, so that what lies behind an
 * area does not shine through and make a third colour. */
export function mixed(colour, ground, share) {
  const part = (text, at) => Number.parseInt(text.slice(at, at + 2), 16);
  const mix = (at) => Math.round(share * part(colour, at) + (1 - share) * part(ground, at));
  return `#${[1, 3, 5].map((at) => mix(at).toString(16).padStart(2, "0")).join("")}`;
}

/** From when to when an axis goes, in seconds: what there is, and at least `span` up to the last. One
 * point alone is at the end of a span, not at the beginning of a day. */
export function timeRange(times, span) {
  const last = times.at(-1) ?? Date.now() / 1000;
  return [Math.min(times[0] ?? last, last - Math.max(span, 1)), last];
}

/** Times under an axis: minutes, and where two would be the same, seconds. */
export function tickTexts(seconds) {
  const texts = seconds.map((tick) => clockText(tick * 1000));
  const short = texts.map((text) => text.slice(0, 5));
  return new Set(short).size < short.length ? texts : short;
}

function optionsOf({ all, unit, stacked, width, spanMs }) {
  const { muted, grid, surface, series, limit } = colours();
  const axis = { stroke: muted, grid: { stroke: grid, width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
  const shape = (one) => {
    if (one.limit) return { label: one.name, stroke: limit, width: 1.5, dash: [2, 4], points: { show: false } };
    const colour = series[one.at % series.length];
    return {
      label: one.name, stroke: colour, width: 1.75, dash: DASHES[one.at % DASHES.length],
      fill: stacked ? mixed(colour, surface, AREA_SHARE) : undefined, spanGaps: false, points: { show: !stacked, size: 4, fill: colour }, // One step alone is a point, not nothing.
    };
  };
  return {
    width, height: HEIGHT_PX, legend: { show: false }, padding: [8, 8, 0, 0],
    cursor: { y: false, drag: { x: false, y: false } },
    series: [{}, ...all.map(shape)],
    scales: { x: { time: true, range: ({ data }) => timeRange(data[0], spanMs / 1000) }, y: { range: (_plot, _low, high) => [0, niceTop(high)] } },
    axes: [
      { ...axis, size: 28, gap: 4, space: 70, values: (_plot, ticks) => tickTexts(ticks) },
      { ...axis, size: 52, values: (_plot, ticks) => ticks.map((tick) => `${Number(tick.toFixed(3))}${unit ? ` ${unit}` : ""}`) },
    ],
  };
}

/** The top of an axis from zero: a little above the highest value, and never nothing. */
export function niceTop(high) {
  if (!(high > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(high));
  const step = [1, 1.5, 2, 3, 5, 7.5, 10, 15].find((one) => one * power >= high * 1.05);
  return step * power;
}
