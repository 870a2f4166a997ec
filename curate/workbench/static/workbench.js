// What a page does beyond links and forms: a slider that counts as it is drawn, a text shown unmasked, keys.
// Everything here is also reached without it. Text of documents only ever becomes text, never markup.
"use strict";

const shown = (count) => count.toLocaleString("en-US");

function moved(form) {
  // Only what is moved stands in the address.
  const query = new URLSearchParams();
  for (const number of form.querySelectorAll("input[type=number]")) {
    if (number.value !== "" && Number(number.value) !== Number(number.dataset.was)) query.set(number.name, number.value);
  }
  return query;
}

function sliders(form) {
  let asked = 0;
  const problem = document.getElementById("problem");
  const told_of = (answer, told) => {
    problem.hidden = answer.ok;
    if (!answer.ok) problem.textContent = told.errors.map((one) => one.problem + (one.hint ? ": " + one.hint : "")).join("; ");
    return answer.ok;
  };
  const count = async () => {
    const mine = ++asked;
    const query = moved(form);
    query.set("counts", "1");
    const answer = await fetch(form.dataset.counts + "?" + query);
    const told = await answer.json();
    if (mine !== asked || !told_of(answer, told)) return; // a later one is on its way
    for (const name of ["before", "now", "unknown"]) document.getElementById(name).textContent = shown(told.documents[name]);
    document.getElementById("command").hidden = Object.keys(told.changes).length === 0;
    document.getElementById("run").textContent = told.command;
    const tell = document.getElementById("tell");
    if (tell) tell.textContent = told.tell;
    form.dataset.counted = String(mine);
  };
  const settle = async () => {
    // The documents that flip and the address, without leaving the place where one is.
    await count();
    if (!problem.hidden) return;
    const mine = asked, query = moved(form).toString();
    const address = form.getAttribute("action") + (query ? "?" + query : "");
    const answer = await fetch(address);
    if (mine !== asked || !answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.getElementById("flips").replaceWith(document.adoptNode(page.getElementById("flips")));
    history.replaceState(null, "", address);
  };
  for (const range of form.querySelectorAll("input[type=range]")) {
    const number = document.getElementById(range.dataset.of), steps = JSON.parse(range.dataset.steps);
    const place = () => {
      const behind = steps.findIndex((one) => one >= Number(number.value));
      range.value = behind < 0 ? steps.length - 1 : behind;
      range.setAttribute("aria-valuetext", number.value);
    };
    place();
    range.hidden = false;
    range.addEventListener("input", () => {
      number.value = steps[range.value];
      range.setAttribute("aria-valuetext", number.value);
      count();
    });
    range.addEventListener("change", settle);
    number.addEventListener("input", () => { place(); count(); });
    number.addEventListener("change", settle);
  }
  form.addEventListener("submit", (event) => { event.preventDefault(); settle(); });
}

function reveal(form) {
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const answer = await fetch(form.getAttribute("action"), { method: "POST", headers: { "X-Curate": "1" } });
    const told = await answer.json();
    if (!answer.ok) { form.querySelector(".note").textContent = told.errors[0].problem; return; }
    marked(document.getElementById("raw"), told.texts.raw, told.spans);
    const final = document.getElementById("final");
    if (final) final.textContent = told.texts.final;
    document.getElementById("hidden")?.remove();
    form.remove();
  });
}

function marked(place, text, spans) {
  // Spans count characters, strings of this language code units.
  const letters = Array.from(text);
  let at = 0;
  place.textContent = "";
  for (const [start, end, type] of spans) {
    if (start < at || end > letters.length) continue;
    place.append(letters.slice(at, start).join(""));
    const mark = document.createElement("mark");
    mark.className = "personal";
    mark.title = type;
    mark.textContent = letters.slice(start, end).join("");
    place.append(mark);
    at = end;
  }
  place.append(letters.slice(at).join(""));
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  const to = { j: "a[rel=next]", k: "a[rel=prev]" }[event.key];
  if (to) document.querySelector(to)?.click();
  const field = document.getElementById("q") || document.querySelector("input[type=search]");
  if (event.key === "/" && field) { event.preventDefault(); field.focus(); }
});
for (const form of document.querySelectorAll("form#what-if")) sliders(form);
for (const form of document.querySelectorAll("form.reveal")) reveal(form);
