// The grid of all tasks, a cell each. Only cells that have changed are drawn again.

import { announce, colour, h } from "./dom.js";
import { STATES, kind } from "./format.js";

const MOST = 440; // pixels of height that all cells together have, if they can
const LARGEST = 18;
const SMALLEST = 2;

export class Grid {
  // open: is called with a task's number.
  constructor(open) {
    this.open = open;
    this.numbers = [];
    this.places = new Map();
    this.cells = [];
    this.dirty = new Set();
    this.only = null;
    this.at = 0;
    this.frames = [];
    this.canvas = h("canvas", {
      tabindex: "0", role: "application",
      "aria-label": "Grid of tasks. Arrow keys move from task to task, Enter opens one, f goes to the next that failed.",
    });
    this.tip = h("div", { class: "tip", hidden: true });
    this.element = h("div", { class: "grid" }, this.canvas, this.tip);
    this.context = this.canvas.getContext("2d", { alpha: false });
    this.canvas.addEventListener("mousemove", (event) => this.hover(event));
    this.canvas.addEventListener("mouseleave", () => { this.tip.hidden = true; });
    this.canvas.addEventListener("click", (event) => {
      const at = this.under(event);
      if (at !== null) { this.move(at); this.open(this.numbers[at]); }
    });
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.canvas.addEventListener("focus", () => this.move(this.at));
    this.canvas.addEventListener("blur", () => { this.touch(this.at); this.tip.hidden = true; });
    this.observer = new ResizeObserver(() => this.layout());
    this.observer.observe(this.element);
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.repaint = () => this.layout(true);
    this.scheme.addEventListener("change", this.repaint);
  }

  close() {
    this.observer.disconnect();
    this.scheme.removeEventListener("change", this.repaint);
  }

  fill(numbers, letters) {
    this.numbers = numbers;
    this.places = new Map(numbers.map((number, at) => [number, at]));
    this.cells = [...letters];
    this.at = Math.min(this.at, Math.max(0, numbers.length - 1));
    this.layout(true);
  }

  set(number, letter) {
    const at = this.places.get(number);
    if (at !== undefined && this.cells[at] !== letter) {
      this.cells[at] = letter;
      this.touch(at);
    }
  }

  counts() {
    const found = {};
    for (const letter of this.cells) {
      const state = STATES[letter.toLowerCase()];
      found[state] = (found[state] ?? 0) + 1;
    }
    return found;
  }

  highlight(state) {
    this.only = state;
    this.layout(true);
  }

  touch(at) {
    this.dirty.add(at);
    if (this.due === undefined) this.due = requestAnimationFrame(() => this.draw());
  }

  layout(anew = false) {
    const width = this.element.clientWidth, total = this.numbers.length;
    if (!width || !total) return;
    const ratio = window.devicePixelRatio || 1;
    let size = Math.floor(Math.sqrt((width * MOST) / total));
    size = Math.max(SMALLEST, Math.min(LARGEST, size));
    const columns = Math.max(1, Math.floor(width / size)), rows = Math.ceil(total / columns);
    const place = [size, columns, ratio, rows].join();
    if (place === this.place && !anew) return;
    this.place = place;
    Object.assign(this, { size, columns, ratio });
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(rows * size * ratio);
    this.canvas.style.height = `${rows * size}px`;
    this.colours = {};
    for (const state of Object.values(STATES)) this.colours[state] = colour(kind(state));
    this.background = colour("surface");
    this.ring = colour("text");
    this.context.fillStyle = this.background;
    this.context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    for (let at = 0; at < total; at++) this.dirty.add(at);
    if (this.due === undefined) this.due = requestAnimationFrame(() => this.draw());
  }

  draw() {
    const begun = performance.now();
    this.due = undefined;
    const { context, size, columns, ratio, cells } = this;
    if (!size) return;
    const gap = size >= 10 ? 2 : size >= 4 ? 1 : 0, radius = size >= 12 ? 2 * ratio : 0;
    const byState = new Map();
    for (const at of this.dirty) {
      const letter = cells[at];
      if (letter === undefined) continue;
      if (!byState.has(letter)) byState.set(letter, []);
      byState.get(letter).push(at);
    }
    this.dirty.clear();
    for (const [letter, places] of byState) {
      const state = STATES[letter.toLowerCase()];
      const retried = letter !== letter.toLowerCase() && size >= 8;
      const faint = this.only !== null && this.only !== state;
      if (!gap && !faint && places.length > 1) {
        this.runs(places, state);
        continue;
      }
      for (const at of places) {
        const x = Math.round((at % columns) * size * ratio), y = Math.round(Math.floor(at / columns) * size * ratio);
        const side = Math.round((size - gap) * ratio);
        if (gap || faint) {
          context.fillStyle = this.background;
          context.fillRect(x, y, Math.round(size * ratio), Math.round(size * ratio));
        }
        context.globalAlpha = faint ? 0.14 : 1;
        context.fillStyle = this.colours[state];
        if (radius) {
          context.beginPath();
          context.roundRect(x, y, side, side, radius);
          context.fill();
        } else context.fillRect(x, y, side, side);
        if (size >= 8 && state === "failed") this.cross(x, y, side);
        if (retried && state !== "failed") {
          context.fillStyle = this.background;
          context.fillRect(x + side - 3 * ratio, y, 3 * ratio, 3 * ratio);
        }
        context.globalAlpha = 1;
        if (at === this.at && document.activeElement === this.canvas) {
          context.strokeStyle = this.ring;
          context.lineWidth = 2 * ratio;
          const inset = Math.min(ratio, side / 4);
          context.strokeRect(x + inset, y + inset, Math.max(side - 2 * inset, 1), Math.max(side - 2 * inset, 1));
        }
      }
    }
    this.frames.push(performance.now() - begun);
    if (this.frames.length > 500) this.frames.shift();
  }

  // Cells without gaps between them: those that lie side by side are one rectangle.
  runs(places, state) {
    const { context, size, columns, ratio } = this;
    places.sort((one, other) => one - other);
    context.fillStyle = this.colours[state];
    for (let index = 0; index < places.length; ) {
      const first = places[index];
      let last = first;
      while (places[index + 1] === last + 1 && (last + 1) % columns) { last += 1; index += 1; }
      index += 1;
      const x = Math.round((first % columns) * size * ratio), y = Math.round(Math.floor(first / columns) * size * ratio);
      context.fillRect(x, y, Math.round((last - first + 1) * size * ratio), Math.round(size * ratio));
    }
  }

  cross(x, y, side) {
    const { context, ratio } = this, inset = side * 0.3;
    context.strokeStyle = this.background;
    context.lineWidth = Math.max(1, 1.5 * ratio);
    context.beginPath();
    context.moveTo(x + inset, y + inset);
    context.lineTo(x + side - inset, y + side - inset);
    context.moveTo(x + side - inset, y + inset);
    context.lineTo(x + inset, y + side - inset);
    context.stroke();
  }

  under(event) {
    if (!this.size) return null;
    const column = Math.floor(event.offsetX / this.size), row = Math.floor(event.offsetY / this.size);
    const at = row * this.columns + column;
    return column < this.columns && at < this.numbers.length ? at : null;
  }

  describe(at) {
    const letter = this.cells[at];
    const again = letter !== letter.toLowerCase() ? ", tried more than once" : "";
    return `Task ${this.numbers[at]}: ${STATES[letter.toLowerCase()]}${again}`;
  }

  hover(event) {
    const at = this.under(event);
    if (at === null) { this.tip.hidden = true; return; }
    this.show(at);
  }

  show(at) {
    this.tip.textContent = this.describe(at);
    this.tip.hidden = false;
    const x = (at % this.columns) * this.size, y = Math.floor(at / this.columns) * this.size;
    const right = x > this.element.clientWidth - 220;
    this.tip.style.left = right ? "auto" : `${x + this.size + 6}px`;
    this.tip.style.right = right ? `${this.element.clientWidth - x + 6}px` : "auto";
    this.tip.style.top = `${Math.max(0, y - 8)}px`;
  }

  move(at) {
    if (!this.numbers.length) return;
    const before = this.at;
    this.at = Math.max(0, Math.min(this.numbers.length - 1, at));
    this.touch(before);
    this.touch(this.at);
    this.show(this.at);
    announce(this.describe(this.at));
  }

  key(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in steps) {
      const to = this.at + steps[event.key];
      if (to >= 0 && to < this.numbers.length) this.move(to);
    } else if (event.key === "Home") this.move(0);
    else if (event.key === "End") this.move(this.numbers.length - 1);
    else if (event.key === "Enter" || event.key === " ") this.open(this.numbers[this.at]);
    else if (event.key === "f") {
      const total = this.cells.length;
      for (let step = 1; step <= total; step++) {
        const at = (this.at + step) % total;
        if (this.cells[at].toLowerCase() === "f") { this.move(at); break; }
      }
    } else return;
    event.preventDefault();
  }
}
