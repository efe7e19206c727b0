// Words of strangers as text that cannot deceive: no control, invisible or direction characters.
// Pure.

// C0 and C1 controls, soft hyphen, zero width, bidi marks, overrides and isolates, line and
// paragraph separators, variation and tag characters, byte order mark.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb]|\udb40[\udc00-\udfff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/gu;
const MARKS_IN_A_ROW = /(\p{M}{3})\p{M}+/gu;
const SHOWN_CHARS_MAX = 280;

/** Text of others for a page: what cannot be seen becomes "�", long texts end with "…". */
export function plainText(text, most = SHOWN_CHARS_MAX) {
  const shown = String(text ?? "").replace(UNSEEN, "\ufffd").replace(MARKS_IN_A_ROW, "$1");
  const letters = [...shown];
  return letters.length <= most ? shown : `${letters.slice(0, most).join("")}…`;
}

/** A memo or reference: its text, or its bytes where they are no text; null for none. */
export function memoOf(bytes, text) {
  if (!bytes || bytes === "0x") return null;
  return text ? { text: plainText(text), isText: true } : { text: bytes, isText: false };
}

/** `newestFirst` → `newest first`: names of the API as words. */
export function wordsOf(name) {
  return String(name).replace(/([a-z0-9])([A-Z])/g, "$1 $2").replace(/[_-]/g, " ").toLowerCase();
}

/** Whether something is an account, a transaction's id or a key, which pages show whole. */
export function isIdentifier(value) {
  return typeof value === "string" && /^(claw1[02-9ac-hj-np-z]{58}|clawval1[02-9ac-hj-np-z]{50,60}|0x[0-9a-f]{64})$/.test(value);
}
