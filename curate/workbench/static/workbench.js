// What a page does beyond links and forms: a slider that counts as it is drawn, a text shown unmasked, keys.
// Everything here is also reached without it. Text of documents only ever becomes text, never markup.
"use strict";

const shown = (count) => count.toLocaleString("en-US");

function sliders(form) {
  let asked = 0;
  const count = async () => {
    const mine = ++asked;
    const query = new URLSearchParams(new FormData(form));
    query.set("counts", "1");
    const answer = await fetch(form.dataset.counts + "?" + query);
    const told = await answer.json();
    if (mine !== asked) return; // a later one is on its way
    if (!answer.ok) { document.getElementById("now").textContent = told.errors[0].problem; return; }
    for (const name of ["before", "now", "unknown"]) document.getElementById(name).textContent = shown(told.documents[name]);
    const line = document.getElementById("command");
    line.hidden = Object.keys(told.changes).length === 0;
    line.querySelectorAll("code").forEach((code, number) => { code.textContent = number ? told.tell : told.command; });
    form.dataset.counted = String(mine);
  };
  for (const range of form.querySelectorAll("input[type=range]")) {
    const number = document.getElementById(range.dataset.of);
    range.hidden = false;
    range.addEventListener("input", () => { number.value = range.value; count(); });
    range.addEventListener("change", () => form.requestSubmit());
    number.addEventListener("input", () => { range.value = number.value; count(); });
  }
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
  const field = document.getElementById("q") || document.getElementById("id");
  if (event.key === "/" && field) { event.preventDefault(); field.focus(); }
});
for (const form of document.querySelectorAll("form#what-if")) sliders(form);
for (const form of document.querySelectorAll("form.reveal")) reveal(form);
