"use strict";
(() => {
  const { all, one, soundOf, playable } = shared;
  const payload = JSON.parse(one("#payload").textContent);
  const colour = (system) => `s${payload.systems.indexOf(system) % 8}`;

  // Elements: text is always set as text, so nothing in the data can be markup.
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) if (value !== null) element.setAttribute(name, value);
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  }
  const named = (system) => make("span", { class: "name" }, make("i", { class: `dot ${colour(system)}` }), make("bdi", { title: system }, system));
  const minus = (text) => text.replaceAll(/-(?=\d)/g, "\u2212");

  function shown(value, metric, unit) {
    if (value === null || value === undefined) return "–";
    const kind = payload.metrics[metric].unit;
    if (kind === "share") return `${(100 * value).toFixed(1)} %`;
    if (kind === "score") return value.toFixed(1);
    return value.toFixed(2) + (unit && metric.startsWith("mae") ? ` ${unit}` : "");
  }
  const range = (figure, metric) => (figure.low === null ? "" : `${shown(figure.low, metric).replace(" %", "")} to ${shown(figure.high, metric).replace(" %", "")}`);

  // An empty chart of two shares.
  const MARGIN = { l: 44, r: 14, t: 10, b: 34 };
  const WIDTH = 460;
  const quarters = [0, 25, 50, 75, 100].map((percent) => [percent / 100, `${percent}`]);
  function shares(height, label, below) {
    const axis = { low: 0, high: 1, ticks: quarters };
    return titled(charts.frame({ width: WIDTH, height, margin: MARGIN, label, x: axis, y: axis }), height, below);
  }
  function titled(frame, height, below) {
    frame.svg.append(charts.draw("text", { x: WIDTH - MARGIN.r, y: height - 2, "text-anchor": "end" }, below));
    return frame;
  }

  // Risk and coverage: one point for each system.
  const risk = one("#risk");
  if (risk) {
    const { svg, x, y } = shares(280, "Risk against coverage", "coverage, % →");
    svg.append(charts.draw("text", { x: 46, y: 8 }, "↑ wrong of answered, %"));
    const placed = [];
    for (const row of all(".risk-row")) {
      const at = { x: x(Number(row.dataset.coverage)), y: y(1 - Number(row.dataset.answered)) };
      svg.append(charts.draw("circle", { class: `mark ${colour(row.dataset.system)}`, cx: at.x, cy: at.y, r: 6 }));
      const end = at.x > WIDTH - 130;
      let label = at.y + 4;
      while (placed.some((other) => Math.abs(other.y - label) < 13 && Math.abs(other.x - at.x) < 110)) label += 13;
      placed.push({ x: at.x, y: label });
      svg.append(charts.draw("text", { class: "mark-name", x: at.x + (end ? -11 : 11), y: label, "text-anchor": end ? "end" : "start" }, row.dataset.system));
    }
    risk.append(svg);
  }

  // Noise: a curve with a band for each system, a chart for each set that has such rows.
  if (payload.curves.length) {
    one("#noise").hidden = false;
    for (const curve of payload.curves) one("#curves").append(noiseChart(curve));
  }
  function noiseChart(curve) {
    const points = [...curve.points].sort((a, b) => a.snr_db - b.snr_db);
    const values = points.flatMap((point) => Object.values(point.figures).flatMap((figure) => [figure.high ?? figure.value, figure.value]));
    const most = Math.max(...values, 0.01);
    const top = [0.1, 0.2, 0.4, 0.6, 0.8, 1, 2, 4, 10, 20, 40, 100, 200].find((end) => end >= most) ?? most;
    const [low, high] = [points[0].snr_db, points[points.length - 1].snr_db];
    const frame = titled(charts.frame({
      width: WIDTH,
      height: 260,
      margin: MARGIN,
      label: `${curve.metric} against noise`,
      x: { low, high, ticks: points.map((point) => [point.snr_db, minus(String(point.snr_db))]) },
      y: { low: 0, high: top, ticks: [0, 1, 2, 3, 4].map((i) => [(top * i) / 4, shown((top * i) / 4, curve.metric).replace(" %", "")]) },
    }), 260, "signal to noise, dB →");
    const { x, y } = frame;
    for (const system of payload.systems) {
      const own = points.filter((point) => point.figures[system]?.value !== undefined && point.figures[system].value !== null);
      if (!own.length) continue;
      const side = (key) => own.map((point) => [x(point.snr_db), y(point.figures[system][key] ?? point.figures[system].value)]);
      charts.band(frame, colour(system), [...side("high"), ...side("low").reverse()]);
      charts.curve(frame, colour(system), side("value"));
    }
    return make("figure", {}, make("h3", {}, `${curve.set}: ${payload.metrics[curve.metric].title}`), frame.svg, make("p", { class: "legend" }, ...payload.order.map(named)));
  }

  // Sets: everything of one set, drawn when it is chosen.
  const chosen = one("#set");
  let samples = null; // parsed when first looked at
  let sounds = null;
  let system = payload.order[0];
  const player = playable(new Audio());

  function show() {
    const set = payload.sets.find((candidate) => candidate.name === chosen.value);
    const systems = payload.order.filter((candidate) => set.metrics[candidate]);
    one("#set-says").textContent = `${payload.tasks[set.task]} · ${set.rows.toLocaleString("en-US")} rows · ${over(set)}`;
    one("#set-metrics").replaceChildren(metricsTable(set, systems));
    one("#set-said").replaceChildren(...systems.map((name) => saidLine(set, name)));
    one("#set-pairs").replaceChildren(pairsTable(set));
    one("#set-confusion").replaceChildren(...confusions(set, systems));
    one("#set-slices").replaceChildren(...riskCurves(set, systems), ...set.slices.map((slice) => sliceTable(set, slice, systems)));
    if (!systems.includes(system)) system = systems[0];
    one("#sample-systems").replaceChildren(...systems.map(tab));
    showSamples();
  }

  function over(set) {
    const few = Object.values(set.metrics).map((by) => by[set.primary]).find((figure) => figure?.few_clusters);
    if (few) return `${few.clusters} cluster${few.clusters === 1 ? "" : "s"}: too few; intervals over rows`;
    return set.clustered ? "intervals over speakers" : "intervals over rows";
  }

  // Where systems say how sure they are: the risk of what they answer, from the surest answer on.
  function riskCurves(set, systems) {
    const curved = systems.filter((name) => (set.risk_coverage[name] ?? []).length > 1);
    if (!curved.length) return [];
    const frame = shares(240, "Risk against coverage by confidence", "coverage, surest first, % →");
    for (const name of curved) {
      charts.curve(frame, colour(name), set.risk_coverage[name].map(([a, b]) => [frame.x(a), frame.y(b)]));
    }
    return [make("h3", { class: "apart" }, "Risk by confidence, wrong of answered, %"), make("div", { class: "curves" }, frame.svg), make("p", { class: "legend" }, ...curved.map(named))];
  }

  function metricsTable(set, systems) {
    const metrics = [...new Set(systems.flatMap((name) => Object.keys(set.metrics[name])))].sort((a, b) => (b === set.primary) - (a === set.primary));
    const head = make("tr", {}, make("th", {}, ""), ...metrics.map((metric) => make("th", { class: "num", title: metric === set.primary ? set.formula : null }, payload.metrics[metric].title + (metric === set.primary ? " ★" : "") + (payload.metrics[metric].better === "lower" ? " ↓" : ""))));
    const rows = systems.map((name) => make("tr", {}, make("td", {}, named(name)), ...metrics.map((metric) => {
      const figure = set.metrics[name][metric];
      if (!figure) return make("td", { class: "num quiet" }, "–");
      return make("td", { class: "num" }, shown(figure.value, metric, set.unit), make("br"), make("span", { class: "quiet small" }, range(figure, metric)));
    })));
    return make("table", { class: "table" }, make("thead", {}, head), make("tbody", {}, ...rows));
  }

  function saidLine(set, name) {
    const counts = set.said[name];
    const total = Object.values(counts).reduce((a, b) => a + b, 0);
    const bars = make("span", { class: "bars tall" });
    for (const [kind, title] of Object.entries(payload.kinds)) {
      if (counts[kind]) bars.append(make("i", { class: `k-${kind}`, style: `flex:${counts[kind]}`, title: `${title}: ${counts[kind]} of ${total}` }));
    }
    return make("div", { class: "said-line" }, named(name), bars);
  }

  function pairsTable(set) {
    const pairs = payload.pairs.filter((pair) => pair.name === set.name);
    if (!pairs.length) return make("p", { class: "note" }, "There is one system.");
    const body = pairs.map((pair) => make("tr", { class: pair.p_holm < 0.05 ? "sure" : null },
      make("td", {}, `${pair.first} − ${pair.second}`),
      make("td", { class: "num" }, minus(shown(pair.difference, set.primary))),
      make("td", { class: "num" }, pair.low === null ? "" : minus(`${shown(pair.low, set.primary).replace(" %", "")} to ${shown(pair.high, set.primary).replace(" %", "")}`)),
      make("td", { class: "num" }, pair.p_holm < 0.001 ? "< 0.001" : pair.p_holm.toFixed(3))));
    const head = make("tr", {}, make("th", {}, payload.metrics[set.primary].title), make("th", { class: "num" }, "difference"), make("th", { class: "num" }, "95 %"), make("th", { class: "num" }, "p"));
    return make("table", { class: "table pairs-table" }, make("thead", {}, head), make("tbody", {}, ...body));
  }

  function confusions(set, systems) {
    if (!set.labels.length) return [];
    const used = set.labels.map((_, i) => systems.some((name) => set.confusion[name].some(([a, b]) => a === i || b === i)));
    const labels = set.labels.map((_, i) => i).filter((i) => used[i]);
    const heading = make("h3", { class: "apart" }, "Confusion: asked for, by what was answered");
    if (labels.length > 17) {
      const lists = systems.map((name) => make("div", {}, make("h3", {}, named(name)), make("ul", { class: "confusion-list" },
        ...set.confusion[name].filter(([a, b]) => a !== b).sort((a, b) => b[2] - a[2]).slice(0, 8).map(([a, b, count]) => make("li", {}, make("span", {}, `${set.labels[a]} → ${set.labels[b] ?? "no label"}`), make("span", { class: "num quiet" }, String(count)))))));
      return [heading, make("div", { class: "confusions" }, ...lists)];
    }
    return [heading, make("div", { class: "confusions" }, ...systems.map((name) => make("div", {}, make("h3", {}, named(name)), matrix(set, name, labels))))];
  }

  function matrix(set, name, labels) {
    const counts = new Map(set.confusion[name].map(([a, b, count]) => [`${a} ${b}`, count]));
    const none = set.labels.length;
    const columns = [...labels, none];
    const head = make("tr", {}, make("th", { class: "row" }), ...columns.map((column) => make("th", { class: "col", title: set.labels[column] ?? "no label" }, make("span", {}, set.labels[column] ?? "no label"))));
    const rows = labels.map((row) => {
      const total = columns.reduce((sum, column) => sum + (counts.get(`${row} ${column}`) ?? 0), 0);
      return make("tr", {}, make("th", { class: "row", title: set.labels[row] }, set.labels[row]), ...columns.map((column) => {
        const count = counts.get(`${row} ${column}`) ?? 0;
        const share = total ? count / total : 0;
        const kind = column === none ? "--beyond" : "--accent";
        const cell = make("td", { class: count ? (share > 0.55 ? "on deep" : "on") : column === none ? "no" : "", title: `${set.labels[row]} answered as ${set.labels[column] ?? "no label"}: ${count} of ${total}` }, count ? String(count) : "");
        if (count) cell.style.background = `color-mix(in srgb, var(${kind}) ${Math.round(12 + 88 * share)}%, var(--fill))`;
        if (count && share > 0.55 && column === none) cell.style.color = "var(--paper)";
        return cell;
      }));
    });
    return make("table", { class: "confusion" }, make("thead", {}, head), make("tbody", {}, ...rows));
  }

  function sliceTable(set, slice, systems) {
    const metric = payload.metrics[set.primary];
    const head = make("tr", {}, make("th", {}, `By ${slice.group}: ${metric.title}`), make("th", { class: "num" }, "Rows"), ...systems.map((name) => make("th", { class: "num" }, name)));
    const rows = Object.entries(slice.values).map(([value, figures]) => make("tr", {}, make("td", {}, value), make("td", { class: "num quiet" }, String(Math.max(...Object.values(figures).map((figure) => figure.rows)))),
      ...systems.map((name) => make("td", { class: "num", title: figures[name] ? range(figures[name], set.primary) : null }, figures[name] ? shown(figures[name].value, set.primary) : "–"))));
    const gaps = make("tr", {}, make("td", { class: "quiet" }, "gap, highest − lowest"), make("td", {}), ...systems.map((name) => {
      const gap = slice.gaps[name];
      if (!gap || gap.from === gap.to) return make("td", { class: "num quiet" }, "–");
      const p = gap.p ?? 1; // reports of earlier versions have none
      return make("td", { class: `num${p < 0.05 ? "" : " quiet"}`, title: `${gap.to} − ${gap.from}; p of so wide a gap if groups did not differ: ${p.toFixed(4)}` }, shown(gap.value, set.primary), make("br"), make("span", { class: "quiet small" }, `${gap.to} − ${gap.from}, p ${p.toFixed(3)}`));
    }));
    return make("div", { class: "slice scroll" }, make("table", { class: "table" }, make("thead", {}, head), make("tbody", {}, ...rows, gaps)));
  }

  function tab(name) {
    const button = make("button", { type: "button", role: "tab", "aria-selected": String(name === system) }, name);
    button.addEventListener("click", () => { system = name; for (const other of all("[role=tab]")) other.setAttribute("aria-selected", String(other === button)); showSamples(); });
    return button;
  }

  function showSamples() {
    samples ??= JSON.parse(one("#rows").textContent);
    sounds ??= JSON.parse(one("#sounds").textContent);
    const rows = samples[chosen.value]?.[system] ?? [];
    one("#samples").replaceChildren(...rows.map(sample));
  }

  function sample(row) {
    const list = make("dl", { class: "sample" });
    const add = (term, ...content) => list.append(make("dt", {}, term), make("dd", {}, ...content));
    if (row.prompt) add("Asked", row.prompt);
    if (row.reference) add("Reference", row.reference);
    add("Answer", row.answer ?? "");
    if (row.diff) add("Difference", ...row.diff.flatMap(([operation, words]) => [operation === "=" ? words : make(operation === "+" ? "ins" : "del", {}, words), " "]));
    const tag = make("span", { class: `tag k-${row.said}` }, payload.kinds[row.said]);
    if (row.wanted && !row.diff) add("Taken as", tag, row.given ? `${row.given} (wanted: ${row.wanted})` : `wanted: ${row.wanted}`);
    else add("Taken as", tag, row.judge ? ` judged ${row.judge} of 5` : "");
    if (row.audio && sounds[row.audio] && player) add("Sound", make("audio", { controls: "", preload: "none", src: soundOf(sounds[row.audio]) }));
    if (row.audio) add("", make("span", { class: "file" }, row.audio));
    return list;
  }

  const step = (by) => { chosen.selectedIndex = (chosen.selectedIndex + by + chosen.options.length) % chosen.options.length; show(); };
  chosen.addEventListener("change", show);
  one("#before").addEventListener("click", () => step(-1));
  one("#after").addEventListener("click", () => step(1));
  if (payload.sets.length) show();
})();
