// A page elsewhere sent its visitor here to be signed in: who that is agrees, and goes back with a code.
// Nothing goes there by itself: whoever follows a link would else be signed in without knowing it.

import { html } from "/assets/kit/vendor/preact.js";
import { useAnswer } from "/assets/kit/answers.js";
import { Panel } from "/assets/kit/parts.js";
import { ask } from "/assets/kit/session.js";
import { useDeed } from "./proofs.js";
import { siteAddress } from "./words.js";

const RENEWED_MS = 60_000;

export function Site({ asked }) {
  const deed = useDeed();
  const { data: me } = useAnswer("auth_me", {}, RENEWED_MS, ask);
  const go = () => deed.run(async () => {
    const { code } = await ask("auth_authorizeSite", { site: asked.site, challenge: asked.challenge });
    location.assign(siteAddress(asked, code));
  });
  return html`<${Panel} wide level="1" title="Sign in elsewhere"><p><span class="ident">${asked.site}</span> asks who you are. It will act as
      ${me ? html` <b>${me.name ?? me.user}</b>` : " you"}${me?.roles.length ? `, with your roles: ${me.roles.join(", ")}` : ""}, until you sign out or this session ends.</p>
    <p><button type="button" class="primary" disabled=${deed.busy} onClick=${go}>Sign in to ${asked.site}</button>
      <a href="#/">Stay here</a></p><p role="alert">${deed.problem}</p><//>`;
}
