"use strict";
// Charts of the pages, as SVG: a frame with its grid and ticks, and the marks in it. Colours come from the style sheet.
const charts = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const CHARACTER = 7; // pixels that a figure of a tick takes

  // Text is set as text, so nothing in the data can be markup.
  function draw(tag, attributes = {}, text) {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    return element;
  }

  // From the values of an axis, {low, high, log}, to pixels.
  function scale({ low, high, log }, from, to) {
    const at = log ? Math.log : (value) => value;
    const length = at(high) - at(low) || 1;
    return (value) => from + ((at(value) - at(low)) / length) * (to - from);
  }

  // The empty chart: {svg, x, y}, where x and y give the place of a value. `margin` is {t, r, b, l} in pixels; each axis
  // is {low, high, log, ticks: [[value, text], …]}. A text of the horizontal axis that would touch the one before is
  // left out.
  function frame({ width, height, margin, label, x: across, y: up }) {
    const [left, right, bottom] = [margin.l, width - margin.r, height - margin.b];
    const svg = draw("svg", { class: "frame", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
    const x = scale(across, left, right), y = scale(up, bottom, margin.t);
    for (const [value, text] of up.ticks) {
      svg.append(draw("line", { class: "gridline", x1: left, x2: right, y1: y(value), y2: y(value) }));
      svg.append(draw("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, text));
    }
    let free = -Infinity;
    for (const [value, text] of across.ticks) {
      const half = (text.length * CHARACTER) / 2;
      if (x(value) - half < free) continue;
      free = x(value) + half + CHARACTER / 2;
      svg.append(draw("line", { class: "gridline", x1: x(value), x2: x(value), y1: bottom, y2: bottom + 4 }));
      svg.append(draw("text", { x: x(value), y: bottom + 18, "text-anchor": "middle" }, text));
    }
    svg.append(draw("line", { class: "baseline", x1: left, x2: right, y1: bottom, y2: bottom }));
    return { svg, x, y };
  }

  // Bars that stand on each other: `layers` are {role, counts}, lowest first, each count between two of the `edges`. The
  // smallest count is still to be seen.
  function bars({ svg, x, y }, edges, layers, top) {
    const below = edges.map(() => 0);
    for (const { role, counts } of layers) {
      counts.forEach((count, i) => {
        if (!count) return;
        const [from, to] = [Math.min(below[i], top), Math.min(below[i] + count, top)];
        below[i] += count;
        const width = Math.max(1, x(edges[i + 1]) - x(edges[i]) - 1), height = Math.max(1, y(from) - y(to));
        svg.append(draw("rect", { class: `layer ${role}`, x: x(edges[i]), width, y: y(from) - height, height }));
      });
    }
  }

  const path = (points) => points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");
  const curve = ({ svg }, name, points) => svg.append(draw("polyline", { class: `curve ${name}`, points: path(points) }));
  const band = ({ svg }, name, points) => svg.append(draw("polygon", { class: `band ${name}`, points: path(points) }));

  return { draw, frame, bars, curve, band };
})();
