// All jobs, the latest first.

import { follow } from "./api.js";
import { h } from "./dom.js";
import { count, price, seconds, when } from "./format.js";

export function meter(status) {
  const part = (name, number) =>
    h("i", { class: name, style: { width: `${(100 * number) / Math.max(status.tasks, 1)}%` } });
  const text = `${status.done} done, ${status.failed} failed, ${status.active} active of ${status.tasks}`;
  return h("div", { class: "meter", role: "img", "aria-label": text },
    part("done", status.done), part("failed", status.failed), part("active", status.active));
}

export function chip(state) {
  return h("span", { class: `chip ${state}` }, state);
}

export function jobsView(main, status) {
  const jobs = new Map(), rows = new Map();
  const body = h("tbody");
  const head = ["Job", "State", "Progress", "Tasks", "Failed", "Workers", "Time", "Cost", "Submitted"];
  const numeric = new Set(["Tasks", "Failed", "Workers", "Time", "Cost"]);
  const table = h("table", { class: "jobs" },
    h("thead", null, h("tr", null, head.map((name) =>
      h("th", { scope: "col", class: numeric.has(name) ? "number" : null }, name)))), body);
  const none = h("p", { class: "muted pad" }, "No jobs yet. `mu run` and `mu map` begin one.");
  const card = h("section", { class: "card scroll", hidden: true, tabindex: "0", "aria-label": "Jobs" }, table);
  document.title = "Jobs · mu";
  main.replaceChildren(h("div", { class: "head" }, h("div", null, h("h1", null, "Jobs"))), card, none);

  function row(job) {
    const cost = price(job.cost);
    const took = (job.ended ?? Date.now() / 1000) - job.submitted;
    return h("tr", null,
      h("td", { class: "name" }, h("a", { href: `#/jobs/${encodeURIComponent(job.job)}` }, job.job)),
      h("td", null, chip(job.state)),
      h("td", null, meter(job)),
      h("td", { class: "number" }, count(job.tasks)),
      h("td", { class: "number" }, ["cancelled", "interrupted"].includes(job.state) ? "–" : count(job.failed)),
      h("td", { class: "number" }, job.workers ? count(job.workers) : "–"),
      h("td", { class: "number" }, job.ended || job.state === "running" ? seconds(Math.max(0, took)) : "–"),
      h("td", { class: "number" }, !cost ? "–" : cost.unit ? [cost.amount, h("span", { class: "unit" }, ` ${cost.unit}`)] : cost.text),
      h("td", { class: "muted" }, when(job.submitted)));
  }

  function draw(changed) {
    for (const job of changed) {
      const fresh = row(job);
      if (rows.has(job.job)) {
        const focused = rows.get(job.job).contains(document.activeElement);
        rows.get(job.job).replaceWith(fresh);
        if (focused) fresh.querySelector("a").focus();
      }
      rows.set(job.job, fresh);
    }
    const order = [...jobs.values()].sort((a, b) =>
      (b.state === "running") - (a.state === "running") || b.submitted - a.submitted);
    order.forEach((job, at) => {
      if (body.children[at] !== rows.get(job.job)) body.insertBefore(rows.get(job.job), body.children[at] ?? null);
    });
    card.hidden = !jobs.size;
    none.hidden = Boolean(jobs.size);
  }

  return follow(["stream"], (kind, data) => {
    if (kind !== "jobs") return;
    if (data.whole) {
      jobs.clear();
      rows.clear();
      body.replaceChildren();
    }
    for (const name of data.gone) {
      jobs.delete(name);
      rows.get(name)?.remove();
      rows.delete(name);
    }
    for (const job of data.jobs) jobs.set(job.job, job);
    draw(data.jobs);
  }, status);
}
