// Forms that are made from declared fields: for a new record, for changing one, for a move.

import { Panel } from "/assets/kit/parts.js";
import { go, linkTo } from "/assets/kit/router.js";
import { html, useState } from "/assets/kit/vendor/preact.js";
import { Failure, useAsking } from "./asking.js";
import { inputOf, labelOf, readForm, typedOf } from "./words.js";

/** What was typed into a form, by name. */
export function typedIn(form) {
  return Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, String(value).trim()]));
}

/** One input for each field; `values` are what stands in them at first. */
export function Inputs({ fields, values = {}, needs = [] }) {
  return fields.map((field) => html`<${Input} key=${field.name} field=${field} typed=${typedOf(field, values[field.name])}
    isNeeded=${needs.includes(field.name)} />`);
}

function Input({ field, typed, isNeeded }) {
  const input = inputOf(field);
  const shared = { name: field.name, required: isNeeded, autocomplete: "off" };
  return html`<label>${labelOf(field.name)}${field.personal ? html` <span class="muted">(personal: ${field.personal})</span>` : ""}
    ${field.says ? html` <span class="muted">${field.says}</span>` : ""}
    ${input.kind === "choice" ? html`<${Select} ...${shared} typed=${typed} options=${input.choices} />`
    : input.kind === "yesno" ? html`<${Select} ...${shared} typed=${typed} options=${["no", "yes"]} />`
      : input.kind === "prose" || input.kind === "many" ? html`<textarea ...${shared} rows="3" maxlength=${input.charsMax} defaultValue=${typed}
          placeholder=${input.kind === "many" ? "one a line" : ""}></textarea>`
        : html`<input ...${shared} type=${input.kind === "date" ? "date" : "text"} inputmode=${input.kind === "number" ? "numeric" : undefined}
            maxlength=${input.charsMax} defaultValue=${typed} />`}</label>`;
}

function Select({ typed, options, ...shared }) {
  return html`<select ...${shared}><option value="">–</option>${options.map((one) => html`<option key=${one} value=${one}
    selected=${one === typed}>${one}</option>`)}</select>`;
}

/** Makes a record, and goes to it. */
export function CreateForm({ kind }) {
  const [problem, setProblem] = useState("");
  const asking = useAsking({ done: (made) => go(`/${kind.name}/${made.id}`) });
  const fields = kind.fields.filter(({ moved }) => !moved);
  const needs = fields.filter(({ required }) => required).map(({ name }) => name);
  const submit = (event) => {
    event.preventDefault();
    const read = readForm(fields, typedIn(event.currentTarget));
    setProblem(read.problem);
    if (!read.problem) asking.ask(kind.methods.create, read.values);
  };
  return html`<${Panel} wide level="1" title=${`New ${kind.title.toLowerCase()}`} actions=${html`<a href=${linkTo(`/${kind.name}`)}>all ${kind.nouns.toLowerCase()}</a>`}>
    <form class="fields" onSubmit=${submit} aria-busy=${asking.busy}><${Inputs} fields=${fields} needs=${needs} />
      <p><button class="primary" disabled=${asking.busy}>Make this ${kind.title.toLowerCase()}</button></p>
      <p role="alert">${problem}</p>${asking.error ? html`<${Failure} error=${asking.error} />` : ""}</form><//>`;
}
