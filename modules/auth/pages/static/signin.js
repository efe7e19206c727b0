// Signing in: by name and password, by passkey, with a second factor where one is asked for; and
// accepting an invitation, which chooses the password.

import { html, useState } from "/assets/kit/vendor/preact.js";
import { Command, Panel } from "/assets/kit/parts.js";
import { call } from "/assets/kit/rpc.js";
import { canPasskey, showPasskey } from "./passkeys.js";
import { ProofForm, typedIn, useDeed } from "./proofs.js";
import { begin, end, farewellText } from "/assets/kit/session.js";

const LABEL = "browser";

/** Follow a sign-in's answer: in, or a second factor first. */
function useSecondStep() {
  const [asked, setAsked] = useState(null);
  const follow = (answer) => { if (answer.status === "secondFactor") setAsked(answer); else begin(answer); };
  return { asked, follow, back: () => setAsked(null) };
}

function SecondStep({ asked, back }) {
  const deed = useDeed();
  const send = async (proof) => begin(await call("auth_finishLogin", { attempt: asked.attempt, label: LABEL, ...proof }));
  return html`<${Panel} wide level="1" title="Second factor"><p>The password was right. One of these as well:</p>
    <${ProofForm} factors=${asked.factors} passkey=${asked.passkey} send=${send} deed=${deed} title="Sign in" />
    <p><button type="button" onClick=${back}>Begin again</button></p><//>`;
}

/** Where everybody begins. */
export function SignIn() {
  const deed = useDeed();
  const { asked, follow, back } = useSecondStep();
  if (asked) return html`<${SecondStep} asked=${asked} back=${back} />`;
  const submit = (event) => {
    event.preventDefault();
    const { name, password } = typedIn(event.currentTarget);
    deed.run(async () => follow(await call("auth_login", { name: name.trim(), password, label: LABEL })));
  };
  const byPasskey = () => deed.run(async () => {
    const { attempt, options } = await call("auth_beginPasskey");
    begin(await call("auth_loginPasskey", { attempt, credential: await showPasskey(options), label: LABEL }));
  });
  return html`<${Panel} wide level="1" title="Sign in">${farewellText() ? html`<p role="status">${farewellText()}</p>` : ""}
    <form class="fields" onSubmit=${submit} aria-busy=${deed.busy}>
      <label>Name <input name="name" autocomplete="username" required maxlength="64" spellcheck="false" /></label>
      <label>Password <input name="password" type="password" autocomplete="current-password" required /></label>
      <p><button class="primary" disabled=${deed.busy}>Sign in</button>
        ${canPasskey() ? html` <button type="button" disabled=${deed.busy} onClick=${byPasskey}>Sign in with a passkey</button>` : ""}</p>
      <p role="alert">${deed.problem}</p></form>
    <p class="muted">By the key of a ledger account, on the machine where it is:<br />
      <${Command} text=${`clawpurse auth login KEY --service ${location.origin} --out KEY.session`} /></p>
    <p class="muted">The session is kept in this tab until it is closed.</p><//>`;
}

/** An invitation: whoever has it chooses the password. */
export function Register({ invitation }) {
  const deed = useDeed();
  const { asked, follow, back } = useSecondStep();
  if (asked) return html`<${SecondStep} asked=${asked} back=${back} />`;
  const submit = (event) => {
    event.preventDefault();
    const { password, again } = typedIn(event.currentTarget);
    deed.run(async () => {
      if (password !== again) throw new Error("the two passwords differ");
      end();
      follow(await call("auth_register", { invitation, password, label: LABEL }));
      location.hash = "#/";
    });
  };
  return html`<${Panel} wide level="1" title="Welcome"><p>You are invited. Choose a password: 15 or more characters that nobody guesses,
      a few words for example; no rules about which.</p>
    <form class="fields" onSubmit=${submit} aria-busy=${deed.busy}>
      <label>New password <input name="password" type="password" autocomplete="new-password" required /></label>
      <label>The same again <input name="again" type="password" autocomplete="new-password" required /></label>
      <p><button class="primary" disabled=${deed.busy}>Accept the invitation</button></p><p role="alert">${deed.problem}</p></form><//>`;
}
