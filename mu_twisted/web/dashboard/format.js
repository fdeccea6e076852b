// Numbers, times and ranges as people read them, and as the stream writes them.

export const STATES = {
  f: "failed", a: "active", r: "backing off", h: "held", w: "waiting", b: "blocked", d: "done",
};
export const ORDER = ["failed", "active", "backing off", "held", "waiting", "blocked", "done"];

export const count = (number) => number.toLocaleString("en");
export const kind = (state) => state.replace(" ", "-");

export function seconds(value) {
  if (value < 0.01) return "0 s";
  if (value < 10) return `${value.toFixed(value < 1 ? 2 : 1)} s`;
  if (value < 100) return `${Math.round(value)} s`;
  const whole = Math.round(value), minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes}:${String(whole % 60).padStart(2, "0")} min`;
  return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")} h`;
}

export function bytes(number) {
  if (number < 1000) return `${number} B`;
  const power = Math.min(3, Math.floor(Math.log10(number) / 3)), value = number / 1000 ** power;
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${["B", "kB", "MB", "GB"][power]}`;
}

const KINDS = { retrieved: "from S3", uploaded: "to S3", received: "from other tasks", sent: "to other tasks" };

export const DATA = { retrieved: "From S3", uploaded: "To S3", received: "From tasks", sent: "To tasks" };

// What an attempt or a job has moved, each kind of which there were some; null where none is known.
export function moved(counts) {
  if (!counts) return null;
  const some = Object.entries(KINDS).filter(([kind]) => counts[kind]).map(([kind, way]) => `${bytes(counts[kind])} ${way}`);
  return some.length ? some : null;
}

export function when(at) {
  const date = new Date(at * 1000), pad = (number) => String(number).padStart(2, "0");
  const day = `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
  return `${day} ${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
}

export function counted(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

export function price(cost) {
  if (!cost) return null;
  if (cost.price === null || cost.price === undefined) return { text: "not known", amount: "–", unit: null, more: `${cost.gb_seconds.toFixed(1)} GB-s` };
  const digits = cost.price >= 1 ? 2 : 4;
  const amount = cost.price > 0 && cost.price < 0.00005 ? "<0.0001" : cost.price.toFixed(digits);
  return { text: `${amount} ${cost.currency}`, amount, unit: cost.currency, more: `${cost.currency}, ${count(Math.round(cost.gb_seconds))} GB-s, ${counted(cost.requests, "request")}` };
}

export function* numbers(text) {
  if (!text) return;
  for (const part of text.split(",")) {
    const [first, last] = part.split("-").map(Number);
    for (let number = first; number <= (last ?? first); number++) yield number;
  }
}

export const called = (task, label) => (label ? `${label} (task ${task})` : `task ${task}`);

const SIGNALS = { 4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV", 13: "SIGPIPE", 15: "SIGTERM" };

// How a program ended; below 0 is a signal.
export const exit = (status) => (status < 0 ? `killed by ${SIGNALS[-status] ?? `signal ${-status}`}` : `exit status ${status}`);

export function timeLeft(status, ended) {
  const left = status.tasks - status.done - status.failed;
  if (status.state !== "running" || !status.median || left === 0 || status.active === 0) return null;
  if (ended < Math.max(3, Math.min(100, status.tasks * 0.02))) return null;
  return (status.median * left) / status.active;
}

export function output(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return new TextDecoder().decode(bytes);
}
