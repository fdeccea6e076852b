// One task from its beginning, in a panel beside the job.

import { get } from "./api.js";
import { h } from "./dom.js";
import { bytes, called, exit, moved, output, seconds, when } from "./format.js";

const WORDS = { running: "running", done: "done", failed: "failed", beaten: "beaten by another attempt", withdrawn: "withdrawn" };

const NO_PATH = {
  edm: "a NAT maps each destination to another port", absent: "the peer was not there yet", limit: "beyond a limit of the rendezvous",
  off: "the rendezvous allows no direct paths", timeout: "the two did not meet in time", refused: "a NAT refused", lost: "the direct path was lost",
  unreachable: "the rendezvous could not be reached",
};

// Which way an attempt's messages went, and why not directly.
function ways(peers) {
  const named = (spans) => `${spans.length > 1 || spans[0].includes("-") ? "tasks" : "task"} ${spans.join(", ")}`;
  return Object.entries(peers).sort(([one], [other]) => (other === "direct") - (one === "direct")).map(([outcome, spans]) =>
    outcome === "direct" ? `directly with ${named(spans)}` : `by the rendezvous with ${named(spans)}: ${NO_PATH[outcome] ?? outcome}`);
}

export class Panel {
  constructor(job) {
    this.job = job;
    this.body = h("div", { class: "inner" });
    this.dialog = h("dialog", { "aria-labelledby": "story-title" }, this.body);
    this.dialog.addEventListener("click", (event) => { if (event.target === this.dialog) this.dialog.close(); });
    this.dialog.addEventListener("close", () => { this.task = null; });
    this.task = null;
  }

  async open(task) {
    this.task = task;
    if (!this.dialog.open) {
      this.body.replaceChildren(this.heading(`Task ${task}`), h("p", { class: "muted" }, "Loading"));
      this.dialog.showModal();
    }
    await this.refresh();
  }

  async refresh() {
    const task = this.task;
    if (task === null) return;
    try {
      const story = await get(["jobs", this.job, "story"], { task });
      if (this.task === task) this.show(story);
    } catch (error) {
      if (this.task === task) this.body.replaceChildren(this.heading(`Task ${task}`), h("p", { class: "note error" }, error.message));
    }
  }

  heading(text) {
    return h("header", null, h("h2", { id: "story-title" }, text),
      h("button", { type: "button", "aria-label": "Close", onclick: () => this.dialog.close() }, "Close"));
  }

  show(story) {
    const { task } = story, last = story.attempts.at(-1);
    const facts = [["State", task.state], ["Attempts", `${task.attempts}${task.attempts ? ", numbered from 0" : ""}`]];
    if (last) facts.push(["Last attempt", `${seconds((last.end ?? story.now) - last.begin)}${last.end === null ? " so far" : ""}`]);
    if (task.stage) facts.push(["Stage", task.stage]);
    if (task.waits) facts.push(["Waits", task.waits]);
    const parts = [this.heading(called(task.task, task.label)),
      h("dl", null, facts.map(([name, value]) => [h("dt", null, name), h("dd", null, value)]))];
    if (task.error) parts.push(h("pre", { tabindex: "0", "aria-label": "Error" }, task.error));
    for (const attempt of [...story.attempts].reverse()) parts.push(this.attempt(story, attempt));
    if (story.before.length) parts.push(this.links("Comes after, or takes messages of", story.before));
    if (story.behind.length) parts.push(this.links("Others that need it", story.behind));
    if (story.moves.length) {
      parts.push(h("section", null, h("h3", null, "Moves"), h("ul", { class: "states" }, story.moves.map(([at, from, to]) =>
        h("li", null, h("span", null, seconds(at)), h("span", null, `${from} → ${to}`))))));
    }
    parts.push(h("p", { class: "muted", style: { fontSize: "13px", marginTop: "16px" } },
      `Times count from ${when(story.submitted)}, when the job was submitted.`));
    this.body.replaceChildren(...parts);
  }

  attempt(story, attempt) {
    const end = attempt.end ?? story.now;
    const runs = story.runs.filter((run) => run.attempt === attempt.attempt);
    const facts = [["Began at", seconds(attempt.begin)], ["Took", seconds(end - attempt.begin)]];
    if (attempt.launch) facts.push(["Worker", `launch ${attempt.launch}`]);
    const messages = ways(attempt.peers);
    if (messages.length) facts.push(["Messages", messages.map((way) => h("div", null, way))]);
    const data = moved(attempt.bytes);
    if (data) facts.push(["Data", data.join(", ")]);
    if (attempt.speculative) facts.push(["Beside", "another that took long"]);
    const states = attempt.states.map(([at, name], index) => [at, name, (attempt.states[index + 1]?.[0] ?? end) - at]);
    return h("section", null,
      h("h3", null, `Attempt ${attempt.attempt}, ${WORDS[attempt.outcome] ?? attempt.outcome}${attempt.status === null ? "" : `, ${exit(attempt.status)}`}`),
      h("dl", null, facts.map(([name, value]) => [h("dt", null, name), h("dd", null, value)])),
      attempt.error && attempt !== story.attempts.at(-1) ? h("p", { class: "note error" }, attempt.error) : null,
      states.length ? h("ul", { class: "states", style: { marginTop: "8px" } }, states.map(([, name, long]) =>
        h("li", null, h("span", null, seconds(long)), h("span", null, name)))) : null,
      runs.map((run) => [
        h("p", { class: "muted", style: { fontSize: "13px", marginTop: "12px" } },
          `Run ${run.run + 1}, ${exit(run.status)}${run.size ? `: printed ${bytes(run.size)}${run.output === null ? ", which had to make room" : ""}` : ": printed nothing"}`),
        run.output ? h("pre", { tabindex: "0", "aria-label": `Output of run ${run.run + 1}` }, output(run.output)) : null]));
  }

  links(title, tasks) {
    return h("section", { class: "links" }, h("h3", null, title),
      h("p", null, tasks.map((task) => h("button", { type: "button", onclick: () => this.open(task) }, String(task)))));
  }
}
