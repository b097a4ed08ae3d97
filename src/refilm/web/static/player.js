// The player: a film or a result, what happens in it, the boxes of what is in it, and two videos under a slider.
import { ask } from "./server.js";
import { at, clock, element, hue, percent } from "./words.js";

const CHUNK_SECONDS = 30;
let film = null, events = [], selected = -1, boxes = null;

export function showFilm(shown) {
  film = shown;
  play(`/api/films/${film.id}/media`, "");
}

export function showResult(job) {
  play(`/api/jobs/${job.id}/media`, `Result: ${job.title}`);
}

export async function showTimeline(job) {
  const told = await ask(`jobs/${job.id}/timeline`);
  play(`/api/films/${film.id}/media`, `Found: ${job.title}`);
  events = told;
  at("events").replaceChildren(...events.map(eventButton));
  at("timeline").hidden = false;
  select(0);
}

export function showBoxes(job) {
  play(`/api/films/${film.id}/media`, `Found: ${job.title}`);
  boxes = { job, begin: 0, end: 0, frames: [], loading: false };
  drawBoxes();
}

export function compare(job) {
  stop();
  what(`Preview: ${job.title}`);
  at("player").hidden = true;
  at("compare").hidden = false;
  at("after").src = `/api/jobs/${job.id}/media`;
  at("before").src = job.is_preview ? `/api/jobs/${job.id}/before` : `/api/films/${film.id}/media`;
  split(50);
  playPair(!matchMedia("(prefers-reduced-motion: reduce)").matches);
  at("look").scrollIntoView({ block: "start" });
}

function play(address, words) {
  stop();
  what(words);
  at("compare").hidden = true;
  at("player").hidden = false;
  at("video").src = address;
  if (words) at("look").scrollIntoView({ block: "start" });
}

// Stops all that plays, and takes away what is shown of it.
export function stop() {
  events = [];
  boxes = null;
  selected = -1;
  at("boxes").replaceChildren();
  at("timeline").hidden = at("unplayable").hidden = true;
  for (const id of ["video", "before", "after"]) at(id).pause();
}

function what(words) {
  at("shown-what").textContent = words;
  at("back").hidden = !words;
}

// What happens, and when.

function eventButton(event, number) {
  const [first] = event.labels;
  const words = `${first.label}, ${percent(first.score)}, from ${clock(event.start)} to ${clock(event.end)}`;
  const button = element("button", {
    type: "button", role: "option", title: words, "aria-label": words, tabindex: "-1", "aria-selected": "false",
    onclick: () => { at("video").currentTime = event.start; select(number); },
  }, first.label);
  button.style.setProperty("--hue", hue(first.label));
  button.style.flexGrow = event.end - event.start;
  return button;
}

function select(number) {
  if (number === selected || !events[number]) return;
  const buttons = at("events").children;
  if (buttons[selected]) Object.assign(buttons[selected], { tabIndex: -1, ariaSelected: "false" });
  selected = number;
  Object.assign(buttons[number], { tabIndex: 0, ariaSelected: "true" });
  const { start, end, labels } = events[number];
  const told = labels.map(({ label, score }) => `${label} ${percent(score)}`).join(", ");
  at("event").textContent = `${clock(start)} to ${clock(end)}: ${told}`;
}

function moveBy(step) {
  const number = Math.min(events.length - 1, Math.max(0, selected + step));
  at("events").children[number].click();
  at("events").children[number].focus();
}

// Boxes. They are told in pixels of the stored frames, which players may turn.

async function loadBoxes(time) {
  const asked = boxes;
  if (!asked || asked.loading || (time >= asked.begin && time < asked.end)) return;
  asked.loading = true;
  const begin = Math.max(0, time - 1);
  try {
    asked.frames = await ask(`jobs/${asked.job.id}/boxes?from=${begin}&to=${begin + CHUNK_SECONDS}`);
    Object.assign(asked, { begin, end: begin + CHUNK_SECONDS - 1 });
  } catch (error) {
    what(error.message);
    return; // `loading` stays, so that it is not asked again and again
  }
  asked.loading = false;
  drawBoxes();
}

function drawBoxes() {
  if (!boxes) return;
  const time = at("video").currentTime;
  loadBoxes(time);
  const frame = boxes.frames.findLast((each) => each.time <= time + 0.002);
  at("boxes").replaceChildren(...(frame ? frame.boxes.map(boxElement) : []));
}

function boxElement({ box, label, score, track }) {
  const { width, height, rotation } = film.facts;
  const [left, top, right, bottom] = turned(box.map((side, n) => side / (n % 2 ? height : width)), rotation);
  const made = element("div", { class: `box${top < 0.1 ? " low" : ""}${left > 0.6 ? " end" : ""}` },
    element("span", {}, `${label} ${track} · ${percent(score)}`));
  const shares = { left, top, width: right - left, height: bottom - top };
  for (const [name, share] of Object.entries(shares)) made.style[name] = `${100 * share}%`;
  made.style.setProperty("--hue", hue(`${label}${track}`));
  return made;
}

// `rotation`: degrees counter-clockwise by which players turn the picture.
function turned([left, top, right, bottom], rotation) {
  const turns = (((rotation / 90) % 4) + 4) % 4;
  if (turns === 1) return [top, 1 - right, bottom, 1 - left];
  if (turns === 2) return [1 - right, 1 - bottom, 1 - left, 1 - top];
  return turns === 3 ? [1 - bottom, left, 1 - top, right] : [left, top, right, bottom];
}

function eachFrame() {
  drawBoxes();
  if (at("video").requestVideoFrameCallback) at("video").requestVideoFrameCallback(eachFrame);
}

// Two videos under a slider.

function split(share) {
  at("slider").value = share;
  at("pair").style.setProperty("--split", `${share}%`);
}

function playPair(plays) {
  for (const id of ["before", "after"]) {
    if (plays) at(id).play().catch(() => playPair(false));
    else at(id).pause();
  }
  at("play-pair").textContent = plays ? "Pause" : "Play";
}

function keepTogether() {
  const { before, after } = { before: at("before"), after: at("after") };
  if (before.readyState > 1 && Math.abs(before.currentTime - after.currentTime) > 0.08) {
    before.currentTime = after.currentTime;
  }
}

export function wire(onBack) {
  const video = at("video");
  at("back").onclick = onBack;
  video.onerror = () => { at("unplayable").hidden = false; };
  video.onloadedmetadata = () => { at("unplayable").hidden = video.videoWidth > 0; };
  video.ontimeupdate = () => {
    const number = events.findLastIndex((event) => event.start <= video.currentTime + 0.001);
    if (number >= 0) select(number);
    drawBoxes(); // for browsers without requestVideoFrameCallback
  };
  video.onseeked = drawBoxes;
  eachFrame();
  at("events").onkeydown = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (step) { event.preventDefault(); moveBy(step); }
  };
  at("slider").oninput = () => split(at("slider").value);
  at("play-pair").onclick = () => playPair(at("after").paused);
  at("after").ontimeupdate = keepTogether;
  at("after").onloadedmetadata = () => {
    at("pair").style.aspectRatio = `${at("after").videoWidth} / ${at("after").videoHeight}`;
  };
  const drag = (event) => {
    const { left, width } = at("pair").getBoundingClientRect();
    split(Math.round(100 * Math.min(1, Math.max(0, (event.clientX - left) / width))));
  };
  at("pair").onpointerdown = (event) => { at("pair").setPointerCapture(event.pointerId); drag(event); };
  at("pair").onpointermove = (event) => { if (event.buttons) drag(event); };
}
