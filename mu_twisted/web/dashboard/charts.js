// A job over time: how many tasks stood where, a Gantt chart, and who sends messages to whom.

import { colour, h, s } from "./dom.js";
import { called, count, counted, kind, seconds } from "./format.js";

const ROWS = 60; // tasks that the Gantt chart shows
const COLOURS = ["#2a7fd4", "#7bb8ee", "#0a8f6c", "#b07aa1", "#e0a100", "#5a6f8c"];
const OTHER = "#9aa4b3";

function ticks(span) {
  let step = 10 ** Math.ceil(Math.log10(Math.max(span, 1e-3)));
  for (const part of [2, 2.5, 2]) if (span / step < 4) step /= part;
  if (span / step < 4) step /= 2;
  const found = [];
  for (let at = 0; at <= span + 1e-9 && found.length < 10; at += step) found.push(at);
  return found;
}

const mark = (at) => `${Number(at.toPrecision(3))} s`;
const moment = (at) => (at < 600 ? mark(at) : seconds(at));

function frame(width, height, label, children) {
  return s("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, children);
}

function steps(series, values, across, down) {
  const points = [`${across(0)},${down(0)}`];
  values.forEach((value, index) => points.push(`${across((index + 1) * series.step).toFixed(1)},${down(value).toFixed(1)}`));
  return points;
}

function axes(width, height, left, bottom, span, top, most, unit, right = null) {
  const parts = [];
  for (const share of [0, 0.5, 1]) {
    const y = top + (height - top - bottom) * (1 - share);
    parts.push(s("line", { class: "line", x1: left, x2: width, y1: y, y2: y }));
    parts.push(s("text", { x: left - 8, y: y + 4, "text-anchor": "end" }, unit(most * share)));
    if (right !== null) parts.push(s("text", { class: "right", x: width + 8, y: y + 4 }, count(Number((right * share).toFixed(right < 10 ? 1 : 0)))));
  }
  const marks = ticks(span);
  for (const at of marks) {
    const x = left + (at / span) * (width - left);
    if (x > width - 16 || (width < 400 && marks.length > 4 && marks.indexOf(at) % 2)) continue;
    parts.push(s("text", { x, y: height - 4, "text-anchor": at === 0 ? "start" : "middle" }, moment(at)));
  }
  return parts;
}

// Tasks done and failed as areas with their scale on the left, attempts under way as a line with theirs on the right.
export function countsChart(timeline, narrow) {
  const width = narrow ? 256 : 516, height = 220, left = 44, bottom = 24, top = 10, margin = 44;
  const { series } = timeline, span = Math.max(timeline.now, 1e-3), tasks = Math.max(timeline.tasks, 1);
  const most = Math.max(1, ...series.active);
  const across = (at) => left + Math.min(at / span, 1) * (width - left);
  const down = (scale) => (value) => top + (height - top - bottom) * (1 - value / scale);
  const both = series.done.map((value, index) => value + series.failed[index]);
  const area = (values, name) => s("polygon", {
    points: [...steps(series, values, across, down(tasks)), `${across(span)},${down(tasks)(values.at(-1) ?? 0)}`,
      `${across(span)},${down(tasks)(0)}`].join(" "), fill: colour(name), opacity: 0.9,
  });
  return frame(width + margin, height, `Tasks over time: ${series.done.at(-1)} done, ${series.failed.at(-1)} failed, at most ${most} active`, [
    ...axes(width, height, left, bottom, span, top, tasks, (value) => count(Math.round(value)), most),
    area(both, "failed"), area(series.done, "done"),
    s("polyline", { points: steps(series, series.active, across, down(most)).join(" "), fill: "none",
      stroke: colour("surface"), "stroke-width": 4, opacity: 0.7 }),
    s("polyline", { points: steps(series, series.active, across, down(most)).join(" "), fill: "none",
      stroke: colour("active"), "stroke-width": 2 }),
  ]);
}

// Tasks ended a second, and cost so far, as lines.
export function rateChart(timeline, cost, narrow) {
  const width = narrow ? 300 : 560, height = 220, left = 56, bottom = 24, top = 10;
  const { series } = timeline, span = Math.max(timeline.now, 1e-3);
  const window = Math.max(Math.ceil(1 / series.step), Math.round(series.done.length / 40)); // a second at least
  const ended = series.done.map((value, index) => value + series.failed[index]);
  if (!timeline.over) ended.pop(); // a span that has just begun says nothing of the rate
  const rates = ended.map((value, index) => {
    const from = Math.max(-1, index - window);
    return Math.max(0, (value - (from < 0 ? 0 : ended[from])) / ((index - from) * series.step));
  });
  const most = Math.max(0.1, ...rates), used = Math.max(...series.used, 1e-9);
  const across = (at) => left + Math.min(at / span, 1) * (width - left);
  const down = (scale) => (value) => top + (height - top - bottom) * (1 - value / scale);
  const parts = [
    ...axes(width, height, left, bottom, span, top, most, (value) => `${value === 0 ? 0 : value < 10 ? value.toFixed(1) : count(Math.round(value))}/s`),
    s("polyline", { points: steps(series, rates, across, down(most)).join(" "), fill: "none", stroke: colour("done"), "stroke-width": 2 }),
  ];
  if (cost && cost.price) {
    parts.push(s("polyline", { points: steps(series, series.used, across, down(used)).join(" "), fill: "none",
      stroke: colour("backing-off"), "stroke-width": 2, "stroke-dasharray": "5 3" }));
  }
  return frame(width, height, `Rate over time, at most ${most.toFixed(1)} tasks a second`, parts);
}

export function chartKey(...entries) {
  return h("p", { class: "muted", style: { fontSize: "13px", display: "flex", gap: "16px", flexWrap: "wrap" } },
    entries.map(([name, text]) => h("span", { style: { display: "inline-flex", gap: "6px", alignItems: "center" } },
      h("i", { class: "swatch", style: { background: colour(name) } }), text)));
}

function chosen(timeline, spans) {
  if (spans.size <= ROWS) return [...spans.keys()];
  const long = (task) => { const last = spans.get(task).at(-1); return last.end - last.begin; };
  const path = timeline.path.map((one) => one.task).filter((task) => spans.has(task)).slice(-ROWS / 2);
  const failed = [...spans.keys()].filter((task) => spans.get(task).at(-1).outcome === "failed").slice(0, ROWS / 3);
  const slow = [...spans.keys()].sort((a, b) => long(b) - long(a));
  return [...new Set([...path, ...failed, ...slow])].slice(0, ROWS);
}

// A row for each task, a bar for each attempt or its states, and the critical path as a line.
export function gantt(timeline, open) {
  const { attempts, outcomes, now } = timeline, spans = new Map();
  const states = new Map(timeline.states.map((one) => [`${one.task}.${one.attempt}`, one.states]));
  attempts.task.forEach((task, index) => {
    if (!spans.has(task)) spans.set(task, []);
    spans.get(task).push({
      attempt: attempts.attempt[index], begin: attempts.begin[index], end: attempts.end[index] ?? now,
      outcome: outcomes[attempts.outcome[index]],
    });
  });
  const tasks = chosen(timeline, spans).sort((a, b) => spans.get(a)[0].begin - spans.get(b)[0].begin || a - b);
  const bars = new Map(), took = new Map(), asOutcome = new Set();
  for (const task of tasks) {
    const row = [];
    for (const one of spans.get(task).slice(-30)) {
      const known = states.get(`${task}.${one.attempt}`) ?? [];
      if (known.length < 2) {
        row.push({ begin: one.begin, end: one.end, name: one.outcome });
        asOutcome.add(one.outcome);
      } else known.forEach(([begin, name], index) =>
        row.push({ begin, end: Math.max(begin, known[index + 1]?.[0] ?? one.end), name }));
    }
    bars.set(task, row);
    for (const bar of row) took.set(bar.name, (took.get(bar.name) ?? 0) + bar.end - bar.begin);
  }
  const fixed = { failed: colour("failed"), done: colour("done"), running: colour("active"), withdrawn: OTHER, beaten: OTHER };
  const whole = [...took.values()].reduce((sum, value) => sum + value, 0), colours = new Map();
  const free = COLOURS.filter((one) => ![...asOutcome].some((outcome) => fixed[outcome] === one));
  for (const [name, long] of [...took].sort((a, b) => b[1] - a[1])) {
    if (long < whole * 0.005) break;
    if (asOutcome.has(name)) colours.set(name, fixed[name]);
    else if (free.length) colours.set(name, free.shift());
  }
  if (tasks.some((task) => spans.get(task).some((one) => one.outcome === "failed"))) colours.set("failed", fixed.failed);
  const label = (task) => timeline.labels[task] ?? `task ${task}`;
  const shown = (name) => (name.length > 28 ? `…${name.slice(-27)}` : name);
  const left = Math.min(190, 24 + 6.4 * Math.max(...tasks.map((task) => shown(label(task)).length)));
  const high = tasks.length <= 40 ? 18 : 12, width = 1140, top = 24, span = Math.max(now, 1e-3);
  const height = top + tasks.length * high + 4, across = (at) => left + (Math.min(Math.max(at, 0), span) / span) * (width - left);
  const middle = new Map(tasks.map((task, index) => [task, top + index * high + high / 2]));
  const parts = [];
  for (const at of ticks(span)) {
    const x = across(at);
    parts.push(s("line", { class: "line", x1: x, x2: x, y1: top - 6, y2: height }));
    if (x < width - 16) parts.push(s("text", { x, y: 12, "text-anchor": "middle" }, moment(at)));
  }
  tasks.forEach((task, index) => {
    const y = top + index * high, name = label(task);
    const row = s("g", { style: { cursor: "pointer" }, onclick: () => open(task) }, s("title", null, called(task, timeline.labels[task])),
      s("rect", { x: 0, y, width, height: high, fill: "transparent" }),
      s("text", { class: "name", x: left - 10, y: y + high / 2 + 4, "text-anchor": "end" },
        shown(name)));
    for (const bar of bars.get(task)) {
      row.append(s("rect", { x: across(bar.begin).toFixed(1), y: y + 2, width: Math.max(across(bar.end) - across(bar.begin), 1).toFixed(1),
        height: high - 4, fill: colours.get(bar.name) ?? OTHER, rx: 1 }, s("title", null, `${name}, ${bar.name}: ${seconds(bar.end - bar.begin)}`)));
    }
    for (const one of spans.get(task)) {
      if (one.outcome === "failed") row.append(s("rect", { x: across(one.end) - 2, y: y + 1, width: 4, height: high - 2, fill: fixed.failed }));
    }
    parts.push(row);
  });
  const points = timeline.path.filter((one) => middle.has(one.task))
    .flatMap((one) => [`${across(one.begin).toFixed(1)},${middle.get(one.task)}`, `${across(one.end).toFixed(1)},${middle.get(one.task)}`]);
  if (points.length) {
    parts.push(s("polyline", { points: points.join(" "), fill: "none", stroke: colour("surface"), "stroke-width": 4, opacity: 0.75, "pointer-events": "none" }));
    parts.push(s("polyline", { points: points.join(" "), fill: "none", stroke: colour("text"), "stroke-width": 1.5, "pointer-events": "none" }));
  }
  const drawing = frame(width, height, "Gantt chart of the tasks", parts);
  const key = h("p", { class: "muted", style: { fontSize: "13px", display: "flex", gap: "4px 16px", flexWrap: "wrap" } },
    [...colours].map(([name, fill]) => h("span", { style: { display: "inline-flex", gap: "6px", alignItems: "center" } },
      h("i", { class: "swatch", style: { background: fill } }), name.length > 40 ? `${name.slice(0, 40)}…` : name)));
  return { drawing, key, shown: tasks.length, of: spans.size };
}

const CARD = { width: 172, height: 112, across: 40, down: 16 }; // pixels of a stage and between two, as the style sheet has them

// How far from the left each stage is: behind all that it comes after. A circle, which messages may make, ends somewhere.
function columns(stages) {
  const found = stages.map(() => 0);
  for (let round = 0, moved = true; moved && round < stages.length; round++) {
    moved = false;
    stages.forEach((stage, at) => stage.after.forEach((before) => {
      if (found[at] > found[before] || found[before] + 1 >= stages.length) return;
      found[at] = found[before] + 1;
      moved = true;
    }));
  }
  return found;
}

// The stages as cards, with a line to each from those that it comes after. `card` fills the one of a stage.
export function stageGraph(stages, card) {
  const column = columns(stages), heights = [], row = column.map((at) => (heights[at] = (heights[at] ?? -1) + 1));
  const x = (at) => column[at] * (CARD.width + CARD.across), y = (at) => row[at] * (CARD.height + CARD.down);
  const width = Math.max(...stages.map((_, at) => x(at))) + CARD.width, height = Math.max(...stages.map((_, at) => y(at))) + CARD.height;
  const line = (from, to) => {
    const left = x(from) + CARD.width, right = x(to) - 6, above = y(from) + CARD.height / 2, below = y(to) + CARD.height / 2;
    // One that passes other stages does so below them.
    const bend = Math.abs(column[to] - column[from]) > 1 ? CARD.height * 0.8 : 0;
    return s("path", { d: `M${left} ${above}C${left + CARD.across} ${above + bend} ${right - CARD.across} ${below + bend} ${right} ${below}` });
  };
  const name = (at) => stages[at].name ?? `Stage ${at + 1}`;
  return h("div", { style: { position: "relative", width: `${width}px`, height: `${height + (stages.length > 2 ? CARD.down : 0)}px` } },
    s("svg", { "aria-hidden": "true", width, height: height + CARD.down, viewBox: `0 0 ${width} ${height + CARD.down}` },
      s("defs", null, s("marker", { id: "arrow", viewBox: "0 0 6 6", refX: 1, refY: 3, markerWidth: 7, markerHeight: 7, orient: "auto" }, s("path", { d: "M0 0L6 3L0 6z" }))),
      stages.map((stage, at) => stage.after.map((before) => line(before, at)))),
    h("ul", null, stages.map((stage, at) => h("li", { style: { left: `${x(at)}px`, top: `${y(at)}px` } },
      h("b", { title: name(at) }, name(at)),
      h("span", { class: "unseen" }, stage.after.length ? `after ${stage.after.map(name).join(", ")}` : "comes first"), card(stage)))));
}

// A square for each pair: the sender's row, the receiver's column.
export function linksMatrix(timeline) {
  const ends = [...new Set(timeline.links.flat())].sort((a, b) => a - b), places = new Map(ends.map((task, at) => [task, at]));
  const side = Math.max(2, Math.min(14, Math.floor(400 / Math.max(ends.length, 1)))), size = ends.length * side;
  return frame(size + 60, size + 40, `${counted(timeline.link_count, "link")} between tasks`, [
    s("rect", { x: 50, y: 26, width: size, height: size, fill: colour("sunken") }),
    s("text", { x: 50, y: 14 }, "to task"), s("text", { x: 44, y: 38, "text-anchor": "end" }, "from"),
    timeline.links.map(([sender, receiver]) => s("rect", {
      x: 50 + places.get(receiver) * side, y: 26 + places.get(sender) * side, width: Math.max(side - 1, 1), height: Math.max(side - 1, 1),
      fill: colour("active") }, s("title", null, `task ${sender} sends to task ${receiver}`))),
  ]);
}

export function strip(parts, total) {
  return h("div", { class: "strip", "aria-hidden": "true" }, parts.map(([name, long]) =>
    h("i", { style: { width: `${(100 * long) / Math.max(total, 1e-9)}%`, background: colour(kind(name)) || OTHER } })));
}
