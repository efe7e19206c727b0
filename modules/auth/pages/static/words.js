// What the sign-in pages say, worked out from what the service answers. Pure.

const SECOND_MS = 1_000;

const SITE = { site: /^https?:\/\/[^/\s]{1,56}$/, challenge: /^[\w-]{43}$/, state: /^[\w-]{43}$/ };

/** What an address after `#` asks for: an invitation to accept, a page elsewhere to sign in for, or a page. */
export function askedBy(hash) {
  const found = new URLSearchParams(hash.replace(/^#\/?/, ""));
  const invitation = found.get("invitation") ?? "";
  if (/^[\x21-\x7e]{8,512}$/.test(invitation)) return { page: "register", invitation };
  const asked = Object.keys(SITE).map((name) => [name, found.get(name) ?? ""]);
  if (asked.every(([name, value]) => SITE[name].test(value))) return { page: "site", ...Object.fromEntries(asked) };
  return { page: found.has("users") ? "users" : found.has("roles") ? "roles" : "me" };
}

/** A wait in words, for who has to wait. */
export function waitText(ms) {
  const seconds = Math.ceil(ms / SECOND_MS);
  if (seconds < 90) return `${seconds} s`;
  return seconds < 5_400 ? `${Math.ceil(seconds / 60)} min` : `${Math.ceil(seconds / 3_600)} h`;
}

/** Why it did not work, in words that help; the same for a wrong name and a wrong password. */
export function problemText(failure) {
  if (failure.name === "NotAllowedError") return "No passkey was shown. Try again, or sign in another way.";
  if (failure.name === "InvalidStateError") return "This passkey is there already.";
  if (failure.code === undefined) return `The browser says: ${failure.message}`;
  if (failure.code === 0) return "The service does not answer. → clawpurse module serve auth";
  const wait = failure.data?.retryAfterMs;
  if (wait) return `Too many tries. The next one counts in ${waitText(wait)}.`;
  return `${failure.reason}${failure.hint ? ` → ${failure.hint}` : ""}`;
}

/** Whether a call was refused because its caller must first prove again who they are. */
export function wantsStepUp(failure) {
  return failure?.data?.stepUp === true;
}

const FACTORS = {
  totp: "Code of the authenticator app", recovery: "Recovery code", recoveryCode: "Recovery code", passkey: "Passkey", password: "Password",
};

/** A factor's name. */
export function factorText(name) {
  return FACTORS[name] ?? name;
}

/** What is typed as a proof, by what was filled in: {totp} or {recoveryCode} or {password}. */
export function proofIn(typed) {
  const found = {};
  const code = (typed.totp ?? "").replaceAll(" ", "");
  if (code) found.totp = code;
  else if (typed.recoveryCode?.trim()) found.recoveryCode = typed.recoveryCode.trim();
  else if (typed.password) found.password = typed.password;
  return found;
}

const STATES = { active: ["ok", "active"], invited: ["pending", "invited"], locked: ["held", "locked"], closed: ["expired", "closed"] };

/** A user's state as a badge. */
export function stateBadge({ state }) {
  const [kind, text] = STATES[state] ?? ["unknown", state];
  return { kind, text };
}

/** The address that an invitation is accepted at. */
export function invitationLink(origin, code) {
  return `${origin}/#invitation=${encodeURIComponent(code)}`;
}

/** Where the browser goes back to with a code. */
export function siteAddress({ site, state }, code) {
  return `${site}/#code=${code}&state=${state}`;
}

/** Who may do what, as lines of a table: [role, scopes, actions]. */
export function matrixRows({ rows }) {
  return rows.map(({ role, scopes, actions, admin }) => [role || "everybody", [...scopes, ...(admin ? ["administers users"] : [])].join(" "), actions.join(" ")]);
}
