// Numbers, times and ids as people read them. Pure: no clock, no page, no network.

const UNITS = [[86_400, "d"], [3_600, "h"], [60, "min"]];
const BYTE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];
// Narrow no-break space would be typographically right, but is not found by searching for a comma.
const GROUP = ",";

/** Digits in groups of three; takes strings and BigInt, so that nothing passes through a float. */
export function grouped(value) {
  const text = String(value);
  const sign = text.startsWith("-") ? "−" : "";
  const [whole, rest] = text.replace(/^-/, "").split(".");
  const digits = whole.replace(/\B(?=(\d{3})+$)/g, GROUP);
  return sign + digits + (rest === undefined ? "" : `.${rest}`);
}

/** What stands where a number will be once it is known: never a wrong one meanwhile. */
export const UNKNOWN_YET = "…";

/** Minor units, a string of digits, as units of an asset: ("1250", 2) → "12.50".
 *
 * `decimals`: undefined while they are being asked for, null when nobody knows them. */
export function amountText(minor, decimals) {
  const text = String(minor);
  if (!/^-?\d+$/.test(text)) return "?";
  if (decimals === undefined) return UNKNOWN_YET;
  // Nobody says where the point is: minor units are still true, and better than a wrong point.
  if (decimals === null) return `${grouped(text)} minor units`;
  const digits = text.replace(/^-/, "").padStart(decimals + 1, "0");
  const at = digits.length - decimals;
  const plain = decimals ? `${digits.slice(0, at)}.${digits.slice(at)}` : digits;
  return grouped((text.startsWith("-") ? "-" : "") + plain);
}

/** A span of time in words, as the node's own sentences say it: 0.8 s, 12 s, 5 min, 3 h, 2 d. */
export function spanText(ms) {
  const seconds = Math.max(0, ms) / 1000;
  for (const [size, unit] of UNITS) {
    if (seconds >= 2 * size) return `${Math.round(seconds / size)} ${unit}`;
  }
  return seconds < 10 ? `${seconds.toFixed(1)} s` : `${Math.round(seconds)} s`;
}

/** An RFC 3339 time or ms since 1970 → ms, NaN for neither. */
export function timeMs(time) {
  return typeof time === "number" ? time : Date.parse(time);
}

/** How long ago, or how long until: "3 min ago", "in 2 h". */
export function agoText(time, now) {
  const ms = now - timeMs(time);
  if (Number.isNaN(ms)) return "unknown";
  // Half a second ahead is two clocks, not the future.
  return ms < -500 ? `in ${spanText(-ms)}` : `${spanText(ms)} ago`;
}

/** The absolute time, always UTC: "2026-11-23 14:02:11.250 UTC". */
export function utcText(time) {
  const ms = timeMs(time);
  return Number.isNaN(ms) ? "unknown" : `${new Date(ms).toISOString().replace("T", " ").replace("Z", "")} UTC`;
}

/** Time of day, UTC: "14:02:11". */
export function clockText(time) {
  const ms = timeMs(time);
  return Number.isNaN(ms) ? "–" : new Date(ms).toISOString().slice(11, 19);
}

/** Bytes by powers of 1024. */
export function bytesText(bytes) {
  let value = Number(bytes);
  let unit = 0;
  while (value >= 1024 && unit < BYTE_UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit && value < 100 ? value.toFixed(1) : Math.round(value)} ${BYTE_UNITS[unit]}`;
}

/** A number for a figure: one decimal, two below one, and a dash for what is not known. */
export function figureText(value, unit = "") {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const isWhole = Number.isInteger(value) || value >= 100;
  const text = isWhole ? grouped(Math.round(value)) : value.toFixed(value < 1 ? 2 : 1);
  return unit ? `${text} ${unit}` : text;
}

/** A count with its word: ("1", "event") → "1 event", 2 → "2 events". */
export function countText(count, word, words = `${word}s`) {
  return `${grouped(count)} ${Number(count) === 1 ? word : words}`;
}

/** The ends of a long id, for labels beside the whole value only: accounts are never shown short
 * where somebody could copy or approve them. */
export function endsText(value, head = 10, tail = 6) {
  const text = String(value);
  return text.length <= head + tail + 1 ? text : `${text.slice(0, head)}…${text.slice(-tail)}`;
}

/** What somebody typed into the search: [kind, value] pairs that it can be, the likeliest first. */
export function searchMeanings(typed) {
  const text = typed.trim();
  const plain = text.replace(/[,_\s]/g, "");
  if (/^#?\d{1,15}$/.test(plain)) return [["height", Number(plain.replace("#", ""))]];
  if (/^(0x)?[0-9a-fA-F]{64}$/.test(text)) {
    const id = `0x${text.replace(/^0x/i, "").toLowerCase()}`;
    return [["tx", id], ["block", id]];
  }
  if (/^claw1[02-9ac-hj-np-z]{58}$/.test(text.toLowerCase())) return [["account", text.toLowerCase()]];
  if (/^[A-Za-z][A-Za-z0-9.]{0,15}$/.test(text)) return [["asset", text.toUpperCase()]];
  return [];
}

/** One value as JSON for a shell: `clawpurse rpc` reads a word as text and the rest as JSON. */
function shellWord(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return /^[\w./:=+@-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** The command line that makes the same call; positional parameters have no names there. */
export function callText(method, params = {}) {
  const words = Object.entries(params ?? {})
    .filter(([, value]) => value !== undefined && value !== null)
    .map(([name, value]) => `${name}=${shellWord(value)}`);
  return ["clawpurse rpc", method, ...words].join(" ");
}

/** RFC 4180, with what a spreadsheet would run as a formula made text. */
export function csvText(heads, rows) {
  const cell = (value) => {
    let text = value === null || value === undefined ? "" : String(value);
    if (/^[=+@\t\r]/.test(text) || /^-(?![\d.]+$)/.test(text)) text = `'${text}`;
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [heads, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}
