"use strict";
// The page's end: what the server says of the audit, as elements.
const conclusions = (() => {
  const count = (n) => n.toLocaleString("en-US");
  function element(tag, text = "", className = "") {
    const made = document.createElement(tag);
    if (text) made.textContent = text;
    if (className) made.className = className;
    return made;
  }
  function head(kind, title, lead, mark) {
    const made = element("header", "", "head");
    if (mark) {
      const sign = element("p", "", mark === "yes" ? "mark" : "mark not");
      const [picture, stroke] = ["svg", "path"].map((tag) => document.createElementNS("http://www.w3.org/2000/svg", tag));
      picture.setAttribute("viewBox", "0 0 24 24");
      stroke.setAttribute("d", mark === "yes" ? "M5.5 12.5l4.2 4.2L18.5 7.8" : "M7 7l10 10M17 7L7 17");
      picture.append(stroke);
      sign.append(picture);
      made.append(sign);
    }
    made.append(element("p", kind, "kind"), element("h1", title), element("p", lead, "lead"));
    return made;
  }
  function waiting({ open: left, languages = [] }) {
    const where = languages.length ? ` in ${languages.join(" and ")}` : "";
    return [head("Audit", "Yours are all judged", `${count(left)} utterance${left === 1 ? "" : "s"}${where} ${left === 1 ? "is" : "are"} still to be heard by somebody. The certificate follows when they are.`)];
  }
  function certified(said, bad) {
    const title = said.passed ? "Certified" : "Not certified";
    const parts = [head("Audit", title, `${said.conclusion.replaceAll(" %", "\u00a0%")}.`, said.passed ? "yes" : "no"), figures(said), breakdown(said)];
    if (said.agreement.length) parts.push(element("h2", "Agreement"), agreement(said));
    if (bad.length) parts.push(element("h2", "Defects"), review(bad));
    const next = element("div", "", "next");
    next.append(element("p", `The certificate lies in ${said.certificate}. This puts it beside the shards, also where they are written already:`));
    const command = element("pre");
    command.append(element("code", `llaso-data shard ${said.align} --out SHARDS`));
    next.append(command);
    return [...parts, next];
  }
  function figures(said) {
    const kappas = said.agreement.map(({ kappa }) => kappa).filter((kappa) => kappa !== null);
    const [pair] = said.agreement;
    const alike = kappas.length ? [kappas.length > 1 ? "least agreement, κ" : "agreement, Cohen’s κ", Math.min(...kappas).toFixed(2)] : pair && ["judged alike by both", `${count(pair.agreed)} of ${count(pair.items)}`];
    const rows = [
      ["heard", said.census ? `all ${count(said.items)}` : count(said.items)],
      [said.allowed === null ? "defects" : `defects, ${count(said.allowed)} allowed`, count(said.defects)],
      [said.census ? "error rate" : "error rate below", said.upper],
      ["right and rejected", said.rejected],
      said.auditors.length > 1 ? alike : ["auditor", said.auditors[0].name],
    ];
    const made = element("dl", "", "figures");
    for (const [what, value] of rows) {
      const row = element("div");
      row.append(element("dt", what), element("dd", value));
      made.append(row);
    }
    return made;
  }
  function table(titles, rows) {
    const made = element("table", "", "table");
    const line = (tag, cells) => {
      const row = element("tr");
      cells.forEach((cell, i) => row.append(element(tag, cell, i > 1 || (tag === "td" && i > 1) ? "num" : "")));
      return row;
    };
    const body = element("tbody"), top = element("thead");
    top.append(line("th", titles));
    for (const [cells, passed] of rows) {
      const row = line("td", cells);
      row.classList.toggle("passed", Boolean(passed));
      body.append(row);
    }
    made.append(top, body);
    return made;
  }
  function breakdown(said) {
    const titles = ["Language", "Corpus", "Utterances", "Heard", "Defects", "Error rate below"];
    const made = element("section");
    made.append(element("h2", "By language and corpus"), table(titles, said.strata.map((row) => [[row.name, row.corpus, count(row.population), count(row.items), count(row.defects), row.upper], row.passed])));
    made.append(element("p", "Each bound holds for its line alone, with 95 % confidence; below 5 % the line would pass by itself, which takes 59 clean items or more. Where everything was heard it is the rate itself.", "note"));
    made.style.paddingTop = "0";
    return made;
  }
  function agreement(said) {
    const rows = said.agreement.map(({ auditors: [first, second], items: both, agreed, kappa }) => [[first, second, count(both), count(agreed), kappa === null ? "–" : kappa.toFixed(2)], false]);
    return table(["Auditor", "and", "Both heard", "Agreed", "Cohen’s κ"], rows);
  }
  function review(bad) {
    const made = element("p", "", "review");
    for (const { number, mine, show } of bad) {
      const button = element("button", `${count(number)} ${mine === "good" ? "of another auditor" : mine.replace("_", " ")}`);
      button.type = "button";
      button.addEventListener("click", show);
      made.append(button);
    }
    return made;
  }
  function closing() {
    const made = element("p", "", "keys closing");
    for (const [shown, text] of [["z", "undo the last answer"], ["ArrowUp", "look through the answers"]]) {
      const button = element("button");
      button.type = "button";
      button.dataset.key = shown;
      button.append(element("kbd", shown === "z" ? "Z" : "↑"), text);
      made.append(button);
    }
    return made;
  }

  // `said` is the server's answer; `bad` are the defects on this page, each with its number and how to show it.
  const concluded = (said, bad) => [...(said.open ? waiting(said) : certified(said, bad)), closing()];
  return { element, count, concluded };
})();
