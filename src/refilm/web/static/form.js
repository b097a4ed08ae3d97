// The form of tasks, made from what the server tells of its options.
import { at, element } from "./words.js";

let forms = [];
// What is in most cases wanted of a page: a result that it can play.
const CHOSEN_FIRST = { purpose: "browser" };
const SHOWN_FIRST = ["purpose"];

export function build(told, onChange) {
  forms = told;
  at("verbs").append(...forms.map(({ verb, summary }) => {
    const chosen = () => { show(verb); onChange(); };
    return element("label", {},
      element("input", { type: "radio", name: "verb", value: verb, onchange: chosen }),
      element("b", {}, verb),
      element("small", {}, summary));
  }));
  show(forms[0].verb);
}

export const current = () => forms.find((form) => form.verb === at("wishes").elements.verb.value);

// Shows the fields of a task, filled with `values` by the names of its options.
export function show(verb, values = {}) {
  at("wishes").elements.verb.value = verb;
  const form = current();
  const fill = (field) => fieldOf(field, values[field.name] ?? CHOSEN_FIRST[field.name]);
  const rest = form.groups.slice(1).map((group) => ({
    title: group.title,
    open: group.fields.filter((field) => SHOWN_FIRST.includes(field.name)),
    more: group.fields.filter((field) => !SHOWN_FIRST.includes(field.name)),
  }));
  // what is switched on and off stands first, as it says what is done
  const own = [...form.groups[0].fields].sort((a, b) => (b.type === "switch") - (a.type === "switch"));
  const model = form.models.length > 1 ? [fieldOf(modelField(form.models), values.model)] : [];
  at("fields").replaceChildren(
    ...own.map(fill),
    ...model,
    ...rest.flatMap((group) => group.open.map(fill)),
    ...rest.map((group) => element("details", {}, element("summary", {}, group.title), ...group.more.map(fill))),
  );
}

const modelField = (models) => ({
  name: "model", label: "model", type: "choice", choices: models, default: null,
  help: "Default: the best measured one, unless a faster one is nearly as good.",
});

function fieldOf(field, value = field.default) {
  const id = `option-${field.name}`;
  const common = { id, name: field.name, "aria-describedby": `${id}-help` };
  const label = element("label", { for: id }, field.label);
  const help = element("p", { class: "hint", id: `${id}-help` }, field.help);
  if (field.type === "switch") {
    const box = element("input", { ...common, type: "checkbox", checked: Boolean(value) });
    return element("div", { class: "field switch" }, box, label, help);
  }
  return element("div", { class: "field" }, label, inputOf(field, common, value), help);
}

function inputOf(field, common, value) {
  if (field.type === "choice") {
    const choices = ["", ...field.choices].map((choice) => element("option", { value: choice }, choice || "default"));
    const select = element("select", common, ...choices);
    select.value = value ?? "";
    return select;
  }
  const step = { whole: "1", number: "any" }[field.type];
  const kind = step ? { type: "number", step } : { type: "text", spellcheck: "false" };
  return element("input", { ...common, ...kind, value: String(value ?? "") });
}

// What is filled in: { verb, model, options }, where the server has to be told. Throws an Error for what is no number.
export function wishes() {
  const form = current(), elements = at("wishes").elements, options = {};
  for (const field of form.groups.flatMap((group) => group.fields)) {
    const input = elements[field.name];
    if (input.validity.badInput) throw new Error(`${field.label} is a number`);
    if (field.type === "switch") options[field.name] = input.checked;
    else if (input.value !== "") options[field.name] = number(field.type) ? Number(input.value) : input.value;
  }
  return { verb: form.verb, model: elements.model?.value || null, options };
}

const number = (type) => type === "whole" || type === "number";
