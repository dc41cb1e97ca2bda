"use strict";
(() => {
  const { all, one, soundOf } = shared;
  const { ask, saver, why } = asking;
  const { aspects, items } = JSON.parse(one("#payload").textContent);
  let rater = null;
  let ratings = {};
  let at = 0;
  let aspect = 0;

  const saving = saver("rate", "rating", (unsaved) => { one("#saved").textContent = unsaved ? "saving" : "saved"; });
  const save = (item) => saving.save({ rater, item: item.id, rating: ratings[item.id] ?? {} });

  one("#begin").addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const said = await ask("begin", { rater: one("#name").value });
      rater = said.rater;
      ratings = said.ratings;
    } catch (error) {
      one("#refused").textContent = why(error);
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
    one("#sound").pause();
    one("#progress").style.width = `${(100 * items.filter(whole).length) / items.length}%`;
    if (at === items.length) return;
    const item = items[at];
    one("#place").textContent = at + 1;
    for (const part of ["prompt", "reference", "answer"]) one(`#${part}`).textContent = item[part] || "–";
    hear(item);
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

  // Sounds are fetched as an item is shown; the last ones are kept.
  const fetched = new Map();
  function fetchSound({ id }) {
    if (!fetched.has(id)) {
      const sound = ask(`sound/${id}`).then((said) => ({ ...said, address: soundOf(said.opus), opus: null }));
      sound.catch(() => fetched.delete(id));
      fetched.set(id, sound);
      for (const [old, left] of [...fetched].slice(0, -20)) {
        fetched.delete(old);
        left.then(({ address }) => URL.revokeObjectURL(address), () => {});
      }
    }
    return fetched.get(id);
  }
  async function hear(item) {
    const sound = one("#sound"), says = one("#sound-says");
    sound.removeAttribute("src");
    says.hidden = true;
    one("#heard").hidden = !item.sound;
    if (!item.sound) return;
    const notes = [];
    if (item.unmade) notes.push(`The system heard this with ${item.condition}; here it is without: ${item.unmade}.`);
    else if (item.condition) notes.push(`With ${item.condition}, as the system heard it.`);
    try {
      const { address, cut, seconds } = await fetchSound(item);
      if (items[at] !== item) return;
      sound.src = address;
      if (cut) notes.push(`Of a longer recording these are the first ${Math.round(seconds / 60)} minutes.`);
    } catch (error) {
      if (items[at] !== item) return;
      notes.push(`This cannot be heard: ${why(error)}`);
    }
    says.textContent = notes.join(" ");
    says.hidden = !notes.length;
  }

  function rate(name, value) {
    const item = items[at];
    const before = whole(item);
    ratings[item.id] = { ...ratings[item.id], [name]: value };
    paint();
    const open = aspects.findIndex((other) => !ratings[item.id][other]);
    if (open >= 0) focus(open);
    save(item);
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
      " ": () => { const sound = one("#sound"); if (sound.src) { if (sound.paused) sound.play(); else sound.pause(); } },
      Backspace: () => { if (at < items.length) { delete ratings[items[at].id]; focus(0); paint(); save(items[at]); } },
    };
    const digit = /^[1-5]$/.test(event.key);
    if (!digit && !keys[event.key]) return;
    event.preventDefault();
    if (digit) { if (at < items.length) rate(aspects[aspect], Number(event.key)); } else keys[event.key]();
  });
})();
