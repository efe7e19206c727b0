// What became of a transaction, as one of eight answers, with the words and the next step. Pure.

const MINUTE_MS = 60_000;

/** The answer of tx_get, or its refusal, as a status.
 *
 * {kind, tx, ...}: kind is final, failed, held, pending, expired, replaced, unknown, or null when
 * the refusal is about something else (then it is an error like any other). */
export function statusOf(data, error) {
  if (data) {
    if (data.status === "pending") return { kind: "pending", tx: data };
    if (data.receipt.code !== "ok") return { kind: "failed", tx: data };
    const isHeld = data.receipt.events.some(({ kind }) => kind === "kernel.held");
    return { kind: isHeld ? "held" : "final", tx: data };
  }
  const status = error?.data?.status;
  if (["expired", "replaced", "unknown"].includes(status)) return { kind: status, tx: null, ...error.data };
  return { kind: null, tx: null };
}

/** Whether another answer can still come. */
export function isOpen(kind) {
  return kind === "pending" || kind === "unknown" || kind === null;
}

/** {headline, sentences, commands} for a status; `span` writes milliseconds, `now` is the time. */
export function storyOf(status, txId, { now, span }) {
  return STORIES[status.kind]?.(status, txId, { now, span }) ?? { headline: "", sentences: [], commands: [] };
}

const STORIES = {
  final: ({ tx }) => ({
    headline: `FINAL in block ${tx.height}`,
    sentences: ["Nobody can undo it. Let this browser verify the proof below instead of believing the node."],
    commands: [],
  }),
  held: ({ tx }) => {
    const { data } = tx.receipt.events.find(({ kind }) => kind === "kernel.held");
    return {
      headline: `HELD since block ${tx.height}`,
      sentences: [
        `The rule ${data.rule} holds it: nothing was paid then. The money is still the payer's, set apart until somebody decides.`,
      ],
      commands: [`clawpurse hold show ${data.holdId}`],
    };
  },
  failed: ({ tx }, txId) => ({
    headline: `FAILED in block ${tx.height}`,
    sentences: [
      `${tx.receipt.rule ? `Rule ${tx.receipt.rule}: ` : ""}${tx.receipt.reason ?? tx.receipt.code}`,
      "Nothing of it took effect but its fee. The same transaction never runs again.",
    ],
    commands: REMEDIES[tx.receipt.code]?.(tx) ?? [`clawpurse compliance explain ${txId}`],
  }),
  pending: ({ tx }, txId, { now, span }) => {
    const left = tx.validUntilMs - now;
    return {
      headline: "PENDING: accepted, not final yet",
      sentences: [
        left > 0
          ? `It can become final for another ${span(left)}, until then do not send it again.`
          : "Its time is over: it ends as expired with the next block.",
        ...(left > 0 && left < MINUTE_MS ? ["Once it expired, it can be sent anew without danger."] : []),
      ],
      commands: [`clawpurse tx wait ${txId}`],
      drafts: [
        { title: "Cancel", text: `clawpurse rpc tx_cancel txId=${txId}`, note: "gives the body that takes its place and does nothing; sign it with the sender's key" },
        { title: "Replace", text: `clawpurse rpc tx_get txId=${txId}`, note: `sign the same lane and sequence with attempt ${tx.attempt + 1} and a higher fee` },
      ],
    };
  },
  expired: ({ height }) => ({
    headline: "EXPIRED",
    sentences: [
      `It was not final in time${height ? ` (seen with block ${height})` : ""}, and never will be. Nothing was paid, no fee was taken.`,
      "It can be signed and sent anew.",
    ],
    commands: [],
  }),
  replaced: ({ replacedBy, height }) => ({
    headline: "REPLACED",
    sentences: [
      `Another transaction of its sender took its place${height ? ` in block ${height}` : ""}. This one never takes effect.`,
    ],
    commands: replacedBy ? [`clawpurse tx wait ${replacedBy}`] : [],
  }),
  unknown: (_status, txId) => ({
    headline: "Not seen here; may still arrive. Watching.",
    sentences: [
      "The id is well formed, but this node has neither a final nor a pending transaction of it. It may be on its way, of another network, or pruned here.",
    ],
    commands: [`clawpurse tx wait ${txId}`],
  }),
};

const REMEDIES = {
  insufficientFunds: (tx) => [`clawpurse balance ${tx.sender}`],
  policyRejected: (tx) => [`clawpurse compliance explain ${tx.txId}`],
  frozen: (tx) => [`clawpurse compliance explain ${tx.txId}`],
};

/** The three steps and when they happened, as far as known: [{name, ms|null}] and spans between.
 *
 * Times of submitting and accepting are this page's own observations (`seen`), or unknown: the
 * chain keeps none, and a gap is not a zero. */
export function stepsOf(status, seen) {
  const finalMs = status.tx?.receipt ? Date.parse(status.tx.receipt.time) : null;
  const steps = [
    { name: "Submitted", ms: seen.submittedMs ?? null },
    { name: "Accepted", ms: seen.acceptedMs ?? null },
    { name: "Final", ms: finalMs },
  ];
  return steps.map((step, at) => {
    const before = at ? steps[at - 1].ms : null;
    const ms = step.ms !== null && before !== null && step.ms >= before ? step.ms - before : null;
    return { ...step, afterMs: ms, isDone: step.ms !== null || status.tx !== null && (at < 2 || finalMs !== null) };
  });
}

/** The badge's kind and word of a verdict of a rule. */
export function verdictBadge(verdict) {
  return { allow: ["final", "allow"], hold: ["held", "hold"], deny: ["failed", "deny"] }[verdict] ?? ["unknown", verdict];
}
