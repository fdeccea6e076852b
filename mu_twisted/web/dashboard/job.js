// One job: its counts, the grid of its tasks, what failed, and where the time goes.

import { follow, get, paced, post } from "./api.js";
import { chartKey, countsChart, gantt, linksMatrix, rateChart, stageGraph } from "./charts.js";
import { announce, h } from "./dom.js";
import { DATA, ORDER, bytes, called, count, counted, exit, kind, numbers, price, seconds, timeLeft, when } from "./format.js";
import { Grid } from "./grid.js";
import { chip, meter } from "./jobs.js";
import { Panel } from "./story.js";

const LOOK = 3000; // milliseconds between two looks at the timeline of a job that runs
const LONG_LOOK = 15000; // the same, of one with very many attempts
const MANY = 20000;
const REASONS = 8; // that are shown at once
const SLOW = 6; // of the slowest attempts

// Seconds that attempts took that were done, in the middle; null where there are few, or so many that it takes long.
function medianOf({ attempts, outcomes }) {
  if (attempts.task.length > MANY) return null;
  const done = outcomes.indexOf("done"), took = [];
  attempts.outcome.forEach((outcome, index) => { if (outcome === done) took.push(attempts.end[index] - attempts.begin[index]); });
  return took.length < 3 ? null : took.sort((one, other) => one - other)[(took.length - 1) >> 1];
}

export function jobView(name, main, status) {
  document.title = `${name} · mu`;
  const panel = new Panel(name);
  const open = (task) => panel.open(task);
  const grid = new Grid(open);
  const samples = [], small = matchMedia("(max-width: 520px)");
  let job = null, skew = 0, timeline = null, failuresOf = null, shownReasons = REASONS, closed = false;

  const title = h("h1", null, name, chip("running"));
  const subtitle = h("p", { class: "muted" });
  const cancel = h("button", { type: "button", class: "danger", hidden: true, onclick: () => change("cancel", "Cancel this job and end all its workers?") }, "Cancel job");
  const retry = h("button", { type: "button", hidden: true, onclick: () => change("retry") }, "Retry failed");
  const said = h("p", { class: "note error", role: "alert", hidden: true });
  const facts = h("dl", { class: "facts" });
  const bar = h("div");
  const notes = h("div");
  const legend = h("div", { class: "legend" });
  const find = h("input", { type: "text", inputmode: "numeric", "aria-label": "Number of a task", placeholder: "number" });
  const finder = h("form", { class: "find right", onsubmit: (event) => {
    event.preventDefault();
    const task = Number(find.value);
    if (find.value !== "" && grid.places.has(task)) open(task);
    else announce(`There is no task ${find.value}`);
  } }, h("span", { "aria-hidden": "true" }, "Task"), find, h("button", { type: "submit" }, "Open"));
  const failures = h("div");
  const failureCard = h("section", { class: "card", id: "failures", hidden: true }, h("header", null, h("h2", null, "What failed"), h("span", { class: "muted" })), failures);
  const figure = (label, kind = "") => h("figure", { class: `chart ${kind}`, tabindex: "0", role: "group", "aria-label": label });
  const counts = figure("Tasks over time"), rates = figure("Rate and cost");
  const time = figure("Timeline", "wide"), timeNote = h("span", { class: "muted" });
  const timeCard = h("section", { class: "card", hidden: true }, h("header", null, h("h2", null, "Timeline"), timeNote), time);
  const stages = h("div", { class: "stages", tabindex: "0", role: "group", "aria-label": "Stages" });
  const stageCard = h("section", { class: "card", hidden: true }, h("header", null, h("h2", null, "Stages"), h("span", { class: "muted" }, "each behind those that it comes after, or takes messages of")), stages);
  const slow = h("tbody"), slowHead = h("tr");
  const slowCard = h("section", { class: "card scroll", hidden: true, tabindex: "0", "aria-label": "The slowest attempts" }, h("header", null, h("h2", null, "Slowest")), h("table", { class: "slow" },
    h("thead", null, slowHead), slow));
  const links = h("figure", { class: "chart", style: { maxWidth: "520px" } });
  const linkCard = h("section", { class: "card", hidden: true }, h("header", null, h("h2", null, "Links"), h("span", { class: "muted" })), links);
  const overTime = h("div", { class: "two", hidden: true },
    h("section", { class: "card" }, h("header", null, h("h2", null, "Tasks over time")), counts),
    h("section", { class: "card" }, h("header", null, h("h2", null, "Rate and cost")), rates));

  main.replaceChildren(
    h("div", { class: "head" }, h("div", null, h("a", { class: "back", href: "#/" }, "← All jobs"), title, subtitle), h("div", { class: "actions" }, retry, cancel)),
    said,
    h("section", { class: "card", "aria-label": "Summary" }, facts, bar, notes),
    h("section", { class: "card" }, h("header", null, h("h2", null, "Tasks"), finder), legend, grid.element),
    failureCard, slowCard, overTime, timeCard, stageCard, linkCard, panel.dialog);

  async function change(what, question, tasks) {
    if (question && !window.confirm(question)) return;
    said.hidden = true;
    for (const button of [cancel, retry]) button.disabled = true;
    try {
      await post(["jobs", name, what], tasks && { tasks });
      announce(what === "cancel" ? "The job is cancelled" : "Failed tasks run again");
    } catch (error) {
      said.textContent = error.message;
      said.hidden = false;
    }
    for (const button of [cancel, retry]) button.disabled = false;
  }

  function fact(name, value, more = "", bad = false) {
    return h("div", { class: bad ? "bad" : null }, h("dt", null, name), h("dd", null, value, h("small", null, more)));
  }

  function rate() {
    const last = samples.at(-1), first = samples.find((one) => one.at >= (last?.at ?? 0) - 10);
    return last && first && last.at - first.at > 1 ? Math.max(0, (last.ended - first.ended) / (last.at - first.at)) : null;
  }

  function summary() {
    const running = job.state === "running", over = ["cancelled", "interrupted"].includes(job.state);
    const now = Date.now() / 1000 + skew, took = Math.max(0, (job.ended ?? now) - job.submitted), ended = job.done + job.failed;
    title.replaceChildren(name, chip(job.state));
    subtitle.textContent = `${job.pipeline}, submitted ${when(job.submitted)}`;
    cancel.hidden = !running && job.state !== "held";
    retry.hidden = running || !(job.failed || job.state === "held");
    retry.textContent = job.state === "held" ? "Let it go on" : over ? "Run what is left" : "Retry all that failed";
    const list = [
      fact("Done", count(job.done), `of ${count(job.tasks)}${job.skipped ? `, ${count(job.skipped)} skipped` : ""}`),
      fact(over ? "Not done" : "Failed", count(job.failed), job.failed && job.tasks && !over ? `${((100 * job.failed) / job.tasks).toFixed(job.failed * 100 < job.tasks ? 1 : 0)} %` : "", job.failed > 0 && !over),
    ];
    if (running) {
      const left = timeLeft(job, ended), speed = rate();
      list.push(fact("Active", count(job.active), `${counted(job.workers, "worker")}${job.launches ? `, ${count(job.launches)} to come` : ""}`));
      list.push(fact("Waiting", count(job.waiting)));
      list.push(fact("Rate", speed === null ? "–" : `${speed > 0 && speed < 10 ? speed.toFixed(1) : count(Math.round(speed))}/s`, job.median ? `${seconds(job.median)} each, median` : ""));
      list.push(fact("Time left", left === null ? "–" : `${left < 10 ? seconds(left) : seconds(Math.round(left))}`, left === null ? "not known yet" : "about"));
    }
    list.push(fact("Time", job.ended || running ? seconds(took) : "–", job.ramp ? `all workers after ${seconds(job.ramp)}` : ""));
    const cost = price(job.cost);
    if (cost) list.push(fact("Cost", cost.amount, cost.more));
    const moved = job.bytes ?? {};
    if (moved.uploaded || moved.retrieved) list.push(fact("Stored in S3", bytes(moved.uploaded), `${bytes(moved.retrieved)} fetched`));
    if (moved.sent || moved.received) list.push(fact("Sent to tasks", bytes(moved.sent), `${bytes(moved.received)} received`));
    facts.replaceChildren(...list);
    bar.replaceChildren(meter(job));
    notes.replaceChildren(...["error", "note", "report"].filter((key) => job[key]).map((key) =>
      h("p", { class: key === "error" ? "note error" : "note" }, job[key])));
  }

  function keys() {
    const found = grid.counts(), shown = ORDER.filter((state) => found[state]);
    const wanted = shown.map((state) => `${state} ${found[state]}`).join() + grid.only;
    if (legend.dataset.of === wanted) return;
    const focused = document.activeElement?.dataset?.state;
    legend.dataset.of = wanted;
    legend.replaceChildren(...shown.map((state) => h("button", {
      type: "button", "aria-pressed": String(grid.only === state), "data-state": state,
      onclick: () => { grid.highlight(grid.only === state ? null : state); keys(); },
    }, h("i", { class: `swatch ${kind(state)}` }), h("b", null, count(found[state])), state)));
    if (focused) legend.querySelector(`[data-state="${focused}"]`)?.focus();
  }

  async function showFailures() {
    if (closed || !job) return;
    const key = `${job.state} ${job.failed}`;
    if (failuresOf === key) return;
    failuresOf = key;
    if (!job.failed) { failureCard.hidden = true; return; }
    try {
      drawFailures(await get(["jobs", name, "failures"]));
    } catch {
      failuresOf = null;
      failuresLater(LOOK);
    }
  }

  function drawFailures(found) {
    failureCard.hidden = !found.groups.length;
    const reasons = found.groups.length + found.more;
    failureCard.querySelector("header .muted").textContent = reasons === 1 ? "one reason" : `${count(reasons)} reasons, the most frequent first`;
    const isOver = job.state !== "running";
    failures.replaceChildren(...found.groups.slice(0, shownReasons).map((group) => {
      const [first, ...rest] = (group.sample.error ?? group.reason).split("\n");
      const where = group.tasks.slice(0, 8).join(", ") + (group.tasks.length > 8 ? ", …" : "");
      const named = Object.entries(group.labels), others = group.count - named.length;
      const number = counted(group.count, "task");
      const [least, most] = group.attempts;
      const attempts = !most ? "did not begin" : `after ${least === most ? counted(most, "attempt") : `${least} to ${most} attempts`}`;
      const text = group.output ?? rest.join("\n");
      return h("div", { class: "reason" },
        h("div", null,
          h("div", { class: "what" }, h("h3", null, first),
            h("p", { class: "muted" }, `${number} ${attempts}: ${where}`),
            named.length ? h("p", { class: "inputs" }, named.map(([task, label]) =>
              h("button", { type: "button", class: "quiet", title: `Task ${task}`, onclick: () => open(Number(task)) }, label)),
              others ? h("span", { class: "muted" }, `and ${count(others)} more`) : null) : null),
          h("button", { type: "button", disabled: !isOver, title: isOver ? null : "A job's tasks are retried once it is over",
            onclick: () => change("retry", null, group.tasks) }, group.count === 1 ? "Retry it" : `Retry these ${count(group.count)}`)),
        text ? h("pre", { tabindex: "0", "aria-label": `What task ${group.sample.task} printed` }, text) : null,
        h("p", { class: "muted", style: { display: "flex", alignItems: "center", gap: "8px", flexWrap: "wrap" } },
          text ? h("span", null, `The end of what ${called(group.sample.task, group.sample.label)} printed${group.status === null ? "" : `, ${exit(group.status)}`}.`) : null,
          h("button", { type: "button", class: "quiet", onclick: () => open(group.sample.task) }, `Open task ${group.sample.task}`)));
    }));
    if (found.groups.length > shownReasons) {
      failures.append(h("button", { type: "button", class: "quiet", onclick: () => { shownReasons = Infinity; drawFailures(found); } },
        `${count(reasons - shownReasons)} more reasons`));
    }
  }

  async function showTime() {
    if (closed || document.hidden) return;
    try {
      timeline = await get(["jobs", name, "timeline"]);
    } catch { return; }
    if (closed) return;
    const began = timeline.attempts.task.length > 0;
    overTime.hidden = timeCard.hidden = slowCard.hidden = !began;
    if (began) drawTime();
  }

  function drawTime() {
    if (closed || !timeline || overTime.hidden) return;
    const failed = timeline.series.failed.some((number) => number > 0);
    counts.replaceChildren(countsChart(timeline, small.matches), chartKey(["done", "done"], ...(failed ? [["failed", "failed"]] : []), ["active", `active, at most ${count(Math.max(...timeline.series.active))}`]));
    const cost = job?.cost;
    rates.replaceChildren(rateChart(timeline, cost, small.matches), chartKey(["done", "tasks ended a second"], ...(cost?.price ? [["backing-off", `cost, ${price(cost).text} so far`]] : [])));
    const drawn = gantt(timeline, open);
    time.replaceChildren(drawn.drawing, drawn.key);
    timeNote.textContent = (drawn.shown < drawn.of ? `${drawn.shown} of ${count(drawn.of)} tasks: ${timeline.path.length ? "the critical path, " : ""}those that failed, the slowest` : "a row for each task") +
      (timeline.path.length ? "; the line is the critical path" : "");
    stageCard.hidden = timeline.stages.length < 2;
    const failedWord = ["cancelled", "interrupted"].includes(job?.state) ? "not" : "failed";
    stages.replaceChildren(stageGraph(timeline.stages, (stage) => [
      h("span", { class: "muted" }, `${count(stage.done)} of ${count(stage.count)} done${stage.failed ? `, ${count(stage.failed)} ${failedWord}` : ""}`),
      meter({ tasks: stage.count, done: stage.done, failed: stage.failed, active: 0 }),
      h("span", { class: "muted" }, stage.begin === null ? "not begun" : `${seconds(stage.begin)} to ${seconds(stage.end)}`)]));
    const { attempts } = timeline, usual = medianOf(timeline), slowest = timeline.slowest.slice(0, SLOW);
    const moved = slowest.map((index) => timeline.bytes[index]);
    const kinds = Object.keys(DATA).filter((kind) => moved.some((one) => one?.[kind]));
    slowHead.replaceChildren(...["Task", "Attempt, from 0", "State", "Began at", ...kinds.map((kind) => DATA[kind]), "Took"].map((text, at, all) =>
      h("th", { scope: "col", class: at === 0 ? "" : at < 3 ? "extra" : at < all.length - 1 ? "number extra" : "number" }, text)));
    slow.replaceChildren(...slowest.map((index, at) => {
      const task = attempts.task[index], took = (attempts.end[index] ?? timeline.now) - attempts.begin[index];
      return h("tr", null,
        h("td", { class: "name" }, h("button", { type: "button", class: "quiet", style: { paddingLeft: "0" }, onclick: () => open(task) }, called(task, timeline.labels[task]))),
        h("td", { class: "extra" }, String(attempts.attempt[index])), h("td", { class: "extra" }, timeline.outcomes[attempts.outcome[index]]),
        h("td", { class: "number extra" }, seconds(attempts.begin[index])),
        kinds.map((kind) => h("td", { class: "number extra" }, moved[at] ? bytes(moved[at][kind]) : "–")),
        h("td", { class: "number" }, seconds(took), usual && took >= 2 * usual ? h("small", null, `${count(Math.round(took / usual))} × the median`) : null));
    }));
    linkCard.hidden = !timeline.links.length;
    if (timeline.links.length) {
      linkCard.querySelector("header .muted").textContent = `${count(timeline.link_count)} pairs of tasks of which one sends the other messages${timeline.links.length < timeline.link_count ? `, ${count(timeline.links.length)} of them drawn` : ""}`;
      links.replaceChildren(linksMatrix(timeline));
    }
  }

  const failuresLater = paced(showFailures);
  const timeLater = paced(async () => {
    await Promise.all([showTime(), panel.refresh()]);
    if (job?.state === "running") timeLater(timeline?.attempts.task.length > MANY ? LONG_LOOK : LOOK);
  });
  function lookNow() {
    failuresLater(0);
    timeLater(0);
  }

  function take(kindOfEvent, data) {
    if (kindOfEvent === "gone") {
      main.replaceChildren(h("p", { class: "muted pad" }, `Job ${name} was removed. `, h("a", { href: "#/" }, "All jobs")));
      return;
    }
    if (kindOfEvent !== "snapshot" && kindOfEvent !== "delta") return;
    const before = job?.state, failed = job?.failed;
    job = data.status;
    skew = data.now - Date.now() / 1000;
    if (kindOfEvent === "snapshot") grid.fill([...numbers(data.tasks)], data.cells);
    else for (const [letter, tasks] of Object.entries(data.cells)) for (const task of numbers(tasks)) grid.set(task, letter);
    samples.push({ at: data.now, ended: job.done + job.failed });
    if (samples.length > 240) samples.shift();
    summary();
    keys();
    if (before !== job.state) {
      if (before) announce(`The job is ${job.state}`);
      lookNow();
    } else if (failed !== job.failed) failuresLater(500);
  }

  const ticking = setInterval(() => { if (job?.state === "running") summary(); }, 1000);
  const stop = follow(["jobs", name, "stream"], take, status);
  const shown = () => { if (!document.hidden) lookNow(); };
  document.addEventListener("visibilitychange", shown);
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", shown);
  small.addEventListener("change", drawTime);
  window.muGrid = grid; // for measurements of how long drawing takes
  return () => {
    closed = true;
    stop();
    clearInterval(ticking);
    failuresLater.end();
    timeLater.end();
    document.removeEventListener("visibilitychange", shown);
    scheme.removeEventListener("change", shown);
    small.removeEventListener("change", drawTime);
    grid.close();
    if (panel.dialog.open) panel.dialog.close();
  };
}
