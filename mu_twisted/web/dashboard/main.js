// The page: who is signed in, which view is shown, and whether the coordinator is there.

import { signIn, signOut, forget, get } from "./api.js";
import { h } from "./dom.js";
import { jobsView } from "./jobs.js";
import { jobView } from "./job.js";

const main = document.getElementById("main");
const connection = document.getElementById("connection");
const signingOut = document.getElementById("sign-out");
let leave = () => {};

function status(kind, error) {
  connection.className = `connection ${kind === "live" ? "live" : "lost"}`;
  connection.textContent = kind === "live" ? "Live" : kind === "lost" ? "Reconnecting" : "";
  if (kind === "refused" && error.status === 401) welcome(error.message);
  else if (kind === "refused") show(h("p", { class: "muted pad" }, error.message));
}

function show(...content) {
  main.replaceChildren(...content);
}

function welcome(text) {
  leave();
  leave = () => {};
  forget();
  signingOut.hidden = true;
  connection.textContent = "";
  document.title = "mu";
  show(h("div", { class: "welcome" }, h("h1", null, "Sign in"), h("p", { class: "muted" }, text),
    h("code", null, "mu dashboard")));
}

function route() {
  leave();
  const [, view, name] = location.hash.slice(1).split("/");
  if (view === "jobs" && name) leave = jobView(decodeURIComponent(name), main, status);
  else leave = jobsView(main, status);
  window.scrollTo(0, 0);
}

async function end() {
  try {
    await signOut();
  } catch (error) {
    if (error.status !== 401) { // else it has ended already
      connection.textContent = "Not signed out: the coordinator is away";
      return;
    }
  }
  welcome("You are signed out. Each tab is opened with an address of its own, good for one use. This command prints one:");
}

async function start() {
  try {
    if (!(await signIn())) {
      welcome("Each tab is opened with an address of its own, good for one use. This command prints one:");
      return;
    }
    signingOut.hidden = false;
    const daemon = await get(["daemon"]);
    document.getElementById("coordinator").textContent = `coordinator ${daemon.version}`;
  } catch (error) {
    if ([401, 403].includes(error.status)) {
      welcome(error.message);
      return;
    }
    console.warn(error);
  }
  route();
  window.addEventListener("hashchange", () => { if (!location.hash.startsWith("#main")) route(); });
}

signingOut.addEventListener("click", end);
start();
