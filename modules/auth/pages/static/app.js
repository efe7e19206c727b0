// The pages of the sign-in service. A tab keeps its session's tokens until it is closed; what anybody
// may see and do is decided by the service, from the ledger's roles.

import { html, render, useEffect, useState } from "/assets/kit/vendor/preact.js";
import { Account } from "./account.js";
import { Roles, Users } from "./administration.js";
import { isSignedIn, keepFresh, leave, onSession } from "/assets/kit/session.js";
import { Register, SignIn } from "./signin.js";
import { Site } from "./site.js";
import { askedBy } from "./words.js";

const PAGES = [["me", "My account", "#/"], ["users", "Users", "#users="], ["roles", "Roles", "#roles="]];

function App() {
  const [place, setPlace] = useState(askedBy(location.hash));
  const [, redraw] = useState(0);
  useEffect(() => {
    const moved = () => setPlace(askedBy(location.hash));
    addEventListener("hashchange", moved);
    const stop = onSession(() => redraw((count) => count + 1));
    return () => { removeEventListener("hashchange", moved); stop(); };
  }, []);
  const isIn = isSignedIn();
  return html`<div class="shell"><header class="head"><a class="brand" href="#/">ClawPurse sign-in</a>
      ${isIn ? html`<button type="button" onClick=${leave}>Sign out</button>` : ""}</header>
    ${isIn ? html`<nav class="menu" aria-label="Pages"><ul>${PAGES.map(([page, title, address]) => html`<li key=${page}><a href=${address}
      aria-current=${place.page === page ? "page" : undefined}>${title}</a></li>`)}</ul></nav>` : ""}
    <main id="main" tabindex="-1"><${Page} place=${place} isIn=${isIn} /></main></div>`;
}

function Page({ place, isIn }) {
  if (place.page === "register") return html`<${Register} invitation=${place.invitation} />`;
  if (!isIn) return html`<${SignIn} />`;
  if (place.page === "site") return html`<${Site} asked=${place} />`;
  if (place.page === "users") return html`<${Users} />`;
  return place.page === "roles" ? html`<${Roles} />` : html`<${Account} />`;
}

keepFresh();
render(html`<${App} />`, document.getElementById("app"));
