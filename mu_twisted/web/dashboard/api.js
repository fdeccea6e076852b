// The coordinator is asked here: with the session's token, which stands in this tab's storage alone.

const KEY = "mu-token";

export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

export async function signIn() {
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  if (code === null) return sessionStorage.getItem(KEY) !== null;
  history.replaceState(null, "", "#/"); // it is used up with the next line, and of no use in the history
  const answer = await fetch("session", { method: "POST", body: JSON.stringify({ code }) });
  if (!answer.ok) throw await refusal(answer);
  sessionStorage.setItem(KEY, (await answer.json()).token);
  return true;
}

// Ends the session, so that its token is of no use any more.
export async function signOut() {
  await ask("session", { method: "DELETE" });
  forget();
}

export function forget() {
  sessionStorage.removeItem(KEY);
}

async function refusal(answer) {
  let text = `the coordinator answers ${answer.status}`;
  try { text = (await answer.json()).error ?? text; } catch { /* no JSON: the status says it */ }
  return new Refused(answer.status, text);
}

async function ask(path, options = {}) {
  const headers = { Authorization: `Bearer ${sessionStorage.getItem(KEY)}`, ...options.headers };
  const answer = await fetch(path, { ...options, headers });
  if (!answer.ok) throw await refusal(answer);
  return answer;
}

const within = (...segments) => ["v1", ...segments.map(encodeURIComponent)].join("/");

export const get = async (segments, query = {}, signal = undefined) => {
  const parameters = new URLSearchParams(query).toString();
  return (await ask(within(...segments) + (parameters ? `?${parameters}` : ""), { signal })).json();
};
export const post = async (segments, body) =>
  (await ask(within(...segments), { method: "POST", body: body && JSON.stringify(body) })).json();

// Calls take(kind, data) for each event, and goes on where it was when the connection is lost, until stop is called.
export function follow(segments, take, status) {
  const stopping = new AbortController();
  let last = null, pause = 250;
  const run = async () => {
    while (!stopping.signal.aborted) {
      try {
        const headers = last === null ? {} : { "Last-Event-ID": last };
        const answer = await ask(within(...segments), { headers, signal: stopping.signal });
        status("live");
        pause = 250;
        for await (const event of events(answer.body)) {
          if (event.id !== null) last = event.id;
          take(event.kind, JSON.parse(event.data));
        }
      } catch (error) {
        if (stopping.signal.aborted) return;
        if (error instanceof Refused && [401, 403, 404, 421].includes(error.status)) {
          status("refused", error);
          return;
        }
        if (!(error instanceof Refused) && !(error instanceof TypeError)) console.warn(error);
      }
      if (stopping.signal.aborted) return;
      status("lost");
      await new Promise((resume) => setTimeout(resume, pause));
      pause = Math.min(pause * 2, 4000);
    }
  };
  run();
  return () => stopping.abort();
}

// Has something asked for a while after it is wanted, and never twice at once: a slow answer would only become slower.
export function paced(work) {
  let due = null, busy = false, wanted = null, ended = false;
  const run = async () => {
    due = null;
    busy = true;
    try {
      await work();
    } finally {
      busy = false;
      const delay = wanted;
      wanted = null;
      if (delay !== null) soon(delay);
    }
  };
  const soon = (delay) => {
    if (ended) return;
    if (busy) wanted = Math.min(wanted ?? delay, delay);
    else if (due === null || delay === 0) {
      clearTimeout(due);
      due = setTimeout(run, delay);
    }
  };
  soon.end = () => {
    ended = true;
    clearTimeout(due);
  };
  return soon;
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (true) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    let end;
    while ((end = text.indexOf("\n\n")) >= 0) {
      const event = { kind: "message", id: null, data: "" };
      for (const line of text.slice(0, end).split("\n")) {
        if (line.startsWith("event: ")) event.kind = line.slice(7);
        else if (line.startsWith("id: ")) event.id = line.slice(4);
        else if (line.startsWith("data: ")) event.data += line.slice(6);
      }
      text = text.slice(end + 2);
      if (event.data) yield event;
    }
  }
}
