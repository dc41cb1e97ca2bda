"use strict";
(() => {
  const { root, all, one, soundOf, playable, paint, words, forget } = shared;
  const { ask, saver, why } = asking;
  const { element, count, concluded } = conclusions;
  const { auditor, items } = JSON.parse(one("#payload").textContent);
  const PIXELS_PER_S = 130, SPEEDS = [1, 0.75, 0.5];
  const KEYS = { g: "good", 1: "good", t: "bad_text", 2: "bad_text", b: "bad_boundary", 3: "bad_boundary", u: "unsure", 4: "unsure" };
  const place = new Map(items.map(({ id }, i) => [id, i]));
  const example = one("#item"), wave = one(".wave", example), scroller = one("#scroller");
  const player = new Audio();
  if (!playable(player)) one("#unplayable").hidden = false;

  let name = "";
  let here = 0;
  let heard = null; // the item on show, once it has come
  let at = null; // the word walked to, or spoken last
  let until = null; // where a single word ends
  let speed = 0;
  let byItself = true;
  const answers = new Map();
  const order = []; // ids as they were answered, for undo

  function screen(wanted) {
    for (const part of all(".screen")) part.hidden = part.id !== wanted;
    for (const part of ["start", "work", "end"]) root.classList.toggle(`at-${part}`, part === wanted);
    scrollTo(0, 0);
  }

  const saving = saver("answer", "answer", tell);
  const save = (id, answer) => saving.save({ auditor: name, id, answer });
  function tell(unsaved = 0) {
    one("#saved").classList.toggle("busy", unsaved > 0);
    one("#saved").textContent = unsaved ? "saving" : `${count(answers.size)} of ${count(items.length)} saved`;
  }

  // Who judges.
  async function begin(wanted) {
    try {
      const said = await ask("begin", { auditor: wanted });
      name = said.auditor;
      answers.clear();
      order.length = 0;
      for (const [id, answer] of said.answers) { answers.set(id, answer); order.push(id); }
    } catch (error) {
      one("#refused").textContent = why(error);
      one("#refused").hidden = false;
      screen("start");
      return;
    }
    remember(name);
    one("#who").textContent = name;
    tell();
    drawProgress();
    const next = open(-1);
    if (next < 0) finish(); else go(next);
  }
  const key = `llaso-auditor ${location.pathname}`;
  const remember = (value) => { try { sessionStorage.setItem(key, value); } catch { /* then it is asked again */ } };
  const remembered = () => { try { return sessionStorage.getItem(key); } catch { return null; } };
  one("#begin").addEventListener("submit", (event) => { event.preventDefault(); begin(one("#name").value); });
  for (const button of all(".again")) button.addEventListener("click", () => begin(button.dataset.name));

  // One item at a time; the next is fetched while this one is heard.
  const fetched = new Map();
  function fetchItem(i) {
    const { id } = items[i];
    if (!fetched.has(id)) {
      const item = ask(`item/${id}`).then((said) => {
        if (said.trouble) fetched.delete(id);
        return said.opus ? { ...said, sound: soundOf(said.opus), opus: null } : said;
      });
      item.catch(() => fetched.delete(id));
      fetched.set(id, item);
      for (const [old, left] of [...fetched].slice(0, -40)) {
        fetched.delete(old);
        left.then(({ sound }) => { if (sound && sound !== player.src) URL.revokeObjectURL(sound); }, () => {});
      }
    }
    return fetched.get(id);
  }
  const open = (from) => {
    for (let step = 1; step <= items.length; step++) {
      const i = (from + step + items.length) % items.length;
      if (!answers.has(items[i].id)) return i;
    }
    return -1;
  };
  async function go(i) {
    screen("work");
    player.pause();
    [here, heard, at, until] = [i, null, null, null];
    example.classList.add("waiting");
    scroller.hidden = one(".transport", example).hidden = false;
    one("#unheard").hidden = true;
    one("#place").textContent = count(i + 1);
    one("#language").textContent = items[i].language;
    one("#corpus").textContent = items[i].corpus;
    drawProgress();
    drawAnswer();
    let item;
    try {
      item = await fetchItem(i);
    } catch (error) {
      item = { text: [], place: "", trouble: why(error) };
    }
    if (here !== i) return;
    show(item);
    const next = open(i);
    if (next >= 0) fetchItem(next).catch(() => {});
  }
  function show(item) {
    heard = item;
    example.classList.remove("waiting", "moved", "playing");
    one("#file").textContent = "";
    const bdi = element("bdi", item.place.split("/").pop());
    one("#file").append(bdi);
    one("#file").title = item.place;
    const text = one("#text");
    text.lang = item.lang ?? "";
    text.dir = item.dir ?? "ltr";
    text.replaceChildren(...item.text.map(([part, start, end], i) => (start === null ? document.createTextNode(part) : word(part, start, end))));
    if (!item.text.length) text.append(element("span", "no text", "none"));
    text.classList.toggle("long", item.text.map(([part]) => part).join("").length > 220);
    one(".lane", example).replaceChildren(...item.text.filter(([, start]) => start !== null).map((piece) => lane(...piece)));
    forget(example);
    one(".played", wave)?.remove();
    const trouble = one("#unheard");
    trouble.hidden = !item.trouble;
    trouble.textContent = item.trouble ? `This cannot be heard: ${item.trouble} Put the file back, or answer unsure.` : "";
    scroller.hidden = Boolean(item.trouble);
    one(".transport", example).hidden = Boolean(item.trouble);
    if (item.trouble) return;
    example.dataset.seconds = item.seconds;
    one("#seconds").textContent = item.seconds.toFixed(1);
    one("svg", wave).setAttribute("viewBox", `-1 0 ${item.bars + 1} 100`);
    one("svg path", wave).setAttribute("d", item.path);
    one(".score", example).style.width = `${Math.round(item.seconds * PIXELS_PER_S)}px`;
    scroller.scrollLeft = 0;
    player.src = item.sound;
    player.playbackRate = player.defaultPlaybackRate = SPEEDS[speed];
    draw(0);
    if (byItself) play(0);
  }
  function word(text, start, end) {
    const made = element("span", text, "word");
    Object.assign(made.dataset, { s: start, e: end });
    return made;
  }
  function lane(text, start, end) {
    const made = word(text, start, end);
    made.style.left = `${(100 * start) / heard.seconds}%`;
    made.style.width = `${(100 * (end - start)) / heard.seconds}%`;
    return made;
  }
  const spoken = () => words(example).filter(({ element: made }) => made.closest("#text"));

  // Playing.
  function play(from, to = null) {
    if (!heard?.sound) return;
    until = to;
    if (from !== undefined) player.currentTime = from;
    player.play().catch(() => {}); // before the first key or click a browser may not
  }
  function toggle() {
    if (!player.paused) player.pause();
    else play(player.ended || player.currentTime >= heard?.seconds - 0.01 ? 0 : undefined);
  }
  function walk(by) {
    const list = spoken();
    if (!list.length) return;
    const to = at === null ? (by < 0 ? list.length - 1 : 0) : at + by;
    playWord(Math.max(0, Math.min(list.length - 1, to)));
  }
  function playWord(i) {
    const chosen = spoken()[i];
    if (!chosen) return;
    at = i;
    play(chosen.start, chosen.end);
    draw(chosen.start);
  }
  function draw(seconds) {
    paint(example, seconds);
    wave.style.setProperty("--at", `${(100 * seconds) / heard.seconds}%`);
    example.classList.toggle("moved", seconds > 0);
    const list = spoken();
    if (until === null && !player.paused) {
      const lit = list.findIndex(({ start, end }) => start <= seconds && seconds < end);
      if (lit >= 0) at = lit;
    }
    for (const { element: made } of words(example)) made.classList.remove("at");
    if (at !== null && player.paused) for (const { element: made } of words(example)) if (list[at] && Number(made.dataset.s) === list[at].start && Number(made.dataset.e) === list[at].end) made.classList.add("at");
    const x = (scroller.scrollWidth * seconds) / heard.seconds - scroller.scrollLeft;
    if (x < 0 || x > 0.85 * scroller.clientWidth) scroller.scrollLeft += x - 0.15 * scroller.clientWidth;
  }
  function follow() {
    if (!heard) return;
    if (until !== null && player.currentTime >= until) {
      player.currentTime = until - 0.01; // its last moment: what follows is another word
      player.pause();
      return;
    }
    draw(player.currentTime);
    if (!player.paused) requestAnimationFrame(follow);
  }
  player.addEventListener("play", () => { example.classList.add("playing"); requestAnimationFrame(follow); });
  player.addEventListener("pause", () => { example.classList.remove("playing"); if (heard) draw(player.currentTime); });
  player.addEventListener("seeked", () => { if (heard && player.paused) draw(player.currentTime); });
  wave.addEventListener("click", (event) => {
    const box = wave.getBoundingClientRect();
    play(Math.max(0, Math.min(0.999, (event.clientX - box.left) / box.width)) * heard.seconds);
  });
  example.addEventListener("click", (event) => {
    const made = event.target.closest(".word");
    if (made) playWord(spoken().findIndex(({ start, end }) => start === Number(made.dataset.s) && end === Number(made.dataset.e)));
  });

  // Judging.
  function say(answer) {
    const { id } = items[here];
    if (!heard) return; // nobody has seen it yet
    answers.set(id, answer);
    if (order.includes(id)) order.splice(order.indexOf(id), 1);
    order.push(id);
    save(id, answer);
    drawAnswer();
    const next = open(here);
    if (next < 0) finish(); else go(next);
  }
  function undo() {
    const id = order.pop();
    if (id === undefined) return;
    answers.delete(id);
    save(id, null);
    if (place.has(id)) go(place.get(id));
  }
  function drawAnswer() {
    const said = answers.get(items[here].id);
    for (const button of all("[data-answer]")) {
      button.classList.toggle("said", button.dataset.answer === said);
      button.setAttribute("aria-pressed", button.dataset.answer === said);
    }
    one("#to-end").hidden = answers.size < items.length;
  }
  const ticks = items.map((item, i) => {
    const tick = element("i");
    tick.addEventListener("click", () => go(i));
    return tick;
  });
  one("#progress").append(...ticks);
  one("#progress").classList.toggle("many", items.length > 400);
  function drawProgress() {
    ticks.forEach((tick, i) => {
      const said = answers.get(items[i].id);
      tick.className = [said && (said === "good" ? "good" : "bad"), i === here && "here"].filter(Boolean).join(" ");
    });
    one("#progress").setAttribute("aria-label", `${answers.size} of ${items.length} judged`);
  }

  // The end.
  async function finish() {
    player.pause();
    await saving.settled();
    let said;
    try {
      said = await ask("result", { auditor: name });
    } catch (error) {
      one("#banner").textContent = error.message;
      one("#banner").hidden = false;
      return;
    }
    if (answers.size < items.length) return; // it was taken back meanwhile
    const bad = (said.bad ?? []).filter((id) => place.has(id)).map((id) => ({ number: place.get(id) + 1, mine: answers.get(id), show: () => go(place.get(id)) }));
    one("#end").replaceChildren(...concluded(said, bad));
    screen("end");
  }
  // Keys; every button that has one presses it.
  function press(pressed) {
    const working = root.classList.contains("at-work");
    if (KEYS[pressed] && working) return say(KEYS[pressed]), true;
    const does = {
      z: undo, Backspace: undo,
      ArrowUp: () => go(working ? (here + items.length - 1) % items.length : here),
      ArrowDown: () => { if (working) go((here + 1) % items.length); },
      e: () => { if (answers.size === items.length) finish(); },
      ...(working && {
        " ": toggle, ArrowLeft: () => walk(-1), ArrowRight: () => walk(1), r: () => play(0),
        w: () => playWord(at ?? 0), Enter: () => playWord(at ?? 0),
        s: () => {
          speed = (speed + 1) % SPEEDS.length;
          player.playbackRate = player.defaultPlaybackRate = SPEEDS[speed];
          one("#speed").textContent = `${["1", "¾", "½"][speed]}×`;
          root.classList.toggle("slowed", speed > 0);
        },
        a: () => {
          byItself = !byItself;
          one("#auto").textContent = byItself ? "on" : "off";
          one("[data-key=a]").setAttribute("aria-pressed", byItself);
        },
      }),
    }[pressed];
    if (does) does();
    return Boolean(does);
  }
  const ours = (event) => !root.classList.contains("at-start") && !(event.ctrlKey || event.metaKey || event.altKey) && !event.target.closest?.("input");
  addEventListener("keydown", (event) => {
    if (!ours(event) || (event.key === "Enter" && event.target.closest?.("button"))) return;
    if (event.repeat && !event.key.startsWith("Arrow")) return event.preventDefault();
    if (press(event.key.length === 1 ? event.key.toLowerCase() : event.key)) event.preventDefault();
  });
  addEventListener("keyup", (event) => { if (ours(event) && event.key === " ") event.preventDefault(); }); // a focused button
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.answer) say(button.dataset.answer);
    else if (button.dataset.key) press(button.dataset.key);
    else if (button.id === "play") toggle();
    button.blur();
  });

  screen("start");
  const known = remembered();
  one("#name").value = auditor ?? known ?? "";
  one("#name").focus();
  if (known) begin(known);
})();
