"use strict";
(() => {
  const { all, one } = shared;
  const { aspects, items } = JSON.parse(one("#payload").textContent);
  let rater = null;
  let ratings = {};
  let at = 0;
  let aspect = 0;

  async function ask(path, request) {
    const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(request) });
    const said = await answer.json();
    if (!answer.ok) throw new Error(said.error);
    return said;
  }

  one("#begin").addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const said = await ask("begin", { rater: one("#name").value });
      rater = said.rater;
      ratings = said.ratings;
    } catch (error) {
      one("#refused").textContent = error.message;
      one("#refused").hidden = false;
      return;
    }
    one("#who").textContent = rater;
    at = items.findIndex((item) => !whole(item));
    show(at < 0 ? items.length : at);
  });
  one("#name").focus();

  const whole = (item) => aspects.every((name) => ratings[item.id]?.[name]);

  function show(to) {
    at = Math.max(0, Math.min(items.length, to));
    one("#start").hidden = true;
    one("#work").hidden = at === items.length;
    one("#end").hidden = at < items.length;
    one("#progress").style.width = `${(100 * items.filter(whole).length) / items.length}%`;
    if (at === items.length) return;
    const item = items[at];
    one("#place").textContent = at + 1;
    for (const part of ["prompt", "reference", "answer"]) one(`#${part}`).textContent = item[part] || "–";
    one("#heard").hidden = !item.sound;
    const sound = one("#sound");
    sound.pause();
    if (item.sound) sound.src = `sound/${item.id}`; else sound.removeAttribute("src");
    const open = aspects.findIndex((name) => !ratings[item.id]?.[name]);
    focus(open < 0 ? 0 : open);
    paint();
  }

  function focus(to) {
    aspect = (to + aspects.length) % aspects.length;
    all(".aspect").forEach((element, i) => element.classList.toggle("now", i === aspect));
  }

  function paint() {
    const given = ratings[items[at].id] ?? {};
    for (const element of all(".aspect")) {
      for (const button of all("button", element)) button.setAttribute("aria-checked", String(given[element.dataset.aspect] === Number(button.dataset.value)));
    }
  }

  async function save(item) {
    one("#saved").textContent = "saving";
    try {
      await ask("rate", { rater, item: item.id, rating: ratings[item.id] ?? {} });
      one("#saved").textContent = "saved";
    } catch (error) {
      one("#saved").textContent = `not saved: ${error.message}`;
    }
  }

  async function rate(name, value) {
    const item = items[at];
    const before = whole(item);
    ratings[item.id] = { ...ratings[item.id], [name]: value };
    paint();
    const open = aspects.findIndex((other) => !ratings[item.id][other]);
    if (open >= 0) focus(open);
    await save(item);
    if (!before && whole(item) && items[at] === item) show(at + 1);
  }

  for (const element of all(".aspect")) {
    element.addEventListener("click", (event) => {
      focus(aspects.indexOf(element.dataset.aspect));
      const button = event.target.closest("button");
      if (button) rate(element.dataset.aspect, Number(button.dataset.value));
    });
  }

  document.addEventListener("keydown", (event) => {
    if (rater === null || event.ctrlKey || event.metaKey || event.altKey) return;
    const keys = {
      Enter: () => show(at + 1), ArrowDown: () => show(at + 1), ArrowUp: () => show(at - 1),
      Tab: () => focus(aspect + (event.shiftKey ? -1 : 1)),
      " ": () => { const sound = one("#sound"); if (items[at]?.sound) { if (sound.paused) sound.play(); else sound.pause(); } },
      Backspace: () => { if (at < items.length) { delete ratings[items[at].id]; focus(0); paint(); save(items[at]); } },
    };
    const digit = /^[1-5]$/.test(event.key);
    if (!digit && !keys[event.key]) return;
    event.preventDefault();
    if (digit) { if (at < items.length) rate(aspects[aspect], Number(event.key)); } else keys[event.key]();
  });
})();
