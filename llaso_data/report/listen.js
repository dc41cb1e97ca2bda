"use strict";
// Examples behind tabs, one player for the whole page, and print.
(() => {
  const { root, all, one, soundOf, playable, paint, mark, words } = shared;

  // Examples: groups behind tabs.
  const tabs = all("[role=tab]");
  function show(tab, focus) {
    for (const other of tabs) {
      const on = other === tab;
      other.setAttribute("aria-selected", on);
      other.tabIndex = on ? 0 : -1;
      one(`#${other.getAttribute("aria-controls")}`).classList.toggle("on", on);
    }
    if (focus) tab.focus();
    player.pause();
  }
  tabs.forEach((tab, i) => {
    tab.addEventListener("click", () => show(tab));
    tab.addEventListener("keydown", (event) => {
      const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: tabs.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      show(tabs[(to + tabs.length) % tabs.length], true);
    });
  });
  for (const link of all("[data-hear]")) {
    const tab = tabs.find((candidate) => candidate.dataset.rule === link.dataset.hear);
    if (tab) link.addEventListener("click", () => show(tab));
    else link.remove();
  }

  // One player for the whole page: a sound is decoded when it is first asked for, and only one is heard.
  const player = new Audio();
  const sounds = new Map();
  let current = null;
  if (!playable(player)) one("#unplayable").hidden = false;

  function address(example) {
    const id = example.dataset.sound;
    if (!sounds.has(id)) sounds.set(id, soundOf(one(`#${id}`).textContent));
    return sounds.get(id);
  }
  async function play(example, from) {
    if (current !== example) {
      if (current) rest(current);
      current = example;
      player.src = address(example);
      await new Promise((ready) => player.addEventListener("loadedmetadata", ready, { once: true }));
    }
    if (from !== undefined) player.currentTime = from;
    await player.play().catch(() => { one("#unplayable").hidden = false; });
  }
  function rest(example) {
    example.classList.remove("playing");
    paint(example, 0);
  }
  function follow() {
    if (current) paint(current, player.currentTime);
    if (!player.paused) requestAnimationFrame(follow);
  }
  player.addEventListener("play", () => { current.classList.add("playing"); requestAnimationFrame(follow); });
  player.addEventListener("pause", () => { if (current) current.classList.remove("playing"); });
  player.addEventListener("seeked", follow);
  player.addEventListener("ended", () => { if (current) { rest(current); player.currentTime = 0; } });

  for (const example of all("[data-sound]")) {
    const button = one(".play", example);
    if (!button) continue;
    const seconds = Number(example.dataset.seconds);
    button.addEventListener("click", () => (current === example && !player.paused ? player.pause() : play(example)));
    one(".wave", example).addEventListener("click", (event) => {
      const box = event.currentTarget.getBoundingClientRect();
      play(example, Math.max(0, Math.min(0.999, (event.clientX - box.left) / box.width)) * seconds);
    });
    words(example).forEach(({ element, start }, i, list) => {
      element.tabIndex = i ? -1 : 0;
      element.setAttribute("role", "button");
      element.addEventListener("click", () => play(example, start));
      element.addEventListener("pointerenter", () => { if (current !== example || player.paused) mark(one(".band", example), list[i], seconds); });
      element.addEventListener("pointerleave", () => { if (current !== example || player.paused) mark(one(".band", example), null, seconds); });
      element.addEventListener("keydown", (event) => {
        const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: list.length - 1 }[event.key];
        if (event.key === "Enter" || event.key === " ") { event.preventDefault(); play(example, start); }
        if (to === undefined || !list[to]) return;
        event.preventDefault();
        element.tabIndex = -1;
        list[to].element.tabIndex = 0;
        list[to].element.focus();
      });
    });
  }

  // Print is light.
  let before;
  addEventListener("beforeprint", () => {
    before = root.dataset.theme;
    root.dataset.theme = "light";
  });
  addEventListener("afterprint", () => {
    if (before) root.dataset.theme = before; else delete root.dataset.theme;
  });
})();
