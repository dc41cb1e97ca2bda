"use strict";
(() => {
  const { all, one } = shared;

  // Thresholds: a line over each chart that can be moved, and what it would keep.
  const payload = JSON.parse(one("#payload").textContent);
  const { margin } = payload;
  const minus = (text) => text.replace("-", "\u2212");
  const count = (n) => n.toLocaleString("en-US");
  const signed = (n, text) => (n > 0 ? `+${text}` : minus(text));
  function span(seconds) {
    const size = Math.abs(seconds);
    const fixed = (value, digits) => value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
    if (size >= 3600) return `${fixed(seconds / 3600, size >= 360000 ? 0 : size >= 36000 ? 1 : 2)} h`;
    if (size >= 60) return `${fixed(seconds / 60, 1)} min`;
    return `${fixed(seconds, size >= 10 ? 0 : 1)} s`;
  }

  class Line {
    constructor(chart, threshold, row) {
      Object.assign(this, { chart, threshold, row });
      const last = threshold.positions.length - 1;
      this.off = threshold.current === null;
      this.home = this.off ? (threshold.side === "below" ? 0 : last) : threshold.positions.indexOf(threshold.current);
      this.now = threshold.fitted ? payload : { accepted: threshold.accepted[this.home], seconds: threshold.seconds[this.home] };
      this.at = this.home;
      this.element = document.createElement("div");
      this.element.className = "cut";
      this.element.tabIndex = 0;
      this.element.append(document.createElement("b"));
      const says = { role: "slider", "aria-label": threshold.key, "aria-orientation": "horizontal", "aria-valuemin": threshold.positions[0], "aria-valuemax": threshold.positions[last] };
      for (const [name, value] of Object.entries(says)) this.element.setAttribute(name, value);
      this.shade = document.createElement("div");
      this.shade.className = "shade";
      this.was = document.createElement("div");
      this.was.className = "was";
      chart.lines.append(this.shade, this.was, this.element);
      this.listen();
      this.tell();
    }
    get moved() { return this.at !== this.home; }
    get value() { return this.threshold.positions[this.at]; }
    listen() {
      const { element } = this;
      element.addEventListener("pointerdown", (event) => {
        event.preventDefault();
        element.focus({ preventScroll: true });
        element.setPointerCapture(event.pointerId);
        element.classList.add("dragged");
      });
      element.addEventListener("pointermove", (event) => {
        if (element.hasPointerCapture(event.pointerId)) this.move(this.nearest(event.clientX - this.chart.lines.getBoundingClientRect().left));
      });
      for (const end of ["pointerup", "pointercancel"]) element.addEventListener(end, () => element.classList.remove("dragged"));
      element.addEventListener("keydown", (event) => {
        const by = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10, Home: -Infinity, End: Infinity }[event.key];
        if (event.key === "Escape") this.move(this.home);
        if (by === undefined) return;
        event.preventDefault();
        this.move(Math.max(0, Math.min(this.threshold.positions.length - 1, this.at + by)));
      });
      one(".reset", this.row).addEventListener("click", () => this.move(this.home));
    }
    nearest(pixel) {
      let best = 0;
      this.threshold.positions.forEach((value, i) => {
        if (Math.abs(this.chart.pixel(value) - pixel) < Math.abs(this.chart.pixel(this.threshold.positions[best]) - pixel)) best = i;
      });
      return best;
    }
    move(at) {
      this.at = at;
      this.tell();
      this.chart.place();
      writeCommand();
    }
    tell() {
      const { threshold, row, now, at, moved } = this;
      const kept = moved ? threshold.accepted[at] : now.accepted, seconds = moved ? threshold.seconds[at] : now.seconds;
      const more = kept - now.accepted, longer = seconds - now.seconds;
      const said = this.off && !moved ? threshold.fitted || "off" : minus(String(this.value));
      const named = threshold.label ? `${threshold.label} ${said}` : said;
      const difference = moved ? ` (${more ? signed(more, count(more)) : "no change"}${more ? `, ${signed(longer, span(longer))}` : ""})` : "";
      row.classList.toggle("moved", moved);
      one(".value", row).textContent = said;
      one(".kept", row).textContent = count(kept);
      one(".hours", row).textContent = span(seconds);
      one(".change", row).textContent = difference;
      one(".apply code", row).textContent = this.setting;
      one("b", this.element).textContent = named;
      this.element.classList.toggle("moved", moved);
      this.element.setAttribute("aria-valuenow", this.value);
      this.element.setAttribute("aria-valuetext", `${said}: ${count(kept)} accepted${difference}`);
    }
    get setting() { return `--set ${this.threshold.key}=${this.value}`; }
  }

  class Chart {
    constructor(element, said) {
      Object.assign(this, { element, said, lines: one(".lines", element), canvas: one(".canvas", element), tip: one(".tip", element) });
      this.cuts = said.thresholds.map((threshold, i) => new Line(this, threshold, all(".threshold", element)[i]));
      new ResizeObserver(() => this.draw()).observe(this.lines);
      one(".plot", element).addEventListener("pointermove", (event) => this.say(event));
      one(".plot", element).addEventListener("pointerleave", () => { this.tip.hidden = true; });
    }
    pixel(value) {
      return Math.max(margin.l, Math.min(this.lines.clientWidth - margin.r, this.x(value)));
    }
    place() {
      const width = this.lines.clientWidth;
      const bottom = `${margin.b}px`, top = `${margin.t}px`;
      const ordered = [...this.cuts].sort((a, b) => a.value - b.value);
      for (const cut of this.cuts) {
        const x = this.pixel(cut.value);
        Object.assign(cut.element.style, { left: `${x}px`, top, bottom });
        const below = cut.threshold.side === "below";
        Object.assign(cut.shade.style, { top, bottom, left: `${below ? margin.l : x}px`, width: `${Math.max(0, below ? x - margin.l : width - margin.r - x)}px` });
        Object.assign(cut.was.style, { top, bottom, left: `${this.pixel(cut.threshold.positions[cut.home])}px`, display: cut.moved ? "block" : "none" });
        const label = one("b", cut.element), room = label.offsetWidth;
        const leftmost = ordered.length > 1 && ordered[0] === cut;
        label.classList.toggle("left", x + room > width - 2 || (leftmost && x - room > 2));
      }
    }
    draw() {
      const { figure } = this.said, width = this.lines.clientWidth;
      if (!width || width === this.width) return;
      this.width = width;
      const frame = charts.frame({ width, height: this.lines.clientHeight, margin, label: figure.label, x: figure.x, y: figure.y });
      charts.bars(frame, figure.edges, figure.layers, figure.y.high);
      for (const [bar, text] of figure.cut) {
        const middle = (frame.x(figure.edges[bar]) + frame.x(figure.edges[bar + 1])) / 2;
        frame.svg.append(charts.draw("text", { x: middle, y: margin.t - 4, "text-anchor": "middle" }, text));
      }
      this.canvas.replaceChildren(frame.svg);
      this.x = frame.x;
      this.place();
    }
    // What the bar below the pointer counts.
    say(event) {
      const { edges, says } = this.said.figure, box = this.lines.getBoundingClientRect();
      const at = event.clientX - box.left, below = event.clientY - box.top;
      const bar = edges.findIndex((edge, i) => i < says.length && this.x(edge) <= at && at < this.x(edges[i + 1]));
      const said = event.target.closest(".cut") || below < margin.t || below > box.height - margin.b ? "" : says[bar];
      this.tip.hidden = !said;
      if (!said) return;
      this.tip.textContent = said;
      const room = this.tip.offsetWidth;
      this.tip.style.left = `${Math.max(0, Math.min(box.width - room, at - room / 2))}px`;
      this.tip.style.top = `${below - this.tip.offsetHeight - 12}px`;
    }
  }
  const drawn = all("[data-chart]").map((element) => new Chart(element, payload.charts[Number(element.dataset.chart)]));

  function writeCommand() {
    const moved = drawn.flatMap((chart) => chart.cuts).filter((cut) => cut.moved);
    one(".command").classList.toggle("on", moved.length > 0);
    one("#command").textContent = [payload.command, ...moved.map((cut) => cut.setting)].join(" \\\n  ");
  }
  document.addEventListener("click", async (event) => {
    const button = event.target.closest(".copy");
    if (!button) return;
    const from = button.dataset.copies ? one(`#${button.dataset.copies}`) : one("code", button.parentElement);
    button.textContent = (await copy(from)) ? "Copied" : "Press Ctrl+C";
    setTimeout(() => { button.textContent = "Copy"; }, 1600);
  });
  async function copy(element) {
    try {
      await navigator.clipboard.writeText(element.textContent);
      return true;
    } catch {
      getSelection().selectAllChildren(element); // a page from a file may not write to the clipboard by itself
      return document.execCommand("copy");
    }
  }

  drawn.forEach((chart) => chart.draw());
  performance.mark("charts-drawn");
})();
