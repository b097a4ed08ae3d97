// The list of jobs. An entry is made once and then changed in place, so that the focus stays where it is.
import { ask } from "./server.js";
import { at, element, lasting, size } from "./words.js";

const entries = new Map();
const SHOWING = { recognize: "Show timeline", detect: "Show boxes" };

// show(job) shows a result in the player; nameOf(film id) is a film's name.
export function update(job, { show, nameOf }) {
  if (!entries.has(job.id)) entries.set(job.id, entryOf(show));
  const entry = entries.get(job.id);
  Object.assign(entry, { job, heard: Date.now() });
  if (!entry.item.isConnected) at("jobs").prepend(entry.item);
  entry.title.textContent = job.is_preview ? `Preview: ${job.title}` : job.title;
  entry.film.textContent = nameOf(job.film);
  entry.state.textContent = job.state === "done" && !job.result ? "nothing to do" : job.state;
  entry.state.className = `state ${job.state}`;
  entry.message.textContent = job.message || "";
  entry.message.className = job.state === "failed" ? "failed-words" : "";
  const warnings = job.warnings.map((words) => element("p", { class: "warning" }, `Warning: ${words}`));
  entry.warnings.replaceChildren(...warnings);
  buttons(entry);
  tick(entry);
  at("no-jobs").hidden = true;
}

export function updateAll(jobs, shown) {
  const known = new Set(jobs.map((job) => job.id));
  [...entries.keys()].filter((id) => !known.has(id)).forEach(remove);
  jobs.forEach((job) => update(job, shown));
}

export function remove(id) {
  const entry = entries.get(id);
  if (!entry) return;
  if (entry.item.contains(document.activeElement)) at("queue-title").focus();
  entry.item.remove();
  entries.delete(id);
  at("no-jobs").hidden = entries.size > 0;
}

function entryOf(show) {
  const entry = {
    title: element("b"), film: element("span", { class: "film" }), state: element("span"),
    bar: element("progress", { max: 1, "aria-label": "Progress" }), progress: element("p"), message: element("p"),
    warnings: element("div"),
  };
  const act = (does) => () => does().catch((error) => { entry.message.textContent = error.message; });
  entry.toggle = element("button", { type: "button", onclick: act(() => {
    const going = ["waiting", "running"].includes(entry.job.state);
    return ask(`jobs/${entry.job.id}/${going ? "pause" : "resume"}`, "POST");
  }) });
  entry.show = element("button", { type: "button", class: "primary", onclick: act(async () => show(entry.job)) });
  entry.download = element("a", { class: "button" });
  entry.remove = element("button", { type: "button", onclick: act(async () => {
    if (confirm(`Remove this job, and what it has made? ${entry.title.textContent}`)) {
      await ask(`jobs/${entry.job.id}`, "DELETE");
    }
  }) }, "Remove");
  entry.item = element("li", {},
    element("div", { class: "job-head" }, entry.title, entry.film, entry.state),
    entry.bar, entry.progress, entry.message, entry.warnings,
    element("div", { class: "row" }, entry.show, entry.download, entry.toggle, entry.remove));
  return entry;
}

function buttons({ job, toggle, show, download, remove: gone, title }) {
  const going = ["waiting", "running"].includes(job.state);
  toggle.hidden = job.state === "done";
  toggle.disabled = job.state === "pausing";
  toggle.textContent = going ? "Pause" : job.state === "failed" ? "Try again" : "Resume";
  show.hidden = !job.result || job.verb === "encode";
  show.textContent = job.is_preview ? "Compare" : SHOWING[job.verb] || "Play";
  download.hidden = !job.result;
  if (job.result) {
    download.href = `/api/jobs/${job.id}/result`;
    download.textContent = `Download ${size(job.result.bytes)}`;
  }
  for (const button of [toggle, show, download, gone]) {
    button.setAttribute("aria-label", `${button.textContent}: ${title.textContent}`);
  }
}

// How far a job is, and how long it takes from now on.
function tick({ job, heard, bar, progress }) {
  const told = job.progress, moves = job.state === "running" || job.state === "pausing";
  bar.hidden = job.state === "done" || job.state === "waiting" || (job.state === "failed" && !told);
  progress.textContent = job.state === "done" ? ending(job) : "";
  if (bar.hidden) return;
  const done = told ? told.event === "start" ? told.resumed_from : told.frames : 0;
  const total = told ? told.event === "start" ? told.frames : told.total : null;
  if (total) bar.value = Math.min(1, done / total);
  else if (moves) bar.removeAttribute("value");
  else bar.value = 0;
  if (!told) progress.textContent = moves ? "starting …" : "";
  else progress.textContent = [
    total ? `${done} of ${total} frames` : `${done} frames`,
    moves && told.frames_per_second ? `${told.frames_per_second.toFixed(1)} a second` : "",
    moves ? timeLeft(told, heard) : "",
  ].filter(Boolean).join(" · ");
}

function timeLeft(told, heard) {
  const left = told.seconds_left ?? told.seconds;
  if (left == null) return "";
  return `${lasting(Math.max(0, left - (Date.now() - heard) / 1000))} left`;
}

function ending({ report, is_preview }) {
  if (!report) return "";
  const frames = `${report.frames_in} frames${report.frames_out ? ` in, ${report.frames_out} out` : ""}`;
  const whole = is_preview && report.whole?.seconds;
  const told = whole ? ` · the whole film would take ${lasting(whole)}` : "";
  return `${frames}, in ${lasting(report.seconds)}${told}`;
}

setInterval(() => entries.forEach((entry) => { if (entry.job.state === "running") tick(entry); }), 1000);
