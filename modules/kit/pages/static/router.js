// Routes are what stands after `#`: `#/tx/0x…?tab=trace`. Nothing of them reaches the node, and a
// link can be pasted into another person's browser.

import { html, useEffect, useState } from "./vendor/preact.js";

const routes = [];

/** Say which component shows a path: `/tx/:txId`. `component` is one, or {load} whose load()
 * imports a module with one as default; it gets {params, query, path}. `title` names the page, a
 * text or a function of the params; `key` is the letter after `g` that leads there; with `menu`
 * it stands in the menu under that name. */
export function route(path, component, { title = "", key = "", menu = "" } = {}) {
  const { pattern, names } = compilePath(path);
  routes.push({ path, pattern, names, component, title, key, menu });
}

/** All routes, in the order in which they were added. */
export function allRoutes() {
  return routes;
}

/** A path with `:name` parts as a pattern and the names. */
export function compilePath(path) {
  const names = [];
  const source = path.split("/").map((part) => {
    if (!part.startsWith(":")) return part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
    names.push(part.slice(1));
    return "([^/]+)";
  }).join("/");
  return { pattern: new RegExp(`^${source}$`), names };
}

/** `#/tx/0x1?a=b` → {path, query}. */
export function parseHash(hash) {
  const [path, search = ""] = hash.replace(/^#/, "").split("?");
  return { path: path || "/", query: Object.fromEntries(new URLSearchParams(search)) };
}

/** The route of a path and the values of its parts, or null. */
export function matchRoute(table, path) {
  for (const one of table) {
    const found = one.pattern.exec(path);
    if (!found) continue;
    try {
      const values = found.slice(1).map(decodeURIComponent);
      return { route: one, params: Object.fromEntries(one.names.map((name, at) => [name, values[at]])) };
    } catch {
      return null; // A broken %-escape leads nowhere.
    }
  }
  return null;
}

/** The address of a path with a query, for links. */
export function linkTo(path, query = {}) {
  const kept = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const search = new URLSearchParams(kept).toString();
  return `#${path}${search ? `?${search}` : ""}`;
}

/** Go somewhere. */
export function go(path, query = {}) {
  location.hash = linkTo(path, query);
}

/** Change the query without a step in the history: filters, not places. */
export function setQuery(changes) {
  const { path, query } = parseHash(location.hash);
  history.replaceState(null, "", linkTo(path, { ...query, ...changes }));
  dispatchEvent(new HashChangeEvent("hashchange"));
}

/** Where we are: {path, query}. */
export function usePlace() {
  const [place, setPlace] = useState(() => parseHash(location.hash));
  useEffect(() => {
    const moved = () => setPlace(parseHash(location.hash));
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  return place;
}

const loaded = new Map();

function componentOf({ component }) {
  return component.load ? loaded.get(component) ?? null : component;
}

/** Draws the page of the present route. `nowhere` is drawn for a path that has none, `failed`
 * when its file cannot be loaded. */
export function Outlet({ nowhere, failed }) {
  const { path, query } = usePlace();
  const [, redraw] = useState(0);
  const [broken, setBroken] = useState(null);
  const match = matchRoute(routes, path);
  const Page = match ? componentOf(match.route) : null;
  useEffect(() => {
    setBroken(null);
    if (!match || Page) return;
    const { component } = match.route;
    component.load().then((module) => {
      loaded.set(component, module.default);
      redraw((count) => count + 1);
    }, setBroken);
  }, [match?.route]);
  useEffect(() => {
    const title = match?.route.title;
    const name = typeof title === "function" ? title(match.params) : title;
    document.title = name ? `${name} · ClawPurse` : "ClawPurse";
    scrollTo(0, 0);
  }, [path]);
  if (!match) return nowhere(path);
  if (broken) return failed(broken);
  if (!Page) return null;
  return html`<${Page} key=${path} params=${match.params} query=${query} path=${path} />`;
}
