// What the signing page says, worked out from what the wallet service answers. Pure.

/** What an address after `#` asks for: one request, a body to sign, or the list. */
export function askedBy(hash) {
  const found = new URLSearchParams(hash.replace(/^#\/?/, ""));
  const request = found.get("request") ?? "";
  if (/^0x[0-9a-f]{2,128}$/.test(request)) return { request };
  const sign = found.get("sign") ?? "";
  if (/^0x([0-9a-f]{2}){1,65536}$/.test(sign)) return { sign };
  return actionIn(found.get("action") ?? "");
}

const ACTION_CHARS_MAX = 16_384;

/** An action that a page hands over: {name, fields} as JSON. Whatever else stands there is nothing. */
function actionIn(text) {
  if (!text || text.length > ACTION_CHARS_MAX) return {};
  try {
    const { name, fields } = JSON.parse(text);
    const isAction = typeof name === "string" && /^[a-zA-Z.]{1,64}$/.test(name) && fields !== null && typeof fields === "object" && !Array.isArray(fields);
    return isAction ? { action: { name, fields } } : {};
  } catch {
    return {};
  }
}

/** What approving does, on its button: "Approve −12.50 CLAW" names the deed. */
export function deedWords(request) {
  const effects = request.effects.filter(({ change, account }) => change.startsWith("-") && account === request.account);
  if (effects.length) return `Approve: ${effects.map(({ text }) => text).join(", ")}`;
  return request.submit ? "Approve and send" : "Approve: sign, and hand it back";
}

const STATES = { open: ["open", "open"], approved: ["final", "approved"], rejected: ["failed", "rejected"], expired: ["expired", "expired"] };

/** A request's state as a badge. */
export function stateBadge({ state }) {
  const [kind, text] = STATES[state] ?? ["unknown", state];
  return { kind, text };
}

const SAYS = { passes: "ok", asks: "warning", refuses: "failed" };

/** What one guardrail says, as a badge. */
export function saysBadge({ says }) {
  return { kind: SAYS[says] ?? "unknown", text: says };
}

const OUTLOOKS = {
  paid: ["ok", "the ledger would do it now"], held: ["held", "the ledger would hold it"], refused: ["failed", "the ledger would refuse it now"],
};

/** What the ledger would do now, in a word and a sentence; unknown where no node tells. */
export function outlookWords({ outlook, rule, problem }) {
  const [kind, text] = OUTLOOKS[outlook] ?? ["unknown", "no node tells what the ledger would do"];
  return { kind, text: [text, rule ? `rule ${rule}` : "", problem ?? ""].filter(Boolean).join(": ") };
}

const FATES = {
  pending: ["pending", "Sent; not final yet. Nothing is promised before it is."], final: ["final", "Final. Its proof was checked."],
  held: ["held", "Final, and held until somebody decides."], signed: ["final", "Signed and handed back to whoever asked."],
  failed: ["failed", "The ledger refused it. Nothing was paid."], refused: ["failed", "No node took it. Nothing was paid."],
  expired: ["expired", "Its time is over. It will never happen."], replaced: ["replaced", "Another one took its place. It will never happen."],
  cancelled: ["replaced", "It was cancelled. It will never happen."],
};

/** What became of an approval, never more than is known. */
export function fateWords(payment) {
  const [kind, text] = FATES[payment.status] ?? ["unknown", payment.status];
  const where = payment.height ? ` Block ${payment.height}.` : "";
  return { kind, text: `${text}${where}${payment.reason ? ` ${payment.reason}` : ""}` };
}

/** Whether a payment may still change: then the page goes on looking. */
export function isOnItsWay(payment) {
  return payment?.status === "pending";
}
