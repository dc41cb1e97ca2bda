"use strict";
// What the pages share: finding elements, light and dark, a sound with its waveform and words.
const shared = (() => {
  const root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const one = (selector, within = document) => within.querySelector(selector);
  root.classList.add("js");

  // Light or dark: as the system says, until the button says otherwise.
  const remembered = { get() { try { return localStorage.getItem("llaso-theme"); } catch { return null; } },
    set(value) { try { localStorage.setItem("llaso-theme", value); } catch { /* a page from a file may have no store */ } } };
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  if (["light", "dark"].includes(remembered.get())) root.dataset.theme = remembered.get();
  one("#theme").addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    remembered.set(root.dataset.theme);
  });

  // A sound as the page carries it, as an address that a player takes.
  function soundOf(base64) {
    const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    return URL.createObjectURL(new Blob([bytes], { type: "audio/ogg" }));
  }
  const playable = (player) => player.canPlayType('audio/ogg; codecs="opus"') !== "";

  // What is seen of a sound at a moment: the waveform played so far, the word that is spoken, the clock.
  function played(example) {
    const wave = one(".wave", example);
    let copy = one(".played", wave);
    if (!copy) {
      copy = one("svg", wave).cloneNode(true);
      copy.classList.add("played");
      one("svg", wave).after(copy);
    }
    return copy;
  }
  function paint(example, at) {
    const seconds = Number(example.dataset.seconds);
    played(example).style.setProperty("--at", `${(100 * at) / seconds}%`);
    one(".time b", example).textContent = at.toFixed(1);
    const band = one(".band", example);
    let lit = null;
    for (const word of words(example)) {
      const on = at > 0 && word.start <= at && at < word.end;
      word.element.classList.toggle("lit", on);
      word.element.classList.toggle("past", word.start <= at);
      if (on) lit = word;
    }
    mark(band, lit, seconds);
  }
  function mark(band, word, seconds) {
    band.style.left = word ? `${(100 * word.start) / seconds}%` : "0";
    band.style.width = word ? `${(100 * (word.end - word.start)) / seconds}%` : "0";
  }
  const known = new WeakMap();
  function words(example) {
    if (!known.has(example)) {
      known.set(example, all(".word", example).map((element) => ({ element, start: Number(element.dataset.s), end: Number(element.dataset.e) })));
    }
    return known.get(example);
  }

  const forget = (example) => known.delete(example);

  return { root, all, one, soundOf, playable, paint, mark, words, forget };
})();
